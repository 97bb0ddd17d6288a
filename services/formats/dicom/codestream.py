"""The size that a compressed frame says it has, read before any decoder allocates for it."""

import struct
from typing import NamedTuple

_J2K_START = b"\xff\x4f\xff\x51"  # SOC, SIZ (ISO 15444-1 A.4.1, A.5.1)
_JP2_SEARCH = 4096
"""How far into a boxed JPEG 2000 file the codestream may begin; DICOM wants none of the boxes."""
_JPEG_START = b"\xff\xd8"
_NOT_FRAMES = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG, DAC lie among the SOFn (ISO 10918-1 table B.1)
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM, RSTn: markers without a length
_JPEG_LS_FRAME = 0xF7  # SOF55 (ISO 14495-1)


class FrameSize(NamedTuple):
    """Rows, columns and components of a frame."""

    rows: int
    columns: int
    components: int


def frame_size(frame: bytes) -> FrameSize | None:
    """The size in a JPEG, JPEG-LS or JPEG 2000 codestream's own header; None when there is none to be found."""
    if frame[:2] == _JPEG_START:
        return _jpeg(frame)
    start = frame.find(_J2K_START, 0, _JP2_SEARCH)
    return _jpeg2000(frame, start) if start >= 0 else None


def _jpeg2000(frame: bytes, start: int) -> FrameSize | None:
    try:
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        (components,) = struct.unpack_from(">H", frame, start + 40)
    except struct.error:
        return None
    return FrameSize(bottom - top, right - left, components)


def _jpeg(frame: bytes) -> FrameSize | None:
    at = 2
    while at + 4 <= len(frame):
        if frame[at] != 0xFF:
            return None
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker == _JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES):
            return _start_of_frame(frame, at + 4)
        else:
            at += 2 + max(2, int.from_bytes(frame[at + 2 : at + 4], "big"))
    return None


def _start_of_frame(frame: bytes, at: int) -> FrameSize | None:
    try:
        _precision, rows, columns, components = struct.unpack_from(">BHHB", frame, at)
    except struct.error:
        return None
    return FrameSize(rows, columns, components)
