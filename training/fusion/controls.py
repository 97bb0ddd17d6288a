"""Controls beside every result: the clock alone, what was measured alone, and gradient boosting as one would begin.

A model must beat the first two by a margin, and earn its complexity against the third. Each is cross-fitted on the
folds of the model, so that the comparison is paired.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from services.domain.features.derived import DERIVED
from services.domain.features.series import SHAPE, STATISTIC
from services.domain.features.static import STATIC
from services.domain.features.variables import INDEX, VITALS
from training.fusion.boost import Field, Lesson, TreeSettings, drawn, matrix
from training.fusion.folds import FOLDS
from training.fusion.kept import digest_of, kept, mark_of
from training.progress import progress

VARIABLES, STATISTICS = SHAPE
_FIXED = VARIABLES * STATISTICS


def _statistics(names: tuple[str, ...], variables: tuple[int, ...] = tuple(range(VARIABLES))) -> list[int]:
    return [v * STATISTICS + STATISTIC[s] for v in variables for s in names]


_TIME = [_FIXED + STATIC.index(n) for n in ("hours_in_unit", "hours_in_hospital", "hours_before_unit")]
_MEASURED = _statistics(("hours_since", "hours_with_6h", "hours_with_24h", "hours_with_72h")) + [
    _FIXED + len(STATIC) + d
    for d, name in enumerate(DERIVED)
    if name.startswith(("labs_", "vitals_", "hours_", "lab_"))
]
PLAIN_COLUMNS = (
    _statistics(("value", "hours_since", "delta", "hours_with_72h"))
    + _statistics(("min_6h", "max_6h", "mean_6h", "slope_12h"), tuple(INDEX[v] for v in VITALS))
    + [_FIXED + n for n in range(len(STATIC))]
)
CONTROLS: dict[str, list[int]] = {"time only": _TIME, "missingness only": _MEASURED}
"""Columns of the flat input (see `training.fusion.trees.flat`)."""
PLAIN = "plain gradient boosting"
"""scikit-learn's histogram gradient boosting on last values, changes, ages, counts, vitals over 6 h, static data."""

SETTINGS = TreeSettings(
    80, {"learning_rate": 0.08, "num_leaves": 15, "min_data_in_leaf": 200, "feature_fraction": 0.3, "lambda_l2": 20.0}
)


def controls(lesson: Lesson, title: str, keep: float = 1.0, home: Path | None = None) -> dict[str, NDArray[np.float32]]:
    """Out-of-fold log-odds of every row of the lesson's table, by control; `keep` as in `TreeSettings`."""
    found = {name: control(name, lesson, title, keep, home).cross_fit() for name in CONTROLS}
    return {**found, PLAIN: plain(lesson, title, keep, home)}


def control(name: str, lesson: Lesson, title: str, keep: float = 1.0, home: Path | None = None) -> Field:
    """The field of one of CONTROLS."""
    only = lesson._replace(columns=np.intersect1d(lesson.columns, CONTROLS[name]))
    return Field(only, replace(SETTINGS, keep=keep), title=f"control {name} {title}", home=home)


def plain(lesson: Lesson, title: str, keep: float = 1.0, home: Path | None = None) -> NDArray[np.float32]:
    """Out-of-fold log-odds of PLAIN; with `home` kept there."""
    columns = np.intersect1d(lesson.columns, PLAIN_COLUMNS)
    weight, label = float(lesson.weight.sum()), digest_of(lesson.label)
    mark = mark_of(columns.tolist(), keep, len(lesson.rows), weight, lesson.table.content, label)
    file = None if home is None else home / f"control-{PLAIN}-{title}-{mark}.npy".replace(" ", "-")
    return kept(file, lambda: _plain(lesson, columns, title, keep))


def _plain(lesson: Lesson, columns: NDArray[np.intp], title: str, keep: float) -> NDArray[np.float32]:
    rows, weight = drawn(lesson, keep, seed=1)
    inputs, label = matrix(lesson.table, rows, columns), lesson.label[rows] > 0
    scores = np.full(len(lesson.table), np.nan, np.float32)
    for fold in progress(range(FOLDS), f"control {PLAIN} {title}"):
        model = HistGradientBoostingClassifier(learning_rate=0.05, max_iter=150, early_stopping=False, random_state=0)
        seen = lesson.folds[rows] != fold
        with threadpool_limits(1):  # threads that wait for each other stand in the way of what else runs
            model.fit(inputs[seen], label[seen], sample_weight=weight[seen])
        held = np.flatnonzero(lesson.folds == fold)
        scores[held] = model.decision_function(matrix(lesson.table, held, columns))
    return scores
