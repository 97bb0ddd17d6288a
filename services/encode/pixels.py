"""What a worker of the decoding pool does: a DICOM object's bytes to the encoder's input and a thumbnail. No I/O."""

import signal
from typing import NamedTuple

import numpy as np

from services.domain.images import prepare_image
from services.domain.reasons import Rejected, RejectReason
from services.formats.dicom.pixels import decode, limit_worker, thumbnail

DECODE_TIMEOUT_S = 30
"""A large lossless JPEG 2000 takes half a second; what takes this long is hostile or broken."""

WORKER_BYTES = 1280 << 20
"""Address space of a worker. A 28 MiB radiograph (15 million pixels, uncompressed) takes 650 MiB, one of 68 MiB 1,230;
what wants more is refused, so that a container of 2 GiB holds a worker and the service itself."""


class Picture(NamedTuple):
    """`image`: float32 [1, rows, columns] in [0, 1] as `services.domain.images` makes it; `thumbnail`: PNG."""

    image: np.ndarray
    thumbnail: bytes


def start_worker() -> None:
    """A worker's initializer: bounded memory, and death (not a Python exception, codecs are C) when a decode hangs."""
    limit_worker(WORKER_BYTES)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which ends its workers itself


def read_picture(data: bytes) -> Picture | Rejected:
    """The picture in a DICOM Part 10 file; Rejected when it cannot be read or shows nothing."""
    signal.alarm(DECODE_TIMEOUT_S)
    try:
        pixels = decode(data)
        if isinstance(pixels, Rejected):
            return pixels
        image = prepare_image(pixels)
        if image is None:
            return Rejected(RejectReason.UNREADABLE_PIXELS, "(7FE0,0010)", "the picture is blank")
        return Picture(image, thumbnail(pixels))
    except MemoryError:
        return Rejected(RejectReason.UNREADABLE_PIXELS, "(7FE0,0010)", "decoding needs more memory than a worker has")
    finally:
        signal.alarm(0)
