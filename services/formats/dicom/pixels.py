"""Pixels: a Part 10 file to one grey picture, and the picture to a thumbnail. Pure and picklable.

A radiograph in lossless JPEG 2000 takes half a second of CPU and its decoder is C code that hostile input may
crash, so run `decode` in a process pool whose workers begin with `limit_worker`.
"""

import resource
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, RLELossless

from services.domain.reasons import Rejected, RejectReason
from services.formats.dicom.codestream import frame_size
from services.formats.dicom.grey import Float32, Pixels, displayed, luma, modality_values, padding_mask
from services.formats.dicom.parse import Parsed, parse

MAX_PIXELS = 64 << 20
"""Rows times columns times samples of one frame; the largest detectors make 18 million (mammography 15 million)."""
MAX_FRAMES = 1 << 16
WORKER_BYTES = 4 << 30
"""Address space of a pool's worker: a decode that wants more fails there, and not the machine."""


def decode(data: bytes, *, voi: bool = True) -> Float32 | Rejected:
    """The picture, float32 [rows, columns], bright where MONOCHROME2 is bright; a multi-frame object's middle frame.

    With `voi`, what a viewer would show: through the VOI LUT or window to [0, 1]. Without, modality units (CT: HU)
    or, for colour, brightness; MONOCHROME1 is then negated.

    Rejected: what `parse` refuses; UNREADABLE_PIXELS when there are none, too many, not the number that the header
    promises, or the codestream or its compression cannot be read.
    """
    parsed = parse(data, with_pixels=True)
    if isinstance(parsed, Rejected):
        return parsed
    if not parsed.pixels:
        return _unreadable("the object has no pixel data")
    try:
        return _decode(parsed, voi)
    except (KeyboardInterrupt, SystemExit):
        raise
    except MemoryError:
        return _unreadable("decoding needs more memory than a worker has")
    except BaseException:  # noqa: BLE001 -- each codec raises its own; a panic of pylibjpeg-rle's Rust is no Exception
        return _unreadable("the pixels do not fit their header or transfer syntax")


def thumbnail(picture: Float32, side: int = 256) -> bytes:
    """A PNG of a picture in [0, 1] with the longer side at most `side` pixels; the same picture, the same bytes."""
    grey = (np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    image = Image.fromarray(grey)
    image.thumbnail((side, side), Image.Resampling.BOX)
    out = BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def limit_worker(address_space: int = WORKER_BYTES) -> None:
    """A pool's initializer: bound this process's memory."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = address_space if hard == resource.RLIM_INFINITY else min(address_space, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _unreadable(hint: str) -> Rejected:
    return Rejected(RejectReason.UNREADABLE_PIXELS, "(7FE0,0010)", hint)


def _decode(parsed: Parsed, voi: bool) -> Float32 | Rejected:
    dataset = parsed.dataset
    frames = int(dataset.get("NumberOfFrames") or 1)
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel") or 1)
    if min(rows, columns, frames) < 1 or samples not in (1, 3, 4):
        return _unreadable("rows, columns, frames and samples must be a picture's")
    if rows * columns * samples > MAX_PIXELS or frames > MAX_FRAMES:
        return _unreadable(f"more than {MAX_PIXELS} samples a frame or {MAX_FRAMES} frames")
    middle = frames // 2
    syntax = UID(dataset.file_meta.TransferSyntaxUID)  # of what was read: inflated where it had been deflated
    if syntax.is_encapsulated and syntax != RLELossless:
        inside = frame_size(get_frame(dataset.PixelData, middle, number_of_frames=frames))
        if inside is None or inside != (rows, columns, samples):
            return _unreadable("the codestream's size is not the header's")
    stored, photometric = _stored(dataset, syntax, middle)
    if stored.shape[:2] != (rows, columns):
        return _unreadable("the decoded size is not the header's")
    return _checked(_grey(stored, photometric, dataset, middle, voi))


def _stored(dataset: FileDataset, syntax: UID, frame: int) -> tuple[Pixels, str]:
    """One frame's stored values and their photometric interpretation. Raw: no colour is converted."""
    decoder = get_decoder(syntax)
    stored, description = decoder.as_array(dataset, index=frame, raw=True)
    return stored, str(description["photometric_interpretation"])


def _grey(stored: Pixels, photometric: str, dataset: FileDataset, frame: int, voi: bool) -> Pixels:
    if photometric == "PALETTE COLOR" or stored.ndim == 3:
        grey = luma(stored, photometric, dataset)
        bits = 8 * (1 if grey.max(initial=0) < 256 else 2) if photometric == "PALETTE COLOR" else dataset.BitsStored
        return grey / float((1 << bits) - 1) if voi else grey
    values = modality_values(stored, dataset, frame)
    inverted = photometric == "MONOCHROME1"
    if not voi:
        return -values.astype(np.float64) if inverted else values
    shown = displayed(values, dataset, frame, padding_mask(stored, dataset))
    return 1.0 - shown if inverted else shown


def _checked(picture: Pixels) -> Float32 | Rejected:
    result = np.ascontiguousarray(picture, dtype=np.float32)
    return result if np.isfinite(result).all() else _unreadable("the pixels hold values that are not numbers")
