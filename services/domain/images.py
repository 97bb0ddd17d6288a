"""Chest radiographs to the image encoder's input: the one preprocessing that training and serving share.

Pure numpy. A decoded frame of any size and depth becomes float32 [1, SIZE, SIZE] in [0, 1]: polarity made
MONOCHROME2 (bright is dense), padded to a square, area-averaged down, and windowed between two percentiles, so
that exposure, bit depth and the sender's window do not matter.
"""

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

IMAGE_PREPROCESSING = "image-1"
"""Changes whenever the tensor for the same pixels does; a model states the one it was trained with."""

SIZE = 192
"""Height and width of the encoder's input, pixels."""

LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.0
MIN_CONTRAST = 1e-3
"""Least spread between the two percentiles, as a fraction of the frame's full spread (blank frames fall below)."""

ENCODABLE_MODALITIES = frozenset({"CR", "DX"})
_CHEST_WORDS = ("CHEST", "THORAX", "LUNG", "RIB")
_LATERAL_VIEWS = frozenset({"LL", "RL", "LLD", "RLD", "LATERAL", "LAT"})


def encodable(modality: str, body_part: str = "", view_position: str = "") -> bool:
    """Whether the encoder was trained for such an image: a frontal plain chest radiograph.

    An empty Body Part Examined (0018,0015) or View Position (0018,5101) is common and does not refuse it.
    """
    if modality.upper() not in ENCODABLE_MODALITIES:
        return False
    part = body_part.upper()
    if part and not any(word in part for word in _CHEST_WORDS):
        return False
    return view_position.upper() not in _LATERAL_VIEWS


def grey_frame(pixels: NDArray[np.generic], photometric: str = "MONOCHROME2") -> Float32 | None:
    """One grey frame [rows, columns], bright is dense, from decoded pixels; None when there is no picture in it.

    `pixels` may be [rows, columns], [rows, columns, 3] (RGB: Rec. 601 luma) or either with a leading frame axis,
    of which the middle frame is taken. MONOCHROME1 (PS3.3 C.7.6.3.1.2) is turned over.
    """
    frame = np.asarray(pixels)
    colour = frame.ndim >= 3 and frame.shape[-1] in (3, 4)
    if frame.ndim == (4 if colour else 3):
        frame = frame[frame.shape[0] // 2]
    if frame.ndim != (3 if colour else 2) or 0 in frame.shape:
        return None
    grey = frame.astype(np.float32)
    if colour:
        grey = grey[..., :3] @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    if not np.isfinite(grey).all():
        return None
    return -grey if photometric.upper() == "MONOCHROME1" else grey


def prepare_image(pixels: NDArray[np.generic], photometric: str = "MONOCHROME2", size: int = SIZE) -> Float32 | None:
    """The encoder's input, float32 [1, size, size] in [0, 1]; None when the frame is blank or unreadable."""
    grey = grey_frame(pixels, photometric)
    if grey is None:
        return None
    small = area_resize(_square(grey), size, size)
    windowed = window(small, float(np.ptp(grey)))
    return None if windowed is None else windowed[None]


def thumbnail(
    pixels: NDArray[np.generic], photometric: str = "MONOCHROME2", size: int = 256
) -> NDArray[np.uint8] | None:
    """A grey picture for people, uint8 [height, width] with the longer side at most `size`; None as above."""
    grey = grey_frame(pixels, photometric)
    if grey is None:
        return None
    scale = min(1.0, size / max(grey.shape))
    height, width = (max(1, round(side * scale)) for side in grey.shape)
    windowed = window(area_resize(grey, height, width), float(np.ptp(grey)))
    return None if windowed is None else (windowed * 255 + 0.5).astype(np.uint8)


def window(image: Float32, spread: float) -> Float32 | None:
    """`image` clipped between its percentiles and scaled to [0, 1]; None when it has no contrast.

    `spread` is the full frame's, highest minus lowest value: resizing a blank frame leaves rounding noise.
    """
    low, high = (float(v) for v in np.percentile(image, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    if not high - low > MIN_CONTRAST * spread or spread <= 0.0:
        return None
    return np.asarray(np.clip((image - low) / (high - low), 0.0, 1.0), dtype=np.float32)


def area_resize(image: Float32, height: int, width: int) -> Float32:
    """`image` [rows, columns] averaged over the area that each output pixel covers (exact for any ratio)."""
    rows, columns = image.shape
    small = _area_weights(rows, height) @ image @ _area_weights(columns, width).T
    return np.asarray(small, dtype=np.float32)


def _area_weights(source: int, target: int) -> Float32:
    """[target, source] matrix; row i holds how much of each source pixel lies in output pixel i, summing to 1."""
    edges = np.arange(target + 1, dtype=np.float64) * (source / target)
    start = np.arange(source, dtype=np.float64)
    overlap = np.minimum(edges[1:, None], start + 1.0) - np.maximum(edges[:-1, None], start)
    weights = np.clip(overlap, 0.0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _square(image: Float32) -> Float32:
    """Padded with its darkest value, centred, so that proportions survive the resize."""
    rows, columns = image.shape
    side = max(rows, columns)
    if rows == columns:
        return image
    top, left = (side - rows) // 2, (side - columns) // 2
    padding = ((top, side - rows - top), (left, side - columns - left))
    return np.pad(image, padding, constant_values=float(image.min()))
