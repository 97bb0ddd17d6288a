"""What messages carry within themselves: PDF, images, HTML, RTF, text (HL7's ED, FHIR's Attachment and Binary).

Reading is pure: an `Attachment` is the payload under the name by which the object store will know it. `normalize` keeps
it there before it publishes the event whose `Document.encapsulated` is that name.
"""

import re

import msgspec

from services.domain.references import Reference, reference_of
from services.formats.texts import decoded, html_text, rtf_text

PLAIN = frozenset({"text/plain", "text/markdown"})
HTML = frozenset({"text/html", "application/xhtml+xml"})
RTF = frozenset({"application/rtf", "text/rtf"})
UNKNOWN = "application/octet-stream"

_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]{0,80}\Z")
_BEGINNINGS = (
    (b"%PDF-", "application/pdf"),
    (b"{\\rtf", "application/rtf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)


class Attachment(msgspec.Struct, frozen=True):
    """One payload and its name in the object store. Its repr shows no content."""

    reference: Reference
    content_type: str
    data: bytes

    def __repr__(self) -> str:
        return f"Attachment({self.reference!r}, {self.content_type!r})"


class Form(msgspec.Struct, frozen=True):
    """A payload as a document has it: its type, what it says as text, and the attachment where it is more than that."""

    content_type: str
    text: str
    attachment: Attachment | None

    @property
    def reference(self) -> str:
        """The attachment's name, '' where there is none."""
        return self.attachment.reference if self.attachment else ""


def form(payload: bytes, content_type: str, charset: str = "") -> Form:
    """A payload of a type that its sender names; one whose type nobody names is told by its first bytes.

    Plain text is its own text and needs no object. Of HTML and RTF the text is read for the note encoder, and the
    payload is kept as it came. `charset` is the sender's word for a text, and need not be true.
    """
    kind = media_type(content_type)
    if kind == UNKNOWN:
        kind = next((known for beginning, known in _BEGINNINGS if payload.startswith(beginning)), UNKNOWN)
    if kind in PLAIN:
        return Form(kind, decoded(payload, charset).strip(), None)
    text = ""
    if kind in HTML:
        text = html_text(payload, charset)
    elif kind in RTF:
        text = rtf_text(payload)
    return Form(kind, text, Attachment(reference_of(payload), kind, payload))


def media_type(name: str) -> str:
    """A media type without its parameters, in lower case; `application/octet-stream` for what is none (RFC 6838)."""
    kind = name.partition(";")[0].strip().lower()
    return kind if _MEDIA_TYPE.match(kind) else UNKNOWN
