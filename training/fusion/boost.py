"""Gradient boosted trees beside the network: one set per outcome, cross-fitted, served inside the same graph."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
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
    use: tuple[int, ...] | None = None,
    seed: int = 1,
    title: str = "trees",
    home: Path | None = None,
    only: Sequence[int] | None = None,
) -> tuple[list[Any], NDArray[np.intp], NDArray[np.float32]]:
    """One booster per fold in `use` (default all), trained on the other folds of `rows`; their columns; and the raw
    score of every row of the table by the booster that has not seen its patient (NaN where there is none).

    `target` and `folds` are per row of the table; `rows` are those with a label. With `home` each booster is kept
    there when it is done, and a run that was stopped goes on with the next. `only` restricts the columns.
    """
    columns = usable_columns(table, rows)
    if only is not None:
        columns = np.intersect1d(columns, np.array(only, np.intp))
    scores = np.full(len(table), np.nan, np.float32)
    boosters = []
    kept = use if use is not None else tuple(range(int(folds.max()) + 1))
    mark = blake2b(repr((settings, seed, columns.tolist(), len(rows))).encode(), digest_size=6).hexdigest()
    data: lgb.Dataset | None = None
    with bar() as shown:
        task = shown.add_task(title, total=settings.trees * len(kept), note="")
        for fold in kept:
            file = None if home is None else home / f"{title.replace(' ', '-')}-{mark}-{fold}.txt"
            if file is not None and file.exists():
                booster = lgb.Booster(model_file=str(file))
                shown.advance(task, settings.trees)
            else:
                data = data or _dataset(table, rows, columns, target, settings, seed)
                training = data.subset(np.flatnonzero(folds[rows] != fold).tolist())
                booster = lgb.Booster(settings.all(seed + fold), training)
                for _ in range(settings.trees):
                    booster.update()
                    shown.advance(task)
                booster.free_dataset()
                if file is not None:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    booster.save_model(str(file))
            boosters.append(booster)
            scores[folds == fold] = predict(booster, table, np.flatnonzero(folds == fold), columns)
    return boosters, columns, scores


def predict(booster: Any, table: Table, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
    """Raw scores (log-odds) of rows of the table."""
    parts = [
        booster.predict(matrix(table, rows[begin : begin + CHUNK], columns), raw_score=True)
        for begin in range(0, len(rows), CHUNK)
    ]
    return np.concatenate(parts).astype(np.float32) if parts else np.empty(0, np.float32)


def _dataset(
    table: Table,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    target: NDArray[np.float32],
    settings: TreeSettings,
    seed: int,
) -> lgb.Dataset:
    parameters = {"max_bin": settings.all(seed)["max_bin"], "verbose": -1}
    return lgb.Dataset(matrix(table, rows, columns), target[rows], params=parameters).construct()
