"""Rows of several data sets as one training set: each row carries the labels its data set knows, and no others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.domain.features import ARRAYS
from training.datasets.table import Table


@dataclass
class Source:
    """One data set's table and the rows of it that are used."""

    table: Table
    rows: NDArray[np.intp]
    repeat: float = 1.0  # how often a row is drawn in an epoch (0.5: every other one)
    outcomes: tuple[str, ...] = ()  # of the labels, in the network's order

    def labels(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """float32 [rows, outcomes]; NaN where this data set does not know the outcome."""
        known = self.table.labels
        return np.stack(
            [known[o][rows] if o in known else np.full(len(rows), np.nan, np.float32) for o in self.outcomes], axis=1
        )

    def inputs(self, rows: NDArray[np.intp]) -> dict[str, NDArray[np.float32]]:
        """The inputs of those rows; zeros for a modality that the data set does not have."""
        return {name: np.ascontiguousarray(self.table.read(name, rows)) for name in ARRAYS}


@dataclass
class Minibatch:
    inputs: dict[str, Tensor]
    labels: Tensor  # [B, outcomes], NaN unknown


def tensors(inputs: dict[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    return {n: torch.from_numpy(np.array(a)) for n, a in inputs.items()}


def draw(sources: Sequence[Source], rng: np.random.Generator) -> list[tuple[int, NDArray[np.intp]]]:
    """The rows of one epoch: (source, rows) pieces, each sorted so that the memory map is read forwards."""
    pieces = []
    for number, source in enumerate(sources):
        want = round(len(source.rows) * source.repeat)
        whole, rest = divmod(want, len(source.rows))
        chosen = [source.rows] * whole + [rng.choice(source.rows, rest, replace=False)]
        pieces.append((number, rng.permutation(np.concatenate(chosen))))
    return pieces


def batches(
    sources: Sequence[Source], size: int, rng: np.random.Generator, rank: int = 0, world: int = 1
) -> Iterator[Minibatch]:
    """Minibatches of one epoch, each mixed from all sources in proportion; with `world` > 1 this rank's share of each.

    The shares of all ranks together are the minibatch that a single process draws from the same `rng`.
    """
    pieces = draw(sources, rng)
    steps = max(1, sum(len(rows) for _, rows in pieces) // size)
    for step in range(steps):
        parts = [(n, np.sort(rows[step * len(rows) // steps : (step + 1) * len(rows) // steps])) for n, rows in pieces]
        shares = [(n, rows[rank::world]) for n, rows in parts if len(rows[rank::world])]
        yield collate([(sources[n], rows) for n, rows in shares])


def collate(parts: Sequence[tuple[Source, NDArray[np.intp]]]) -> Minibatch:
    """Rows of several sources as one minibatch."""
    inputs = [source.inputs(rows) for source, rows in parts]
    return Minibatch(
        {n: torch.from_numpy(np.concatenate([i[n] for i in inputs])) for n in ARRAYS},
        torch.from_numpy(np.concatenate([s.labels(rows) for s, rows in parts])),
    )


def without_some(presence: Tensor, rate: float, rng: torch.Generator) -> Tensor:
    """Modality dropout: each present modality is taken away with this chance."""
    return presence * (torch.rand(presence.shape, generator=rng) >= rate)
