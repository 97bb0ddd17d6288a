"""Preprocessing of radiographs: what must not matter does not, and what must be refused is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.domain.images import SIZE, area_resize, encodable, grey_frame, prepare_image, thumbnail

CHEST = np.add.outer(np.sin(np.linspace(0, 6, 300)), np.cos(np.linspace(0, 9, 260))).astype(np.float32)


def as_depth(bits: int) -> np.ndarray:
    scaled = (CHEST - CHEST.min()) / (CHEST.max() - CHEST.min())
    return np.round(scaled * (2**bits - 1)).astype(np.uint16)


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.uint16, st.tuples(st.integers(1, 70), st.integers(1, 70)), elements=st.integers(0, 4095)),
    st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)
def test_any_frame_gives_the_encoders_shape_within_bounds_or_nothing(pixels: np.ndarray, photometric: str) -> None:
    prepared = prepare_image(pixels, photometric)
    if prepared is None:
        return
    assert prepared.shape == (1, SIZE, SIZE)
    assert prepared.dtype == np.float32
    assert prepared.min() >= 0
    assert prepared.max() <= 1


def test_bit_depth_and_exposure_do_not_matter() -> None:
    reference = prepare_image(as_depth(8))
    assert reference is not None
    for other in (prepare_image(as_depth(12)), prepare_image(as_depth(12) // 2 + 700)):
        assert other is not None
        assert np.abs(other - reference).max() < 0.01


def test_monochrome1_is_turned_over() -> None:
    film = as_depth(12)
    dark, bright = prepare_image(4095 - film.astype(np.int32), "MONOCHROME1"), prepare_image(film)
    assert dark is not None
    assert bright is not None
    assert np.abs(dark - bright).max() < 1e-5


def test_the_same_pixels_give_the_same_bytes() -> None:
    first, second = prepare_image(as_depth(12)), prepare_image(as_depth(12).copy(order="F"))
    assert first is not None
    assert second is not None
    assert first.tobytes() == second.tobytes()


def test_proportions_survive() -> None:
    tall = np.zeros((400, 200))
    tall[180:220, 80:120] = 1000
    tall[0, 0] = 1  # not all equal
    prepared = prepare_image(tall, size=100)
    assert prepared is not None
    rows, columns = np.nonzero(prepared[0] > 0.5)
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((50, 50)),
        np.full((50, 50), 4095),
        np.zeros((0, 50)),
        np.zeros(7),
        np.full((9, 9), np.nan),
    ],
)
def test_a_frame_without_a_picture_is_refused(pixels: np.ndarray) -> None:
    assert prepare_image(pixels) is None
    assert thumbnail(pixels) is None


def test_colour_and_many_frames_become_one_grey_frame() -> None:
    rgb = np.repeat(as_depth(8)[..., None], 3, axis=2)
    grey = grey_frame(rgb)
    assert grey is not None
    assert np.abs(grey - as_depth(8)).max() < 0.01
    many = np.stack([np.zeros_like(CHEST), CHEST, np.zeros_like(CHEST)])
    middle = grey_frame(many)
    assert middle is not None
    assert np.array_equal(middle, CHEST)


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.floats(0, 1, width=32)),
    st.integers(1, 30),
    st.integers(1, 30),
)
def test_area_resize_keeps_the_mean_and_the_bounds(image: np.ndarray, height: int, width: int) -> None:
    small = area_resize(image, height, width)
    assert small.shape == (height, width)
    assert float(small.mean()) == pytest.approx(float(image.mean()), abs=1e-4)
    assert small.min() >= image.min() - 1e-5
    assert small.max() <= image.max() + 1e-5


def test_a_thumbnail_fits_and_keeps_proportions() -> None:
    small = thumbnail(as_depth(12), size=64)
    assert small is not None
    assert small.dtype == np.uint8
    assert small.shape == (64, 55)


def test_only_frontal_chest_radiographs_are_encoded() -> None:
    assert encodable("DX", "CHEST", "PA")
    assert encodable("CR")
    assert not encodable("CT", "CHEST")
    assert not encodable("DX", "KNEE")
    assert not encodable("DX", "CHEST", "LL")
