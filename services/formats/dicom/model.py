"""What travels on `dicom.raw`: a DICOM header in the DICOM JSON Model (PS3.18 annex F), and where its object lies."""

from typing import Annotated, Any

import msgspec

Tag = str
"""Eight upper-case hex digits, as in the DICOM JSON Model: `00100020`."""


class Element(msgspec.Struct, frozen=True, omit_defaults=True):
    """One data element of the DICOM JSON Model. Bulk data and inline binaries are not read and may be left out."""

    vr: str
    Value: list[Any] = []


Header = dict[Tag, Element]


class DicomObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One DICOM instance: header, and the reference and SHA-256 of its Part 10 bytes in the object store.

    A hospital that publishes to `dicom.raw` itself first puts the object into the store, then sends this; its
    header may hold more elements than Wardstream's own edge sends (`HEADER_TAGS`): the others are not read.
    """

    object: str = ""  # object store reference; empty until the object is kept
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, msgspec.Meta(ge=0)]  # bytes
    transfer_syntax: str = ""  # UID of (0002,0010)
    pixels: bool  # whether the instance has Pixel Data (or Float, Double Float Pixel Data)
    header: Header

    def __repr__(self) -> str:
        return f"DicomObject(sha256={self.sha256!r}, size={self.size})"


HEADER_TAGS: tuple[int, ...] = (
    0x00080012,  # Instance Creation Date
    0x00080013,  # Instance Creation Time
    0x00080016,  # SOP Class UID
    0x00080018,  # SOP Instance UID
    0x00080020,  # Study Date
    0x00080021,  # Series Date
    0x00080022,  # Acquisition Date
    0x00080023,  # Content Date
    0x0008002A,  # Acquisition DateTime
    0x00080030,  # Study Time
    0x00080031,  # Series Time
    0x00080032,  # Acquisition Time
    0x00080033,  # Content Time
    0x00080050,  # Accession Number
    0x00080051,  # Issuer of Accession Number Sequence
    0x00080060,  # Modality
    0x00080201,  # Timezone Offset From UTC
    0x00100020,  # Patient ID
    0x00100021,  # Issuer of Patient ID
    0x00100024,  # Issuer of Patient ID Qualifiers Sequence
    0x00100030,  # Patient's Birth Date
    0x00100040,  # Patient's Sex
    0x00180015,  # Body Part Examined
    0x00185101,  # View Position
    0x0020000D,  # Study Instance UID
    0x0020000E,  # Series Instance UID
    0x00280002,  # Samples per Pixel
    0x00280004,  # Photometric Interpretation
    0x00280008,  # Number of Frames
    0x00280010,  # Rows
    0x00280011,  # Columns
    0x00280100,  # Bits Allocated
)
"""What our edge sends of a header: no name, no address, no free text, no private element."""

_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(DicomObject)


def encode_object(value: DicomObject) -> bytes:
    """The message's bytes; the same object always gives the same bytes."""
    return _ENCODER.encode(value)


def decode_object(data: bytes) -> DicomObject:
    """Inverse of `encode_object`. Raises msgspec.ValidationError or DecodeError, whose texts carry no values."""
    return _DECODER.decode(data)


def text(header: Header, tag: Tag) -> str:
    """The element's first value as text without padding; empty where absent or not a text or number."""
    element = header.get(tag)
    first = element.Value[0] if element and element.Value else ""
    return str(first).strip(" \0") if isinstance(first, str | int | float) else ""


def integer(header: Header, tag: Tag) -> int:
    """The element's first value as a whole number; 0 where absent or not one."""
    found = text(header, tag)
    return int(found) if found.isascii() and found.isdigit() and len(found) < 10 else 0


def item(header: Header, tag: Tag) -> Header:
    """The sequence's first item as a header; empty where absent or malformed."""
    element = header.get(tag)
    first = element.Value[0] if element and element.Value else {}
    try:
        return msgspec.convert(first, Header)
    except msgspec.ValidationError:
        return {}
