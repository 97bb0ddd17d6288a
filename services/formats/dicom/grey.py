"""Stored pixel values to grey values: the transformations of PS3.3 C.11 and PS3.4 N.2, in their order."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi

Float32 = NDArray[np.float32]
Pixels = NDArray[Any]

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, which is what PS3.3 C.7.6.3.1.2 uses for YBR_FULL."""


def luma(stored: Pixels, photometric: str, dataset: Dataset) -> Pixels:
    """Colour [rows, columns, 3] (or palette indices) to its brightness [rows, columns], in the colours' own range.

    The first component of any YBR is brightness already and is taken as it is.
    """
    if photometric == "PALETTE COLOR":
        stored, photometric = apply_color_lut(stored, dataset), "RGB"
    if photometric.startswith("YBR"):
        return np.asarray(stored[..., 0], np.float64)
    return np.asarray(stored[..., :3].astype(np.float64) @ np.array(LUMA))


def modality_values(stored: Pixels, dataset: Dataset, frame: int) -> Pixels:
    """Modality LUT or rescale slope and intercept (C.11.1; C.7.6.16.2.9 for enhanced objects): HU for CT."""
    if "ModalityLUTSequence" in dataset:
        return np.asarray(apply_modality_lut(stored, dataset))
    source = functional_group(dataset, frame, "PixelValueTransformationSequence")
    slope = _number(source.get("RescaleSlope"), 1.0)
    intercept = _number(source.get("RescaleIntercept"), 0.0)
    if slope == 1.0 and intercept == 0.0:
        return stored
    return stored.astype(np.float64) * slope + intercept


def displayed(values: Pixels, dataset: Dataset, frame: int, padding: NDArray[np.bool_] | None) -> Pixels:
    """VOI LUT or window (C.11.2) to [0, 1]; without one, the spread of the values that are not padding."""
    if "VOILUTSequence" in dataset and values.dtype.kind in "iu":
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return np.clip(apply_voi(values, dataset) / float((1 << bits) - 1), 0.0, 1.0)
    source = functional_group(dataset, frame, "FrameVOILUTSequence")
    centre, width = _number(source.get("WindowCenter"), np.nan), _number(source.get("WindowWidth"), np.nan)
    if np.isfinite(centre) and np.isfinite(width) and width > 0:
        return window(values, centre, width, str(source.get("VOILUTFunction", "LINEAR") or "LINEAR"))
    seen = values if padding is None or padding.all() else values[~padding]
    low, high = float(seen.min()), float(seen.max())
    return np.clip((values.astype(np.float64) - low) / max(high - low, 1e-12), 0.0, 1.0)


def window(values: Pixels, centre: float, width: float, function: str) -> Pixels:
    """C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT), to [0, 1]."""
    x = values.astype(np.float64)
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - centre) / width, -700.0, 700.0)))
    if function == "LINEAR_EXACT" or width < 1.0:
        return np.clip((x - centre) / width + 0.5, 0.0, 1.0)
    if width == 1.0:
        return (x > centre - 0.5).astype(np.float64)
    return np.clip((x - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def padding_mask(stored: Pixels, dataset: Dataset) -> NDArray[np.bool_] | None:
    """Where Pixel Padding Value (to its Range Limit) stands (C.7.5.1.1.2); None where none is declared."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit", value)
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    mask = (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def functional_group(dataset: Dataset, frame: int, name: str) -> Dataset:
    """The macro `name` of an enhanced object's frame, per frame before shared; the data set itself in older objects."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (*per_frame[frame : frame + 1], *shared[:1]):
        macro = groups.get(name)
        if macro:
            found: Dataset = macro[0]
            return found
    return dataset


def _number(value: Any, default: float) -> float:
    """The first of a DS value as a finite float."""
    first = value[0] if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else value
    try:
        return float(first)
    except (TypeError, ValueError):
        return default
