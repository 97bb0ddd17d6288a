"""What is chosen on validation patients: blend, calibration, thresholds, bands; and what held-out patients then get.

For the figures the choice is nested: what is applied to a fold is chosen on the out-of-fold scores of the other
folds' patients alone. What ships is chosen in the same way on all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.datasets.table import Table
from training.fusion import calibrate
from training.fusion.folds import FOLDS
from training.fusion.served import PATTERNS, PLAYERS, Calibration, pattern
from training.fusion.trees import NOTE, SERIES

FULL = PATTERNS - 1
"""The pattern that stands for: with all that a row has."""
EVENTS = 100
"""Rows with the outcome that the rows of a pattern must hold to calibrate it (Collins et al., Stat Med 2016); where
there are fewer, what a pattern lacks is taken from rows that have more."""
COVERAGE = 0.8
"""Of each class, by the indeterminate band, in every data set that knows the outcome."""

Tables = dict[str, Table]
Gains = dict[str, NDArray[np.float64]]
Masks = dict[str, NDArray[np.bool_]]
Scores = dict[str, list[NDArray[np.float32]]]
"""By data set: PATTERNS times [rows, outcomes]."""


@dataclass
class Parts:
    """Out-of-fold scores by data set, for every modality pattern; NaN where not computed."""

    trees: Scores  # those of patterns that differ in images alone are the same
    network: Scores


def mean(parts: Sequence[Parts]) -> Parts:
    """The scores of the average of several seeds' models."""
    return Parts(_mean([p.trees for p in parts]), _mean([p.network for p in parts]))


def _mean(scores: Sequence[Scores]) -> Scores:
    return {n: [np.mean([s[n][k] for s in scores], axis=0) for k in range(PATTERNS)] for n in scores[0]}


@dataclass
class Choice:
    """What turns scores into risks, alerts and abstentions."""

    calibration: Calibration
    thresholds: list[float]  # by outcome
    ends: list[tuple[float, float]]  # of the conformal sets

    @property
    def bands(self) -> list[tuple[float, float] | None]:
        """The risks that are withheld, by outcome."""
        return [calibrate.indeterminate_band(ends) for ends in self.ends]


@dataclass
class Judged:
    """One data set's rows under choices that were made on other patients, [rows, outcomes] each."""

    logit: NDArray[np.float64]  # calibrated; NaN where there is no score
    alert: NDArray[np.bool_]
    abstained: NDArray[np.bool_]  # the risk lies in the indeterminate band
    covered: NDArray[np.bool_]  # the conformal set holds what happened


def patterns(table: Table) -> list[int]:
    """The patterns that a table's rows can stand for: subsets of the modalities it has (images: none has)."""
    notes = "note" in table.inputs
    return [p for p in range(FULL) if p < 8 and (notes or not p >> NOTE & 1)] + [FULL]


def choose(
    parts: Parts, tables: Tables, gains: Gains, outcomes: Sequence[str], blended: set[str], use: Masks
) -> Choice:
    """The choice on the rows `use` of each table; `blended` are the outcomes that have trees."""
    calibration = Calibration.none(len(outcomes))
    thresholds, ends = [], []
    for k, outcome in enumerate(outcomes):
        knowing = {n: t for n, t in tables.items() if outcome in t.labels}
        if outcome in blended:
            for series in (0, 1):
                calibration.network[series, k] = calibrate.network_weight(
                    [
                        _scores(parts, n, t, outcome, k, FULL if series else _without_series(t), use, n not in gains)
                        for n, t in knowing.items()
                    ]
                )
        _calibrate(calibration, k, parts, knowing, outcome, use)
        risks = {}
        for name, table in knowing.items():
            rows = np.flatnonzero(asked(table, outcome, parts.network[name][FULL][:, k], name in gains) & use[name])
            risk = calibrate.sigmoid(calibrated(parts, name, table, calibration)[rows, k])
            risks[name] = risk, table.labels[outcome][rows].astype(np.float64), rows
        name = next(iter(knowing))
        risk, label, rows = risks[name]
        if name in gains:
            thresholds.append(calibrate.gain_threshold(risk, gains[name][rows], knowing[name].stay[rows]))
        else:
            thresholds.append(calibrate.balanced_threshold(risk, label))
        lows, highs = zip(
            *(calibrate.conformal_ends(r, happened, COVERAGE) for r, happened, _ in risks.values()), strict=True
        )
        ends.append((min(lows), max(highs)))
    return Choice(calibration, thresholds, ends)


def nested(
    parts: Parts,
    tables: Tables,
    gains: Gains,
    outcomes: Sequence[str],
    blended: set[str],
    folds: dict[str, NDArray[np.int8]],
) -> dict[str, Judged]:
    """Every row judged by a choice that has not seen its fold."""
    found = {name: _nothing(len(table), len(outcomes)) for name, table in tables.items()}
    for fold in range(FOLDS):
        others = {n: folds[n] != fold for n in tables}
        choice = choose(parts, tables, gains, outcomes, blended, others)
        for name, table in tables.items():
            here = ~others[name]
            logit = calibrated(parts, name, table, choice.calibration)[here]
            risk = calibrate.sigmoid(logit)
            found[name].logit[here] = logit
            found[name].alert[here] = risk >= np.array(choice.thresholds)
            low, high = np.array(choice.ends).T
            found[name].abstained[here] = (risk > low) & (risk < high)
            found[name].covered[here] = np.where(_happened(table, outcomes)[here], risk >= low, risk <= high)
    return found


def asked(table: Table, outcome: str, score: NDArray[np.float32], hourly: bool) -> NDArray[np.bool_]:
    """Rows whose figures count: labelled, scored and `of_hours_asked`."""
    known: NDArray[np.bool_] = ~np.isnan(table.labels[outcome]) & ~np.isnan(score)
    return known & of_hours_asked(table, hourly)


def of_hours_asked(table: Table, hourly: bool) -> NDArray[np.bool_]:
    """Rows of an hour that the question is about: where it is hourly every one, else a stay's last."""
    return np.ones(len(table), np.bool_) if hourly else table.hours == table.hours.max()


def calibrated(parts: Parts, name: str, table: Table, made: Calibration) -> NDArray[np.float64]:
    """Calibrated log-odds [rows, outcomes] with all that each row has."""
    number = pattern(np.asarray(table.inputs["presence"]))
    mixed = made.mixed(number, parts.network[name][FULL], parts.trees[name][FULL])
    result: NDArray[np.float64] = made.slope[number].astype(np.float64) * mixed + made.intercept[number]
    return result


def _nothing(rows: int, outcomes: int) -> Judged:
    shape = (rows, outcomes)
    return Judged(np.full(shape, np.nan), *(np.zeros(shape, np.bool_) for _ in range(3)))


def _happened(table: Table, outcomes: Sequence[str]) -> NDArray[np.bool_]:
    """[rows, outcomes]; False where the data set does not know."""
    none = np.zeros(len(table), np.float32)
    return np.stack([table.labels.get(outcome, none) > 0.5 for outcome in outcomes], 1)


def _calibrate(made: Calibration, k: int, parts: Parts, tables: Tables, outcome: str, use: Masks) -> None:
    """For every modality pattern, slope and intercept of outcome k, from all its data sets together."""
    fitted: dict[int, tuple[float, float]] = {}
    known = {p for t in tables.values() for p in patterns(t)} - {FULL}
    for number in range(PATTERNS):
        shown = _stand_in(number, known)
        if shown not in fitted:
            showing = [(n, t) for n, t in tables.items() if shown in patterns(t)]
            found = [_scores(parts, n, t, outcome, k, shown, use) for n, t in showing]
            network, trees, label = np.concatenate(found, axis=1)
            weight = made.network[shown >> SERIES & 1, k]
            fitted[shown] = calibrate.platt(weight * network + (1 - weight) * trees, label)
        made.slope[number, k], made.intercept[number, k] = fitted[shown]


def _scores(
    parts: Parts, name: str, table: Table, outcome: str, k: int, number: int, use: Masks, only_asked: bool = False
) -> calibrate.Array:
    """Network, trees and label, float64 [3, rows], of the table's rows that show this pattern: those that have no more
    and no less, or, where these hold fewer than `EVENTS`, rows with what they have besides taken away. With
    `only_asked` those of the hour that is asked about."""
    label = table.labels[outcome]
    for shown, here in ((FULL, pattern(np.asarray(table.inputs["presence"])) == number), (number, True)):
        network, trees = parts.network[name][shown][:, k], parts.trees[name][shown][:, k]
        rows = np.flatnonzero(use[name] & here & asked(table, outcome, network, hourly=not only_asked))
        if label[rows].sum() >= EVENTS:
            break
    found: calibrate.Array = np.stack([network[rows], trees[rows], label[rows]], dtype=np.float64)
    return found


def _without_series(table: Table) -> int:
    """The pattern of what the table's rows have but their series."""
    return max(number for number in patterns(table) if number != FULL and not number >> SERIES & 1)


def _stand_in(number: int, known: set[int]) -> int:
    """The pattern with data that calibrates a pattern without: the same without image, then without notes."""
    return next((p for p in (number, number & 0b0111, number & 0b0011) if p in known), number & 0b0011)


__all__ = ["COVERAGE", "FULL", "PLAYERS", "Choice", "Judged", "Parts", "choose", "nested"]
