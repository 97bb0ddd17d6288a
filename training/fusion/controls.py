"""Controls: what the clock alone, and what was measured alone, already tell. A model must beat both by a margin."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.features.derived import DERIVED
from services.domain.features.series import SHAPE, STATISTIC
from services.domain.features.static import STATIC
from training.datasets.table import Table
from training.evaluation.metrics import auprc, auroc
from training.fusion import calibrate
from training.fusion.boost import TreeSettings, cross_fit
from training.fusion.folds import row_folds

VARIABLES, STATISTICS = SHAPE
_FIXED = VARIABLES * STATISTICS
_TIME = [_FIXED + STATIC.index(n) for n in ("hours_in_unit", "hours_in_hospital", "hours_before_unit")]
_COUNTS = [STATISTIC[n] for n in ("hours_since", "hours_with_6h", "hours_with_24h", "hours_with_72h")]
_MEASURED = [v * STATISTICS + s for v in range(VARIABLES) for s in _COUNTS] + [
    _FIXED + len(STATIC) + d
    for d, name in enumerate(DERIVED)
    if name.startswith(("labs_", "vitals_", "hours_", "lab_"))
]
CONTROLS: dict[str, list[int]] = {"time only": _TIME, "missingness only": _MEASURED}
"""Columns of the flat input (see `training.fusion.trees.flat`)."""

SETTINGS = TreeSettings(
    80, {"learning_rate": 0.08, "num_leaves": 15, "min_data_in_leaf": 200, "feature_fraction": 0.3, "lambda_l2": 20.0}
)


def controls(
    table: Table, outcome: str, gain: NDArray[np.float64] | None, folds: tuple[int, ...], home: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Out-of-fold AUROC, AUPRC and (with `gain`) utility of trees on each control's columns alone."""
    target = table.labels[outcome]
    rows = np.flatnonzero(~np.isnan(target))
    split = row_folds(table)
    found = {}
    for name, columns in CONTROLS.items():
        title = f"control {name} {outcome}"
        _, _, score = cross_fit(table, rows, target, split, SETTINGS, folds, title=title, home=home, only=columns)
        known = ~np.isnan(score) & ~np.isnan(target)
        if gain is None:
            known &= table.hours == table.hours.max()
        found[name] = {
            "auroc": auroc(target[known] > 0.5, score[known]),
            "auprc": auprc(target[known] > 0.5, score[known]),
        }
        if gain is not None:
            found[name]["utility"] = _utility(score[known].astype(np.float64), gain[known])
    return found


def _utility(score: NDArray[np.float64], gain: NDArray[np.float64]) -> float:
    alert = score >= calibrate.gain_threshold(score, gain)
    return float(gain[alert].sum() / np.maximum(gain, 0.0).sum())
