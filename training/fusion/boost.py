"""Gradient boosted trees beside the network: one set per outcome, cross-fitted, served inside the same graph."""

from dataclasses import dataclass, field
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from training.datasets.table import Table
from training.fusion.trees import flat
from training.progress import bar

CHUNK = 50_000


@dataclass(frozen=True)
class TreeSettings:
    """LightGBM's settings and the number of trees, chosen on validation folds."""

    trees: int = 150
    parameters: dict[str, Any] = field(default_factory=dict)

    def all(self, seed: int) -> dict[str, Any]:
        return {
            "objective": "binary",
            "num_threads": 1,
            "verbose": -1,
            "seed": seed,
            "max_bin": 63,
            "deterministic": True,
            "force_row_wise": True,
            **self.parameters,
        }


def usable_columns(table: Table, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Columns of the flat input that vary in (a sample of) the rows; the others can split nothing."""
    sample = flat(table.inputs, rows[:: max(1, len(rows) // 20_000)])
    low = np.nanmin(np.where(np.isnan(sample), np.inf, sample), axis=0)
    high = np.nanmax(np.where(np.isnan(sample), -np.inf, sample), axis=0)
    return np.flatnonzero(high > low)


def matrix(table: Table, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
    """float32 [rows, columns] of the flat input, gathered piece by piece."""
    out = np.empty((len(rows), len(columns)), np.float32)
    for begin in range(0, len(rows), CHUNK):
        out[begin : begin + CHUNK] = flat(table.inputs, rows[begin : begin + CHUNK])[:, columns]
    return out


def cross_fit(
    table: Table,
    rows: NDArray[np.intp],
    target: NDArray[np.float32],
    folds: NDArray[np.int8],
    settings: TreeSettings,
    weights: NDArray[np.float32] | None = None,
    use: tuple[int, ...] | None = None,
    seed: int = 1,
    title: str = "trees",
) -> tuple[list[Any], NDArray[np.intp], NDArray[np.float32]]:
    """One booster per fold in `use` (default all), trained on the other folds of `rows`; their columns; and the raw
    score of every row of the table by the booster that has not seen its patient (NaN where there is none).

    `target`, `folds` and `weights` are per row of the table; `rows` are those with a label.
    """
    columns = usable_columns(table, rows)
    data = lgb.Dataset(
        matrix(table, rows, columns),
        target[rows],
        weight=None if weights is None else weights[rows],
        params={"max_bin": settings.all(seed)["max_bin"], "verbose": -1},
    ).construct()
    scores = np.full(len(table), np.nan, np.float32)
    boosters = []
    kept = use if use is not None else tuple(range(int(folds.max()) + 1))
    with bar() as shown:
        task = shown.add_task(title, total=settings.trees * len(kept), note="")
        for fold in kept:
            training = data.subset(np.flatnonzero(folds[rows] != fold))
            booster = lgb.Booster(settings.all(seed + fold), training)
            for _ in range(settings.trees):
                booster.update()
                shown.advance(task)
            booster.free_dataset()
            boosters.append(booster)
            held = np.flatnonzero(folds == fold)
            for begin in range(0, len(held), CHUNK):
                piece = held[begin : begin + CHUNK]
                scores[piece] = booster.predict(matrix(table, piece, columns), raw_score=True)
    return boosters, columns, scores
