"""Controls that are fitted on the very patients that are evaluated, and cross-fitted by patient.

What the clock alone, what was measured alone, and gradient boosting as one would begin can tell of this data set. They
are at home here, as the shipped model is not: it comes from other patients.
"""

from collections.abc import Sequence

import lightgbm
import numpy as np
from numpy.typing import NDArray

from services.domain.features import ModelInputs
from training.fusion.controls import CONTROLS, PLAIN, PLAIN_COLUMNS
from training.fusion.folds import fold_of
from training.fusion.trees import flat
from training.progress import progress

COLUMNS = {**CONTROLS, PLAIN: PLAIN_COLUMNS}
USED = np.unique(np.concatenate([*map(np.asarray, COLUMNS.values())]))
"""The columns of the flat input that some control reads."""

FOLDS = 3
LEAST_EVENTS = 60
"""With fewer events, or fewer rows without one, there is nothing to fit."""
FEW = f"fewer than {LEAST_EVENTS} rows with, or without, the event: nothing to fit"

MOST_ROWS = 30_000
"""A fold is fitted on all events and on so many rows without one at most, weighted for those left out."""

TREES = 75
BOOSTING = {
    "objective": "binary",
    "learning_rate": 0.08,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.5,
    "lambda_l2": 10.0,
    "num_threads": 1,
    "deterministic": True,
    "verbose": -1,
}

Float = NDArray[np.float64]


def tabular(inputs: Sequence[ModelInputs]) -> NDArray[np.float32]:
    """float32 [rows, USED] of the inputs that the controls read."""
    names = inputs[0].arrays
    return flat({name: np.stack([one.arrays[name] for one in inputs]) for name in names})[:, USED]


def refitted(
    parts: Sequence[NDArray[np.float32]], label: NDArray[np.bool_], patient: NDArray[np.object_]
) -> dict[str, Float]:
    """Out-of-fold log-odds of every row by control; none where events are too few. `parts` as `tabular` gives them."""
    if min(int(label.sum()), int((~label).sum())) < LEAST_EVENTS:
        return {}
    columns = np.concatenate(parts)
    names, number = np.unique(patient, return_inverse=True)
    fold = np.array([fold_of(str(name), FOLDS) for name in names])[number]
    return {
        f"{name}, refitted here": _cross_fit(columns[:, np.searchsorted(USED, read)], label, fold)
        for name, read in progress(COLUMNS.items(), "controls", total=len(COLUMNS))
    }


def _cross_fit(columns: NDArray[np.float32], label: NDArray[np.bool_], fold: NDArray[np.intp]) -> Float:
    found = np.empty(len(label))
    for held in range(FOLDS):
        rows, weight = _drawn(label, np.flatnonzero(fold != held))
        data = lightgbm.Dataset(columns[rows], label[rows], weight=weight, params=BOOSTING)
        found[fold == held] = lightgbm.train(BOOSTING, data, TREES).predict(columns[fold == held], raw_score=True)
    return found


def _drawn(label: NDArray[np.bool_], rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], Float]:
    """Of these rows all events and every so many-th other, and the weight of each."""
    others = rows[~label[rows]]
    step = -(-len(others) // MOST_ROWS)
    kept = np.concatenate([rows[label[rows]], others[::step]])
    return kept, np.where(label[kept], 1.0, float(step))
