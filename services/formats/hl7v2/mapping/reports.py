"""Documents: reports in TX/FT lines and encapsulated data (ED, v2.8 chapter 2A.3.25)."""

import base64
import binascii
from datetime import datetime
from hashlib import sha256

import msgspec

from services.domain.events import Code, Document, Rank, Version, digest
from services.domain.reasons import FilterReason
from services.formats.attachments import form, media_type
from services.formats.hl7v2.mapping.context import Context

_SUBTYPES = {  # ED.3 (HL7 table 0291) by itself names the content
    "pdf": "application/pdf",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "gif": "image/gif",
    "tiff": "image/tiff",
    "png": "image/png",
    "html": "text/html",
    "xml": "text/xml",
    "plain": "text/plain",
    "text": "text/plain",
    "rtf": "application/rtf",
    "dicom": "application/dicom",
    "octet-stream": "application/octet-stream",
    "x-hl7-cda-level-one": "application/hl7-cda+xml",
}


def report(
    fact_id: str,
    version: Version,
    at: datetime,
    code: Code | None,
    text: str,
    encounter: str,
    title: str = "",
    time_assumed: bool = False,
) -> Document:
    """A text document; its title is the code's name, never a line of the text."""
    return Document(
        id=fact_id,
        version=version,
        time=at,
        title=title or (code.display or code.code if code else ""),
        code=code,
        text=text,
        text_sha256=sha256(text.encode()).hexdigest() if text else "",
        encounter=encounter,
        time_assumed=time_assumed,
    )


def encapsulated(ctx: Context, raw: str, base: Document) -> Document | FilterReason:
    """`base` with what an ED value holds: its text where it has one, and the payload of what is not plain text among
    `ctx.attachments`. Of a document that is withdrawn nothing is kept but that it was."""
    parts = [ctx.message.decoded(part) for part in ctx.message.components(raw)] + [""] * 5
    _, kind, subtype, encoding, data = parts[:5]
    content_type = _content_type(kind, subtype)
    if base.version.rank >= Rank.CANCELLED:
        return msgspec.structs.replace(base, content_type=content_type)
    payload = _payload(encoding, data)
    if isinstance(payload, FilterReason):
        return payload
    charset = "" if encoding.upper() in ("A", "") else ctx.message.codec  # what is not encoded is decoded already
    found = form(payload, content_type, charset)
    if not found.text and found.attachment is None:
        return FilterReason.NO_VALUE
    if found.attachment is not None:
        ctx.attachments[found.reference] = found.attachment
    content = sha256(found.text.encode() or payload).hexdigest()
    version = base.version
    return msgspec.structs.replace(
        base,
        version=Version(version.rank, version.issued, version.sequence, digest(content, found.reference, size=4)),
        text=found.text,
        text_sha256=content,
        encapsulated=found.reference,
        content_type=found.content_type,
    )


def _payload(encoding: str, data: str) -> bytes | FilterReason:
    """ED.4 A (none), Hex, Base64 (HL7 table 0299)."""
    if not data:
        return FilterReason.NO_VALUE
    try:
        match encoding.upper():
            case "BASE64":
                return base64.b64decode("".join(data.split()), validate=True)
            case "HEX":
                return bytes.fromhex(data)
            case "A" | "":
                return data.encode()
    except (ValueError, binascii.Error):
        pass
    return FilterReason.UNSUPPORTED_VALUE_TYPE


_MAIN_TYPES = {  # ED.2 (HL7 table 0191) -> the first half of a media type
    "ap": "application",
    "application": "application",
    "au": "audio",
    "audio": "audio",
    "im": "image",
    "image": "image",
    "ns": "image",
    "sd": "image",
    "si": "image",
    "text": "text",
    "tx": "text",
    "ft": "text",
}


def _content_type(kind: str, subtype: str) -> str:
    """The media type that ED.2 and ED.3 name. Senders also write all of it in either: application/pdf."""
    kind, subtype = kind.strip().lower(), subtype.strip().lower()
    whole = next((word for word in (subtype, kind) if "/" in word), "")
    if whole:
        return media_type(whole)
    known = _SUBTYPES.get(subtype) or _SUBTYPES.get("" if subtype else kind)
    if known:
        return known
    if kind in ("text", "tx", "ft") and not subtype:
        return "text/plain"
    return media_type(f"{_MAIN_TYPES.get(kind, '')}/{subtype}")
