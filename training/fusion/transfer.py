"""Transfer between the units of a hospital: trees trained in one unit, asked in the other (leave one unit out)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.domain.features.static import STATIC
from training.datasets.table import Table
from training.fusion import calibrate
from training.fusion.boost import Field, Lesson, TreeSettings, kinds_of

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
    units = list(members(lesson.table))
    return {f"{a} to {b}": _ask(lesson, kinds, a, home) for a in units for b in units if a != b}


def members(table: Table) -> dict[str, NDArray[np.bool_]]:
    """Which rows of the table are of each unit, of the units that have any; none where only one has."""
    static = np.asarray(table.inputs["static"])
    found = {unit: static[:, column] > 0 for unit, column in UNITS.items()}
    some = {unit: rows for unit, rows in found.items() if rows.any()}
    return some if len(some) > 1 else {}


def asked_and_choosing(lesson: Lesson, unit: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows of the table that trees taught in the unit score: the other unit's, and those of its own that choose the
    threshold."""
    of = members(lesson.table)
    other = next(name for name in of if name != unit)
    return np.flatnonzero(of[other]), np.flatnonzero(of[unit] & (lesson.folds == THRESHOLD_FOLD))


def taught(lesson: Lesson, kinds: Sequence[TreeSettings], unit: str, home: Path | None = None) -> Iterator[Field]:
    """The field of each kind of trees, taught in one unit but for what chooses the threshold there."""
    chosen = members(lesson.table)[unit] & (lesson.folds != THRESHOLD_FOLD)
    only = lesson._replace(rows=lesson.rows[chosen[lesson.rows]])
    for name, kind in zip(kinds_of(kinds), kinds, strict=True):
        yield Field(only, kind, title=f"transfer from {unit} {name}", home=home)


def _ask(lesson: Lesson, kinds: Sequence[TreeSettings], unit: str, home: Path | None) -> Transferred:
    asked, choosing = asked_and_choosing(lesson, unit)
    both = np.concatenate([asked, choosing])
    score = np.zeros(len(both))
    for field, kind in zip(taught(lesson, kinds, unit, home), kinds, strict=True):
        score += kind.weight * field.ask(both)
    if lesson.gain is None:
        raise ValueError("a threshold by utility needs gains")
    threshold = calibrate.gain_threshold(score[len(asked) :], lesson.gain[choosing], lesson.table.stay[choosing])
    return Transferred(asked, score[: len(asked)], score[: len(asked)] >= threshold)
