"""Transfer between the units of a hospital: trees trained in one unit, asked in the other (leave one unit out)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.domain.features.static import STATIC
from training.fusion import calibrate
from training.fusion.boost import Lesson, TreeSettings, grow, kinds_of, predict

UNITS = {"medical": STATIC.index("unit_medical"), "surgical": STATIC.index("unit_surgical")}
THRESHOLD_FOLD = 0
"""Of the unit that is trained on: its patients are kept from training and choose the threshold."""


class Transferred(NamedTuple):
    """The rows of the unit that was asked, their scores and alerts."""

    rows: NDArray[np.intp]
    score: NDArray[np.float64]
    alert: NDArray[np.bool_]


def transfer(lesson: Lesson, kinds: Sequence[TreeSettings], home: Path | None = None) -> dict[str, Transferred]:
    """By 'unit to unit', where both have stays. The lesson must have gains; stays of no known unit take no part."""
    static = np.asarray(lesson.table.inputs["static"])
    of = {unit: static[:, column] > 0 for unit, column in UNITS.items()}
    pairs = [
        (taught, asked)
        for taught in UNITS
        for asked in UNITS
        if taught != asked and (of[taught].any() and of[asked].any())
    ]
    return {f"{a} to {b}": _ask(lesson, kinds, of[a], np.flatnonzero(of[b]), a, home) for a, b in pairs}


def _ask(
    lesson: Lesson,
    kinds: Sequence[TreeSettings],
    taught: NDArray[np.bool_],
    asked: NDArray[np.intp],
    unit: str,
    home: Path | None,
) -> Transferred:
    kept = lesson.folds == THRESHOLD_FOLD
    only = lesson._replace(rows=lesson.rows[(taught & ~kept)[lesson.rows]])
    choosing = np.flatnonzero(taught & kept)
    both = np.concatenate([asked, choosing])
    score = np.zeros(len(both))
    for name, kind in zip(kinds_of(kinds), kinds, strict=True):
        grown = grow(only, kind, title=f"transfer from {unit} {name}", home=home)
        score += grown.weight * predict(grown.booster, lesson.table, both, grown.columns)
    if lesson.gain is None:
        raise ValueError("a threshold by utility needs gains")
    threshold = calibrate.gain_threshold(score[len(asked) :], lesson.gain[choosing], lesson.table.stay[choosing])
    return Transferred(asked, score[: len(asked)], score[: len(asked)] >= threshold)
