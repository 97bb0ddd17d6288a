"""Gradient boosted trees beside the network: several kinds per outcome, cross-fitted, served inside the same graph."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from training.datasets.table import Table
from training.fusion.folds import FOLDS
from training.fusion.kept import digest_of, kept, mark_of
from training.fusion.trees import FIXED_COLUMNS, NOTE_COLUMN, NOTHING, WHOLE, flat, lacking, read_by
from training.progress import bar

CHUNK = 50_000


class Aim(StrEnum):
    """What trees are fitted to. The last two need the gain of an alert in each hour (`training.evaluation.utility`)."""

    CHANCE = "chance"  # log-odds of the label
    COURSE = "course"  # log-odds of how near the outcome a stay came (`training.datasets.stays.course_of`)
    WORTH = "worth"  # log-odds that an alert gains rather than costs, each hour weighed by how much
    GAIN = "gain"  # the gain itself, by squared error


OBJECTIVES = {Aim.GAIN: "regression", Aim.COURSE: "cross_entropy"}
"""LightGBM's names; "binary" for the other aims, whose targets are 0 or 1."""


@dataclass(frozen=True)
class TreeSettings:
    """One kind of trees of an outcome: their number, LightGBM's settings, what they are fitted to."""

    trees: int = 150
    parameters: dict[str, Any] = field(default_factory=dict)
    aim: Aim = Aim.CHANCE
    weight: float = 1.0  # of the raw score in the sum over the outcome's kinds
    keep: float = 1.0  # share of the rows of stays without the outcome that is drawn; they weigh more in turn
    rising_with: tuple[str, ...] = ()  # what alone is read (of `FIXED_COLUMNS`), and never lowers the score

    def all(self, seed: int) -> dict[str, Any]:
        return {
            "objective": OBJECTIVES.get(self.aim, "binary"),
            "num_threads": 1,
            "verbose": -1,
            "seed": seed,
            "max_bin": 63,
            "deterministic": True,
            "force_col_wise": True,
            **({"monotone_constraints": [1] * len(self.rising_with)} if self.rising_with else {}),
            **self.parameters,
        }

    def reads(self, usable: NDArray[np.intp]) -> NDArray[np.intp]:
        """Of the usable columns of the flat input those that these trees read; notes only where they are named."""
        named = sorted(FIXED_COLUMNS[name] for name in self.rising_with)
        return np.array(named, np.intp) if named else usable[usable != NOTE_COLUMN]


class Lesson(NamedTuple):
    """What an outcome's trees learn from: the table, its rows with a label, and per row of the table the rest."""

    table: Table
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]  # of the flat input, those that vary
    label: NDArray[np.float32]
    course: NDArray[np.float32]  # the label itself where a data set knows no more
    gain: NDArray[np.float64] | None
    weight: NDArray[np.float32]
    folds: NDArray[np.int8]


class Grown(NamedTuple):
    """A booster, what its raw score counts in the outcome's sum, and the columns of the flat input that it reads."""

    booster: Any
    weight: float
    columns: NDArray[np.intp]


def usable_columns(table: Table, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Columns of the flat input that vary in (a sample of) the rows; the others can split nothing."""
    sample = flat(table.inputs, rows[:: max(1, len(rows) // 20_000)])
    low = np.nanmin(np.where(np.isnan(sample), np.inf, sample), axis=0)
    high = np.nanmax(np.where(np.isnan(sample), -np.inf, sample), axis=0)
    return np.flatnonzero(high > low)


def matrix(
    table: Table, rows: NDArray[np.intp], columns: NDArray[np.intp], pattern: int = WHOLE
) -> NDArray[np.float32]:
    """float32 [rows, columns] of the flat input, gathered piece by piece, as if the rows had no more modalities than
    the pattern."""
    out, nothing = np.empty((len(rows), len(columns)), np.float32), lacking(pattern)
    for begin in range(0, len(rows), CHUNK):
        whole = flat(table.inputs, rows[begin : begin + CHUNK])
        whole[:, nothing] = NOTHING[nothing]
        out[begin : begin + CHUNK] = whole[:, columns]
    return out


class Field:
    """Where the boosters of one kind and seed grow: one for each fold, and the one that ships.

    The data set is binned once, when the first of them needs it. With `home` each booster is kept there when it is
    done, and what they score; a run that was stopped goes on with the next.
    """

    def __init__(
        self, lesson: Lesson, settings: TreeSettings, seed: int = 1, title: str = "trees", home: Path | None = None
    ) -> None:
        self._lesson, self._settings, self._seed, self._title = lesson, settings, seed, title
        self.columns = settings.reads(lesson.columns)
        taught = [lesson.table.content, digest_of(lesson.label), digest_of(lesson.course)]
        weight = float(lesson.weight.sum())
        mark = mark_of(settings, seed, self.columns.tolist(), len(lesson.rows), weight, taught)
        self._files = None if home is None else home / f"{title.replace(' ', '-')}-{mark}"

    def cross_fit(self, pattern: int = WHOLE, rows: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
        """Raw score of every row of the table, or of `rows` alone (NaN elsewhere), by trees that have not seen its
        patient: one booster per fold. They read no more modalities than the pattern."""
        table, folds = self._lesson.table, self._lesson.folds
        read = read_by(self.columns)
        pattern, rows = pattern & read, None if pattern & read == read else rows
        chosen = np.arange(len(table)) if rows is None else rows

        def made() -> NDArray[np.float32]:
            scores = np.full(len(table), np.nan, np.float32)
            for fold in range(FOLDS):
                held = chosen[folds[chosen] == fold]
                scores[held] = predict(self.grow(fold), table, held, self.columns, pattern)
            return scores

        asked = "" if rows is None else f"-{pattern}-{digest_of(rows)}"
        return kept(self._file(f"folds{asked}.npy"), made)

    def whole(self) -> Grown:
        """The booster that ships: trained on all rows of the lesson."""
        return Grown(self.grow(None), self._settings.weight, self.columns)

    def ask(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Raw scores of rows of the table by the booster that is trained on all of the lesson's."""
        file = self._file(f"asked-{digest_of(rows)}.npy")
        return kept(file, lambda: predict(self.grow(None), self._lesson.table, rows, self.columns))

    def grow(self, fold: int | None) -> Any:
        """The booster that is trained without this fold's rows, read from its file where it is done."""
        file = self._file(f"{_name(fold).replace(' ', '-')}.txt")
        if file is not None and file.exists():
            return lgb.Booster(model_file=str(file))
        seen = np.flatnonzero(self._lesson.folds[self._drawn[0]] != (-1 if fold is None else fold))
        booster = lgb.Booster(self._settings.all(self._seed), self._binned.subset(seen.tolist()))
        with bar() as shown:
            task = shown.add_task(f"{self._title}, {_name(fold)}", total=self._settings.trees, note="")
            for _ in range(self._settings.trees):
                booster.update()
                shown.advance(task)
        booster.free_dataset()
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            booster.save_model(str(part))
            part.replace(file)
        return booster

    def _file(self, name: str) -> Path | None:
        return None if self._files is None else self._files.with_name(f"{self._files.name}-{name}")

    @cached_property
    def _drawn(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        return drawn(self._lesson, self._settings.keep, self._seed)

    @cached_property
    def _binned(self) -> lgb.Dataset:
        rows, weight = self._drawn
        target, by_aim = aimed(self._lesson, rows, self._settings.aim)
        return lgb.Dataset(
            matrix(self._lesson.table, rows, self.columns),
            target,
            weight=by_aim * weight,
            params={"max_bin": self._settings.all(self._seed)["max_bin"], "verbose": -1},
        ).construct()


def _name(fold: int | None) -> str:
    return "all" if fold is None else f"fold {fold}"


def drawn(lesson: Lesson, keep: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Rows to train on and their weights: all of the stays with the outcome, a share of the others' rows."""
    stay = lesson.table.stay
    with_outcome = np.zeros(int(stay.max()) + 1, np.bool_)
    with_outcome[stay[lesson.rows[lesson.label[lesson.rows] > 0]]] = True
    certain = with_outcome[stay[lesson.rows]]
    chosen = certain | (np.random.default_rng(seed).random(len(lesson.rows)) < keep)
    rows = lesson.rows[chosen]
    return rows, np.where(certain[chosen], 1.0, 1.0 / keep) * lesson.weight[rows]


def aimed(lesson: Lesson, rows: NDArray[np.intp], aim: Aim) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Target and weight of each row for this aim. Raises ValueError when the aim needs gains that there are not."""
    if aim in (Aim.CHANCE, Aim.COURSE):
        taught = lesson.label if aim == Aim.CHANCE else lesson.course
        return taught[rows].astype(np.float64), np.ones(len(rows))
    if lesson.gain is None:
        raise ValueError(f"trees that aim at {aim} need the gain of an alert")
    gain = lesson.gain[rows]
    return (gain, np.ones(len(rows))) if aim == Aim.GAIN else ((gain > 0).astype(np.float64), np.abs(gain))


def predict(
    booster: Any, table: Table, rows: NDArray[np.intp], columns: NDArray[np.intp], pattern: int = WHOLE
) -> NDArray[np.float32]:
    """Raw scores of rows of the table, read as `matrix` reads them."""
    parts = [
        booster.predict(matrix(table, rows[begin : begin + CHUNK], columns, pattern), raw_score=True, num_threads=1)
        for begin in range(0, len(rows), CHUNK)
    ]
    return np.concatenate(parts).astype(np.float32) if parts else np.empty(0, np.float32)


def kinds_of(settings: Sequence[TreeSettings]) -> list[str]:
    """A name for each kind, as titles and figures show it."""
    return [f"{s.aim}{n or ''}" for n, s in enumerate(settings)]
