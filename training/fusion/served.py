"""What is exported: network and trees blended, calibrated by modality pattern, and explained in the same pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import factorial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.domain.features.inputs import MODALITIES
from training.fusion.explain import NetworkExplanation
from training.fusion.network import VARIABLES, Together
from training.fusion.trees import SERIES, WHOLE

PLAYERS = 4  # series, static, note, image: the modalities that are switched on
PATTERNS = 1 << PLAYERS


def pattern(presence: NDArray[np.float32]) -> NDArray[np.intp]:
    """The number of each row's modality pattern: bit m is modality m. `presence` is [N, modalities]."""
    return (presence[:, :PLAYERS] @ (1 << np.arange(PLAYERS))).astype(np.intp)


@dataclass
class Calibration:
    """What turns blended logits into probabilities: all of it chosen on validation data."""

    network: NDArray[np.float32]  # [2, outcomes] weight of its logit, without series and with; the trees have the rest
    slope: NDArray[np.float32]  # [patterns, outcomes]
    intercept: NDArray[np.float32]  # [patterns, outcomes]

    @classmethod
    def none(cls, outcomes: int) -> "Calibration":
        """The network as it is, without trees."""
        ones, zeros = np.ones((PATTERNS, outcomes), np.float32), np.zeros((PATTERNS, outcomes), np.float32)
        return cls(np.ones((2, outcomes), np.float32), ones, zeros)

    def mixed(
        self, number: NDArray[np.intp], network: NDArray[np.float32], trees: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Blended scores [rows, outcomes] of rows of these patterns."""
        weight = self.network[number >> SERIES & 1]
        blended: NDArray[np.float32] = weight * network + (1 - weight) * trees
        return blended


class Blend(nn.Module):
    """The network's logits and the trees' scores in one, and calibrated: float32 [..., outcomes]."""

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        self.bits: Tensor
        self.network: Tensor
        self.slope: Tensor
        self.intercept: Tensor
        self.register_buffer("bits", torch.tensor([float(1 << m) for m in range(PLAYERS)]))
        for name in ("network", "slope", "intercept"):
            self.register_buffer(name, torch.from_numpy(np.asarray(getattr(calibration, name), np.float32)))

    def mixed(self, presence: Tensor, network: Tensor, trees: Tensor) -> Tensor:
        weight = self.network[presence[..., SERIES].to(torch.int64)]
        return weight * network + (1.0 - weight) * trees

    def number(self, presence: Tensor) -> Tensor:
        """Of the pattern of modalities, as `pattern`."""
        return (presence[..., :PLAYERS] * self.bits).sum(-1).to(torch.int64)

    def line(self, presence: Tensor) -> tuple[Tensor, Tensor]:
        """(slope, intercept) of the pattern of modalities: slope * mixed + intercept are calibrated log-odds."""
        number = self.number(presence)
        return self.slope[number], self.intercept[number]


class Served(nn.Module):
    """`risk_fusion`: calibrated `risk`, `raw` before calibration, both probabilities [B, outcomes], and why.

    Contributions are in calibrated log-odds: `modality_contribution` [B, outcomes, modalities] are exact Shapley values
    over the subsets of modalities, each with its own pattern's calibration; `variable_contribution`
    [B, outcomes, variables] add up to what the variables change while modalities and pattern stay as they are. `trees`
    and `trees_lacking` are those of `training.fusion.trees.ensemble_nodes`.
    """

    def __init__(self, net: Together, calibration: Calibration) -> None:
        super().__init__()
        self.net = net
        self.blend = Blend(calibration)
        kept = (torch.arange(PATTERNS).unsqueeze(1) >> torch.arange(PLAYERS) & 1).float()  # bit m is modality m
        # Subsets that differ in what is switched off alone are one to the networks.
        live, place = torch.unique(kept * net.on[:PLAYERS], dim=0, return_inverse=True)
        self.explained = nn.ModuleList(NetworkExplanation(member, live) for member in net)
        self.place: Tensor
        self.kept: Tensor
        self.shapley: Tensor
        self.register_buffer("place", place)
        self.register_buffer("kept", torch.cat([kept, torch.ones(PATTERNS, len(MODALITIES) - PLAYERS)], 1))
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
        trees: Tensor,
        trees_lacking: Tensor,
    ) -> tuple[Tensor, ...]:
        inputs = [series, static, derived, note, image, genomic, presence, age]
        size = trees_lacking.shape[1]
        k = size // (WHOLE + 1)
        scores = (trees[:, :size] + trees_lacking).reshape(-1, WHOLE + 1, k)  # by pattern
        moved = trees[:, size:].reshape(-1, k, VARIABLES).transpose(1, 2) * presence[:, SERIES].reshape(-1, 1, 1)
        mixed = self.blend.mixed(presence, self.net(*inputs), self._trees(presence.unsqueeze(1), scores).squeeze(1))
        slope, intercept = self.blend.line(presence)
        without, contributions = self._networks(inputs)
        of_variables = self.blend.mixed(presence.unsqueeze(1), contributions, moved)
        return (
            torch.sigmoid(slope * mixed + intercept),
            torch.sigmoid(mixed),
            self._modalities(presence, without, scores).transpose(1, 2),
            (slope.unsqueeze(1) * of_variables).transpose(1, 2),
            row_id + 0,
        )

    def _networks(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The mean over the members of their logits by subset and of their variables' contributions."""
        found = [explained(*inputs) for explained in self.explained]
        without, contributions = (torch.stack(part).mean(0) for part in zip(*found, strict=True))
        return without[:, self.place], contributions

    def _trees(self, present: Tensor, scores: Tensor) -> Tensor:
        """[B, subsets, outcomes] what the trees say of each subset, whose modalities are `present`."""
        number = self.blend.number(present) & WHOLE
        return torch.gather(scores, 1, number.unsqueeze(-1).expand(-1, -1, scores.shape[-1]))

    def _modalities(self, presence: Tensor, network: Tensor, scores: Tensor) -> Tensor:
        """[B, modalities, outcomes] Shapley values of the game whose worth is a subset's calibrated log-odds."""
        present = presence.unsqueeze(1) * self.kept  # [B, PATTERNS, modalities]
        slope, intercept = self.blend.line(present)
        worth = slope * self.blend.mixed(present, network, self._trees(present, scores)) + intercept
        return torch.matmul(self.shapley, worth)


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
