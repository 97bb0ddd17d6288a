"""What is exported: network and trees blended, calibrated by modality pattern, and the explanation of the same."""

from dataclasses import dataclass
from itertools import product
from math import factorial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.domain.features.derived import DERIVED, SOURCES
from services.domain.features.inputs import MODALITIES
from services.domain.features.series import SHAPE
from services.domain.features.variables import INDEX
from training.fusion.network import COUNTS, FusionNet, Together

PLAYERS = 4  # series, static, note, image: the modalities that are switched on
PATTERNS = 1 << PLAYERS
VARIABLES, STATISTICS = SHAPE


def pattern(presence: NDArray[np.float32]) -> NDArray[np.intp]:
    """The number of each row's modality pattern: bit m is modality m. `presence` is [N, modalities]."""
    return (presence[:, :PLAYERS] @ (1 << np.arange(PLAYERS))).astype(np.intp)


@dataclass
class Calibration:
    """What turns blended logits into probabilities: all of it chosen on validation data."""

    network: NDArray[np.float32]  # [outcomes] weight of the network's logit
    trees: NDArray[np.float32]  # [outcomes] weight of the trees' score
    slope: NDArray[np.float32]  # [patterns, outcomes]
    intercept: NDArray[np.float32]  # [patterns, outcomes]

    @classmethod
    def none(cls, outcomes: int) -> "Calibration":
        """The network as it is, without trees."""
        ones, zeros = np.ones(outcomes, np.float32), np.zeros(outcomes, np.float32)
        return cls(ones, zeros, np.ones((PATTERNS, outcomes), np.float32), np.zeros((PATTERNS, outcomes), np.float32))


class Blend(nn.Module):
    """Blended logits and their calibrated form, [B, outcomes] each, from the network's inputs and the trees' scores."""

    def __init__(self, net: FusionNet | Together, calibration: Calibration) -> None:
        super().__init__()
        self.net = net
        self.bits: Tensor
        self.network: Tensor
        self.trees: Tensor
        self.slope: Tensor
        self.intercept: Tensor
        self.register_buffer("bits", torch.tensor([float(1 << m) for m in range(PLAYERS)]))
        for name in ("network", "trees", "slope", "intercept"):
            self.register_buffer(name, torch.from_numpy(np.asarray(getattr(calibration, name), np.float32)))

    def forward(self, inputs: list[Tensor], tree_scores: Tensor) -> tuple[Tensor, Tensor]:
        presence = inputs[6]
        series_here = presence[:, :1]
        logits = self.net(*inputs)
        # Without series there is nothing for the trees to say: the network then counts in full.
        weight = self.network * series_here + (1.0 - series_here)
        mixed = weight * logits + self.trees * series_here * tree_scores
        number = (presence[:, :PLAYERS] * self.bits).sum(1).to(torch.int64)
        return mixed, self.slope[number] * mixed + self.intercept[number]


class Served(nn.Module):
    """`risk_fusion`: calibrated `risk`, `raw` before calibration, both probabilities [B, outcomes], and `row_id`."""

    def __init__(self, blend: Blend) -> None:
        super().__init__()
        self.blend = blend

    def forward(
        self,
        series: Tensor,
        static: Tensor,
        derived: Tensor,
        note: Tensor,
        image: Tensor,
        genomic: Tensor,
        presence: Tensor,
        age: Tensor,
        row_id: Tensor,
        tree_scores: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mixed, calibrated = self.blend([series, static, derived, note, image, genomic, presence, age], tree_scores)
        return torch.sigmoid(calibrated), torch.sigmoid(mixed), row_id + 0


def occlusions() -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float32]]:
    """Which variables, derived values and modalities each of the R altered rows keeps.

    The first VARIABLES rows leave out one clinical variable each, with the derived values made of it; the other
    PATTERNS rows keep one subset of the modalities each (row VARIABLES + pattern number). [R, V], [R, D], [R, M].
    """
    rows = VARIABLES + PATTERNS
    variables = np.ones((rows, VARIABLES), np.bool_)
    derived = np.ones((rows, len(DERIVED)), np.bool_)
    modalities = np.ones((rows, len(MODALITIES)), np.float32)
    variables[np.arange(VARIABLES), np.arange(VARIABLES)] = False
    for d, names in enumerate(SOURCES):
        derived[[INDEX[n] for n in names], d] = False
    for number in range(PATTERNS):
        kept = [float(number >> m & 1) for m in range(PLAYERS)]
        modalities[VARIABLES + number, :PLAYERS] = kept
        variables[VARIABLES + number] = derived[VARIABLES + number] = kept[0] > 0
    return variables, derived, modalities


def shapley_weights() -> NDArray[np.float32]:
    """[M, PATTERNS]: the Shapley value of a modality is this row times the values of all subsets (Shapley 1953)."""
    weights = np.zeros((len(MODALITIES), PATTERNS), np.float64)
    for player, bits in product(range(PLAYERS), range(PATTERNS)):
        if not bits >> player & 1:
            size = bits.bit_count()
            share = factorial(size) * factorial(PLAYERS - size - 1) / factorial(PLAYERS)
            weights[player, bits] -= share
            weights[player, bits | 1 << player] += share
    return weights.astype(np.float32)


class Alter(nn.Module):
    """The inputs of B rows as B * R rows, each with something left out (see `occlusions`)."""

    def __init__(self) -> None:
        super().__init__()
        variables, derived, modalities = occlusions()
        absent = np.full(STATISTICS, np.nan, np.float32)
        absent[COUNTS:] = 0.0
        self.rows = len(variables)
        self.variables: Tensor
        self.derived: Tensor
        self.modalities: Tensor
        self.absent: Tensor
        self.known: Tensor
        for name, value in (
            ("variables", variables),
            ("derived", derived),
            ("modalities", modalities),
            ("known", modalities[:, 1:2] > 0),
            ("absent", absent),
        ):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(value)))

    def forward(
        self,
        series: Tensor,
        static: Tensor,
        derived: Tensor,
        note: Tensor,
        image: Tensor,
        genomic: Tensor,
        presence: Tensor,
        age: Tensor,
    ) -> tuple[Tensor, ...]:
        unknown = torch.full((1,), float("nan"))
        return (
            torch.where(self.variables.unsqueeze(-1), series.unsqueeze(1), self.absent).flatten(0, 1),
            torch.where(self.known, static.unsqueeze(1), unknown).flatten(0, 1),
            torch.where(self.derived, derived.unsqueeze(1), unknown).flatten(0, 1),
            self._same(note),
            self._same(image),
            self._same(genomic),
            (presence.unsqueeze(1) * self.modalities).flatten(0, 1),
            self._same(age),
        )

    def _same(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1).repeat(1, self.rows, 1).flatten(0, 1)


class Explain(nn.Module):
    """Contributions in calibrated log-odds from the altered rows: modalities (Shapley) and variables (occlusion)."""

    def __init__(self, blend: Blend) -> None:
        super().__init__()
        self.blend = blend
        self.rows = VARIABLES + PATTERNS
        self.shapley: Tensor
        self.register_buffer("shapley", torch.from_numpy(shapley_weights()))

    def forward(
        self,
        series: Tensor,
        static: Tensor,
        derived: Tensor,
        note: Tensor,
        image: Tensor,
        genomic: Tensor,
        presence: Tensor,
        age: Tensor,
        row_id: Tensor,
        tree_scores: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, calibrated = self.blend([series, static, derived, note, image, genomic, presence, age], tree_scores)
        values = calibrated.reshape(-1, self.rows, calibrated.shape[1]).transpose(1, 2)  # [B, K, R]
        subsets = values[:, :, VARIABLES:]
        modality = torch.matmul(subsets, self.shapley.transpose(0, 1))
        variable = subsets[:, :, PATTERNS - 1 :] - values[:, :, :VARIABLES]
        return modality, variable, row_id + 0
