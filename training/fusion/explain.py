"""What moved a network's logits: the modalities taken away in every combination, and the variables by their gradient.

Up to the sum over modalities the network is linear in what it has encoded, so a modality or a variable is a vector
that is added or left out there, and only the two small layers behind it are asked again.

The variables' contributions are integrated gradients (Sundararajan et al., ICML 2017): the gradient along the straight
line from the row with no variable known to the row as it is, times each variable's step. They add up to the difference
between the two rows' logits, within the error of the quadrature.
"""

from math import pi, sqrt

import numpy as np
import torch
from torch import Tensor, nn

from services.domain.features.inputs import ARRAYS
from services.domain.features.static import STATIC
from training.fusion.network import COUNTS, FIXED, PARTS, VARIABLES, FusionNet
from training.fusion.trees import CREDIT, NOTE_COLUMN, SERIES, STATIC_COLUMNS, STATIC_DATA

NODES = 4  # of the Gauss-Legendre quadrature


class NetworkExplanation(nn.Module):
    """Logits of subsets of the modalities [B, subsets, outcomes], and contributions [B, VARIABLES, outcomes].

    `kept` [subsets, players] is 1 where a subset holds the modality; the modalities behind the players always stay.
    """

    def __init__(self, net: FusionNet, kept: Tensor) -> None:
        super().__init__()
        self.net = net
        self.players = kept.shape[1]
        series, static = kept[:, SERIES], kept[:, STATIC_DATA]
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        # A column of the fixed input: each static and derived value, then each one's pieces.
        credit = CREDIT[STATIC_COLUMNS.start : NOTE_COLUMN]
        of_fixed = np.concatenate([credit, credit.repeat(PARTS, 0)])
        derived = np.arange(FIXED) >= len(STATIC)
        self.removed: Tensor
        self.credit: Tensor
        self.derived: Tensor
        self.unknown: Tensor
        self.nodes: Tensor
        self.weights: Tensor
        for name, value in {
            "removed": torch.cat([1 - kept, (static * (1 - series)).unsqueeze(1)], 1),
            "credit": torch.from_numpy(of_fixed).float(),
            "derived": torch.from_numpy(np.concatenate([derived, derived.repeat(PARTS)])).float(),
            "unknown": _nothing_measured(),
            "nodes": torch.from_numpy((nodes + 1) / 2).float(),
            "weights": torch.from_numpy(weights / 2).float(),
        }.items():
            self.register_buffer(name, value)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        here, measured, fixed, mixed = self.net.stages(*inputs)
        total = mixed.sum(1)
        fixed = fixed * here[:, STATIC_DATA : STATIC_DATA + 1]
        measured = (measured - self.net.by_variable(self.unknown)) * here[:, SERIES : SERIES + 1]
        return self._without(total, mixed, fixed), self._variables(total, measured, fixed)

    def _without(self, total: Tensor, mixed: Tensor, fixed: Tensor) -> Tensor:
        """Logits with some modalities' vectors taken out of the sum; without series static data lose the derived."""
        players = (mixed - self.net.absent)[:, : self.players]
        derived = torch.matmul(fixed * self.derived, self.net.fixed.weight.T)
        steps = torch.cat([players, derived.unsqueeze(1)], 1)  # [B, players + 1, width]
        return self.net.logits(total.unsqueeze(1) - torch.matmul(self.removed, steps))

    def _variables(self, total: Tensor, measured: Tensor, fixed: Tensor) -> Tensor:
        """Integrated gradients of what was `measured` and of the values that are derived of it (in `fixed`)."""
        series_weight, fixed_weight = self.net.series.weight, self.net.fixed.weight
        moved = torch.matmul(measured, series_weight.T)
        moved = moved + torch.matmul(fixed * self.credit.sum(1), fixed_weight.T)
        points = total.unsqueeze(1) - (1.0 - self.nodes).unsqueeze(1) * moved.unsqueeze(1)
        slope = (self._gradient(points) * self.weights.reshape(-1, 1, 1)).sum(1)  # [B, outcomes, width]
        of_series = torch.matmul(slope, series_weight) * measured.unsqueeze(1)
        of_fixed = torch.matmul(slope, fixed_weight) * fixed.unsqueeze(1)
        of_series = of_series.reshape(*of_series.shape[:2], VARIABLES, -1).sum(-1)
        return (of_series + torch.matmul(of_fixed, self.credit)).transpose(1, 2)

    def _gradient(self, mixed: Tensor) -> Tensor:
        """Of each logit by the sum over modalities: [..., width] to [..., outcomes, width]."""
        _, _, layer, _, _ = self.net.hidden
        first, first_slope = gelu(mixed)
        _, slope = gelu(layer(first))
        behind = torch.matmul(slope.unsqueeze(-2) * self.net.heads.weight, layer.get_parameter("weight"))
        return first_slope.unsqueeze(-2) * behind


def gelu(x: Tensor) -> tuple[Tensor, Tensor]:
    """x Phi(x) and its derivative Phi(x) + x phi(x) (Hendrycks and Gimpel 2016)."""
    below = 0.5 * (1.0 + torch.erf(x / sqrt(2.0)))
    return x * below, below + x * torch.exp(-0.5 * x * x) / sqrt(2.0 * pi)


def _nothing_measured() -> Tensor:
    """A `series` input [1, VARIABLES, STATISTICS] in which no variable is known: NaN, and counts of 0."""
    series = torch.full((1, *ARRAYS["series"]), float("nan"))
    series[..., COUNTS:] = 0.0
    return series
