"""Truncated and corrupted files give an answer, never an exception."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.reasons import Rejected
from services.formats.dicom import DicomObject, read_header
from services.formats.dicom.pixels import decode
from tests.unit.formats.dicom.files import FOLDERS, corpus, picture, radiograph

SMALL = [path for name in FOLDERS for path in corpus(name) if path.stat().st_size < 60_000]
WHOLE = {syntax: radiograph(picture(34, 32), syntax=syntax) for syntax in ("explicit", "rle", "jpeg2000")}


def check(data: bytes) -> None:
    assert isinstance(read_header(data), DicomObject | Rejected)
    assert isinstance(decode(data), np.ndarray | Rejected)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_corrupted_radiograph_gives_an_answer(data: st.DataObject) -> None:
    """Lossless JPEG 2000 included: its C decoder survives these; a pool holds the encode service's."""
    file = bytearray(WHOLE[data.draw(st.sampled_from(sorted(WHOLE)))])
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(132, len(file) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(file[: data.draw(st.integers(0, len(file)) | st.just(len(file)))]))


@pytest.mark.parametrize("path", SMALL, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_damaged_public_file_gives_an_answer(path: Path) -> None:
    rng = random.Random(path.name)
    whole = path.read_bytes()
    for _ in range(4):
        file = bytearray(whole)
        for _ in range(rng.choice((1, 3, 10))):
            file[rng.randrange(len(file))] = rng.randrange(256)
        check(bytes(file[: rng.choice((len(file), rng.randrange(len(file))))]))


def test_every_cut_of_a_file_is_a_reject_or_says_that_there_are_no_pixels() -> None:
    whole = WHOLE["explicit"]
    for end in range(len(whole)):
        found = read_header(whole[:end])
        assert isinstance(found, Rejected) or not found.pixels
