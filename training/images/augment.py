"""Random views of a radiograph: how it might have been taken, positioned and exposed otherwise."""

import math

import torch
from torch import Tensor

MAX_ROTATION = 10.0  # degrees
MAX_SHIFT = 0.06  # of the width
MIN_SCALE, MAX_SCALE = 0.88, 1.12
MAX_GAMMA = 1.35
MAX_CUT = 0.3  # side of the erased square, of the width


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """One random view of each image: float32 [N, 1, H, W] in [0, 1] to the same shape and range.

    Rotation, scale, shift, mirror, exposure (gamma, contrast, brightness) and one erased square in every other image.
    """
    n = len(images)
    views = _resample(images, _affine(n, generator))
    gamma = torch.exp((_uniform(n, generator) * 2 - 1) * math.log(MAX_GAMMA)).view(n, 1, 1, 1)
    contrast = (0.85 + 0.3 * _uniform(n, generator)).view(n, 1, 1, 1)
    brightness = (0.16 * _uniform(n, generator) - 0.08).view(n, 1, 1, 1)
    views = (views.clamp(0, 1) ** gamma - 0.5) * contrast + 0.5 + brightness
    return _erase(views.clamp(0, 1), generator)


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator)


def _affine(n: int, generator: torch.Generator) -> Tensor:
    angle = (_uniform(n, generator) * 2 - 1) * math.radians(MAX_ROTATION)
    scale = MIN_SCALE + (MAX_SCALE - MIN_SCALE) * _uniform(n, generator)
    mirror = torch.where(_uniform(n, generator) < 0.5, -1.0, 1.0)
    shift = (torch.rand(n, 2, generator=generator) * 2 - 1) * 2 * MAX_SHIFT
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = [cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]]
    return torch.stack(rows, dim=1).view(n, 2, 3)


def _resample(images: Tensor, theta: Tensor) -> Tensor:
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _erase(images: Tensor, generator: torch.Generator) -> Tensor:
    erased = images.clone()
    height, width = images.shape[2:]
    for image in erased:
        use, size, y, x = torch.rand(4, generator=generator).tolist()
        if use < 0.5:
            continue
        side = int(width * MAX_CUT * size)
        top, left = int(y * (height - side)), int(x * (width - side))
        image[:, top : top + side, left : left + side] = image.mean()
    return erased
