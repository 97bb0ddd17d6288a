"""Documents: reports in TX/FT lines and encapsulated data (ED, v2.8 chapter 2A.3.25)."""

import base64
import binascii
from datetime import datetime
from hashlib import sha256

from services.domain.events import Code, Document, Rank, Version
from services.domain.reasons import FilterReason
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
_TEXTUAL = frozenset({"text/plain"})


def report(
    fact_id: str, version: Version, at: datetime, code: Code | None, text: str, encounter: str, title: str = ""
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
    )


def encapsulated(
    ctx: Context,
    raw: str,
    fact_id: str,
    rank: int,
    issued: int,
    at: datetime,
    code: Code | None,
    encounter: str,
) -> Document | FilterReason:
    """An ED value: plain text becomes the document's text; of anything else its type and SHA-256 are kept.

    The payload itself stays in the raw message, which the event id names.
    """
    parts = [ctx.message.decoded(part) for part in ctx.message.components(raw)] + [""] * 5
    _, kind, subtype, encoding, data = parts[:5]
    payload = _payload(encoding, data)
    if isinstance(payload, FilterReason):
        if rank < Rank.CANCELLED:
            return payload
        payload = b""
    content_type = _content_type(kind, subtype)
    text = ""
    if content_type in _TEXTUAL:
        text = payload.decode("utf-8", "replace").replace("\r\n", "\n").strip()
    digest = sha256(text.encode() if text else payload).hexdigest() if payload else ""
    return Document(
        id=fact_id,
        version=ctx.version(digest, rank=rank, issued=issued),
        time=at,
        title=code.display or code.code if code else "",
        code=code,
        text=text,
        text_sha256=digest,
        encounter=encounter,
        content_type=content_type,
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


def _content_type(kind: str, subtype: str) -> str:
    kind, subtype = kind.strip().lower(), subtype.strip().lower()
    known = _SUBTYPES.get(subtype)
    if known:
        return known
    if kind in ("text", "tx", "ft") and not subtype:
        return "text/plain"
    wide = {"im": "image", "image": "image", "text": "text", "audio": "audio", "application": "application"}.get(kind)
    if wide and subtype.replace("-", "").replace("+", "").replace(".", "").isalnum():
        return f"{wide}/{subtype}"
    return "application/octet-stream"
