"""Part 10 bytes to a pydicom data set, bounded and silent: the one door to pydicom's reader.

Hostile input is met here: what pydicom raises becomes a `Rejected`, a deflated data set is inflated no further
than a bound (a kilobyte can hold gigabytes), an element that claims more bytes than there are is a cut object,
and pydicom's warnings and logs, which quote values, are silenced.
"""

import logging
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import config
from pydicom.dataset import FileDataset
from pydicom.filereader import _read_file_meta_info, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from services.domain.reasons import Rejected, RejectReason

PREFIX_AT = 128
PREFIX = b"DICM"
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
UNDEFINED = 0xFFFFFFFF

MAX_META = 64 << 10
"""File meta information is a dozen short elements; looking at no more spares a copy of the pixels."""
MAX_INFLATED = 512 << 20
"""Bytes that a deflated data set may grow to."""

CUT_SHORT = "the object is cut short: send it again"

# Values of elements are PHI; pydicom puts them into its warnings and logs. Both are cut off for the whole process,
# which is meant: no part of Wardstream wants them. Not by a level, which somebody may set anew.
config.settings.reading_validation_mode = config.IGNORE
logging.getLogger("pydicom").addHandler(logging.NullHandler())
logging.getLogger("pydicom").propagate = False
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")


@dataclass(frozen=True)
class Parsed:
    """A data set as read. `pixels` tells whether one of `PIXEL_TAGS` is there, read or not."""

    dataset: FileDataset = field(repr=False)
    transfer_syntax: str
    pixels: bool


def parse(data: bytes, *, with_pixels: bool = False, tags: Sequence[int] | None = None) -> Parsed | Rejected:
    """Read a DICOM file (PS3.10 section 7), up to its pixels unless `with_pixels`; of `tags` alone where given."""
    if not data:
        return Rejected(RejectReason.EMPTY, hint="send a DICOM Part 10 file")
    if data[PREFIX_AT : PREFIX_AT + 4] != PREFIX:
        return Rejected(
            RejectReason.NOT_DICOM, "byte 128", "a DICOM file has 128 bytes of preamble, then DICM (PS3.10 7.1)"
        )
    try:
        return _parse(data, with_pixels, list(tags) if tags else None)
    except Exception:  # noqa: BLE001 -- pydicom raises whatever its parsing of hostile bytes hits, recursion too
        return Rejected(RejectReason.MALFORMED, hint="the data set cannot be parsed by its transfer syntax")


def _parse(data: bytes, with_pixels: bool, tags: list[int] | None) -> Parsed | Rejected:
    syntax = str(_read_file_meta_info(BytesIO(data[PREFIX_AT + 4 : PREFIX_AT + MAX_META])).get("TransferSyntaxUID", ""))
    if syntax == DeflatedExplicitVRLittleEndian:
        inflated = _inflated(data)
        if isinstance(inflated, Rejected):
            return inflated
        data = inflated
    watch = _Watch(data, with_pixels)
    dataset = read_partial(watch.file, stop_when=watch, specific_tags=tags)
    if watch.cut:
        return Rejected(RejectReason.MALFORMED, watch.cut, CUT_SHORT)
    return Parsed(dataset, syntax, watch.pixels)


class _Watch:
    """pydicom's `stop_when` (PS3.5 section 7.1 elements): sees each top-level element before its value is read."""

    def __init__(self, data: bytes, with_pixels: bool) -> None:
        self.file = BytesIO(data)
        self.size = len(data)
        self.with_pixels = with_pixels
        self.pixels = False
        self.cut = ""

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        self.pixels = self.pixels or (tag in PIXEL_TAGS and length > 0)
        if length != UNDEFINED and self.file.tell() + length > self.size:
            self.cut = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
            return True
        return tag in PIXEL_TAGS and not self.with_pixels


def _inflated(data: bytes) -> bytes | Rejected:
    """The file with its data set inflated (PS3.5 A.5) and marked Explicit VR Little Endian in the file meta."""
    start = _meta_end(data)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(data[start:], MAX_INFLATED)
    if inflater.unconsumed_tail:
        return Rejected(RejectReason.TOO_LARGE, "data set", f"it inflates to more than {MAX_INFLATED} bytes")
    if not inflater.eof:
        return Rejected(RejectReason.MALFORMED, "data set", CUT_SHORT)
    # The shorter UID, padded to the same length, so that the group length holds.
    head = data[:start].replace(b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0")
    return head + body


def _meta_end(data: bytes) -> int:
    """Offset of the data set: after the file meta, whose first element is its length (PS3.10 table 7.1-1)."""
    if data[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        raise ValueError("a deflated object without File Meta Information Group Length")
    return 144 + int.from_bytes(data[140:144], "little")
