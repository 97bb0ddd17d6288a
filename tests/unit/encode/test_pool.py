"""A picture that crashes or hangs its decoder is refused; the ones beside it are read."""

import asyncio
import os
import signal
from pathlib import Path

import numpy as np

from services.domain.reasons import Rejected, RejectReason
from services.encode import pixels
from services.encode.pool import DecodePool


def read(data: bytes) -> pixels.Picture | Rejected:
    """A decoder with faults: b'crash' ends its process, b'hang' never returns to Python."""
    if data == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"hang":
        signal.alarm(1)
        signal.pause()
    return pixels.Picture(np.zeros((1, 1, 1), np.float32), data)


def test_only_the_picture_that_kills_its_worker_is_refused():
    pool = DecodePool(1, read)
    try:
        answers = asyncio.run(pool.pictures([b"crash", b"a", b"hang"]))
    finally:
        pool.close()
    thumbnails = [a.thumbnail if isinstance(a, pixels.Picture) else a.reason for a in answers]
    refused = RejectReason.UNREADABLE_PIXELS
    assert thumbnails == [refused, b"a", refused]


def hungry(data: bytes) -> pixels.Picture | Rejected:
    """Wants as many MiB as `data` says, after decoding."""
    pixels.decode = lambda _: np.zeros((1, 1), np.float32)
    pixels.prepare_image = lambda _: np.ones(int(data) << 20, np.uint8)
    pixels.thumbnail = lambda _: b"png"
    found = pixels.read_picture(data)
    return found if isinstance(found, Rejected) else pixels.Picture(found.image[:1], b"png")


def test_a_picture_that_wants_more_memory_than_a_worker_has_is_refused_and_the_next_is_read():
    pool = DecodePool(1, hungry)
    over = str((pixels.WORKER_BYTES >> 20) + 1).encode()
    try:
        refused, read_after = asyncio.run(pool.pictures([over, b"1"]))
    finally:
        pool.close()
    assert refused == Rejected(
        RejectReason.UNREADABLE_PIXELS, "(7FE0,0010)", "decoding needs more memory than a worker has"
    )
    assert isinstance(read_after, pixels.Picture)


def test_a_real_radiograph_is_read_in_a_worker_as_it_is_here():
    from pydicom.data import get_testdata_file

    data = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    pool = DecodePool(1)
    try:
        [there] = asyncio.run(pool.pictures([data]))
    finally:
        pool.close()
    here = pixels.read_picture(data)
    assert isinstance(here, pixels.Picture)
    assert np.array_equal(there.image, here.image)
    assert there.thumbnail == here.thumbnail
    assert there.thumbnail.startswith(b"\x89PNG")


def test_what_is_no_dicom_is_refused_with_a_reason():
    assert isinstance(pixels.read_picture(b"not dicom"), Rejected)
