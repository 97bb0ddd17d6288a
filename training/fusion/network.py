"""The fusion network: any subset of series, static data, notes, images and a genomic panel, to one logit per outcome.

Each modality has its own small encoder to one common width. Of a note's vector it reads what the note lets expect: the
deaths in stays with notes are too few to learn from all its directions. What is absent is replaced by a learned
vector, and the age of what is present is encoded beside it, so that a stale note can count for less. Values are
standardised inside the network with the training set's quantiles: the server gets the features as they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.domain.features.derived import DERIVED
from services.domain.features.genomic import GENES
from services.domain.features.inputs import IMAGE_SIZE, MODALITIES
from services.domain.features.series import SHAPE, STATISTIC
from services.domain.features.static import STATIC
from training.fusion.trees import EXPECTED

OUTCOMES: tuple[str, ...] = ("sepsis-6h", "mortality")
VARIABLES, STATISTICS = SHAPE
SINCE = STATISTIC["hours_since"]
COUNTS = STATISTIC["hours_with_6h"]
RAMPED = [STATISTIC[name] for name in ("value", "min_24h", "max_24h", "min_72h", "max_72h")]
"""The statistics that the network reads piece by piece too, since risk bends at both ends of a variable's range."""
KNOTS = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
"""Quantiles of the training rows between which the pieces lie."""
PARTS = len(KNOTS) - 1
FIXED = len(STATIC) + len(DERIVED)


@dataclass(frozen=True)
class Sizes:
    """Widths of the network; see `training.fusion.plans` for the shipped ones."""

    per_variable: int = 10
    width: int = 96
    note: int = 24
    image: int = 16
    dropout: float = 0.25


class Standardise(nn.Module):
    """(x - centre) / spread, its tails compressed by a logarithm, NaN as 0; constants from the training set."""

    centre: Tensor
    spread: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        z = (x - self.centre) / self.spread
        squeezed = torch.sign(z) * torch.log1p(torch.abs(z))
        return torch.where(torch.isnan(z), torch.zeros_like(z), torch.clamp(squeezed, -5.0, 5.0))


class Ramps(nn.Module):
    """Piecewise-linear encoding (Gorishniy et al., NeurIPS 2022): each value as how far it has come through each part
    of the training set's range, -0.5 before to 0.5 behind; NaN as 0. [..., n] to [..., n, PARTS]."""

    low: Tensor
    span: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(*shape, PARTS))
        self.register_buffer("span", torch.ones(*shape, PARTS))

    def forward(self, x: Tensor) -> Tensor:
        z = (x.unsqueeze(-1) - self.low) / self.span
        return torch.where(torch.isnan(z), torch.zeros_like(z), torch.clamp(z, 0.0, 1.0) - 0.5)


class PerVariable(nn.Module):
    """One linear map for each clinical variable, from its encoded statistics and a 'measured' mark to a few numbers."""

    def __init__(self, out: int) -> None:
        super().__init__()
        inputs = STATISTICS + len(RAMPED) * PARTS + 1
        self.weight = nn.Parameter(torch.randn(VARIABLES, inputs, out) * 0.7 * STATISTICS**-0.5)
        self.bias = nn.Parameter(torch.zeros(VARIABLES, out))

    def forward(self, z: Tensor, seen: Tensor) -> Tensor:
        x = torch.cat([z, seen.unsqueeze(-1)], -1)  # [B, V, inputs]
        # Variable by variable over the whole batch: V matrix products in place of B * V tiny ones.
        return torch.matmul(x.transpose(0, 1), self.weight).transpose(0, 1) + self.bias  # [B, V, out]


class FusionNet(nn.Module):
    """Logits [B, outcomes] of the inputs of `services.domain.features` (with batch dimension in front)."""

    def __init__(self, sizes: Sizes | None = None, outcomes: tuple[str, ...] = OUTCOMES) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.sizes, self.outcomes = sizes, outcomes
        width = sizes.width
        self.standard_series = Standardise(VARIABLES, STATISTICS)
        self.standard_fixed = Standardise(FIXED)
        self.ramps_series = Ramps(VARIABLES, len(RAMPED))
        self.ramps_fixed = Ramps(FIXED)
        self.per_variable = PerVariable(sizes.per_variable)
        self.series = nn.Linear(VARIABLES * sizes.per_variable, width)
        self.fixed = nn.Linear(FIXED * (1 + PARTS), width)
        self.note = nn.Sequential(nn.Linear(1, sizes.note), nn.Tanh(), nn.Linear(sizes.note, width))
        self.image = nn.Sequential(nn.Linear(IMAGE_SIZE, sizes.image), nn.Tanh(), nn.Linear(sizes.image, width))
        self.genomic = nn.Linear(len(GENES), width)
        self.absent = nn.Parameter(torch.zeros(len(MODALITIES), width))
        self.aged = nn.Parameter(torch.zeros(len(MODALITIES), width))
        self.hidden = nn.Sequential(
            nn.GELU(), nn.Dropout(sizes.dropout), nn.Linear(width, width), nn.GELU(), nn.Dropout(sizes.dropout)
        )
        self.heads = nn.Linear(width, len(outcomes))
        self.on: Tensor
        self.register_buffer(
            "on", torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])
        )  # 0 for what there is no data to train it on
        self.drop = nn.Dropout(sizes.dropout)

    def forward(self, *inputs: Tensor) -> Tensor:
        *_, mixed = self.stages(*inputs)
        return self.logits(mixed.sum(1))

    def stages(
        self,
        series: Tensor,
        static: Tensor,
        derived: Tensor,
        note: Tensor,
        image: Tensor,
        genomic: Tensor,
        presence: Tensor,
        age: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is here [B, M], what `by_variable` and `fixed_values` give, and the modalities `mixed`."""
        here = presence * self.on
        measured, fixed = self.by_variable(series), self.fixed_values(static, derived, here)
        return here, measured, fixed, self.mixed(self.encoded(measured, fixed, note, image, genomic), here, age)

    def by_variable(self, series: Tensor) -> Tensor:
        """A few numbers for each clinical variable, [B, V * per_variable]."""
        seen = 1.0 - torch.isnan(series[:, :, 0]).to(series.dtype)
        z = torch.cat([self.standard_series(series), self.ramps_series(series[:, :, RAMPED]).flatten(2)], -1)
        numbers: Tensor = self.per_variable(z, seen)
        return numbers.flatten(1)

    def fixed_values(self, static: Tensor, derived: Tensor, here: Tensor) -> Tensor:
        """Static and derived values standardised, then in pieces, [B, FIXED * (1 + PARTS)]; 0 where not known."""
        fixed = torch.cat([static, derived * _nan_where_absent(here[:, :1])], -1)
        return torch.cat([self.standard_fixed(fixed), self.ramps_fixed(fixed).flatten(1)], -1)

    def encoded(self, by_variable: Tensor, fixed: Tensor, note: Tensor, image: Tensor, genomic: Tensor) -> Tensor:
        """Each modality as a vector of the common width, [B, M, width]."""
        return torch.stack(
            [
                self.series(self.drop(by_variable)),
                self.fixed(fixed),
                self.note(note[:, EXPECTED:]),
                self.image(image),
                self.genomic(genomic),
            ],
            1,
        )

    def mixed(self, encoded: Tensor, here: Tensor, age: Tensor) -> Tensor:
        """The same with its age, and with the learned stand-in of what is not `here`."""
        aged = torch.log1p(torch.clamp(age, 0.0, 720.0)).unsqueeze(-1) * self.aged
        return here.unsqueeze(-1) * (encoded + aged) + (1.0 - here).unsqueeze(-1) * self.absent

    def logits(self, total: Tensor) -> Tensor:
        """Of the sum over modalities: [..., width] to [..., outcomes]."""
        logits: Tensor = self.heads(self.hidden(total))
        return logits


def with_heads(net: FusionNet, outcomes: tuple[str, ...]) -> FusionNet:
    """The network itself, with its heads for these of its outcomes alone."""
    places = [net.outcomes.index(outcome) for outcome in outcomes]
    heads = nn.Linear(net.sizes.width, len(outcomes))
    heads.load_state_dict({name: value[places] for name, value in net.heads.state_dict().items()})
    net.heads, net.outcomes = heads, outcomes
    return net


class Together(nn.Module):
    """The mean of several networks' logits: what ships is an average over seeds."""

    on: Tensor

    def __init__(self, members: Sequence[FusionNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("on", torch.stack([m.on for m in members]).amax(0))

    def __iter__(self) -> Iterator[FusionNet]:
        return (member for member in self.members if isinstance(member, FusionNet))

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.stack([member(*inputs) for member in self.members]).mean(0)


def _nan_where_absent(here: Tensor) -> Tensor:
    """1 where present, NaN (not known) where not: derived features belong to the series."""
    return torch.where(here > 0, torch.ones_like(here), torch.full_like(here, float("nan")))
