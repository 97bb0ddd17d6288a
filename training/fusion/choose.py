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

SERIES, STATIC, NOTE = 0, 1, 2
FULL = PATTERNS - 1
"""The pattern that stands for: with all that a row has."""
COVERAGE = 0.8
"""Of each class, by the indeterminate band, in every data set that knows the outcome."""

Tables = dict[str, Table]
Gains = dict[str, NDArray[np.float64]]
Masks = dict[str, NDArray[np.bool_]]


@dataclass
class Parts:
    """Out-of-fold scores by data set: of the trees, and of the network for every modality pattern."""

    trees: dict[str, NDArray[np.float32]]  # [rows, outcomes]
    network: dict[str, list[NDArray[np.float32]]]  # PATTERNS times [rows, outcomes]; NaN where not computed


def mean(parts: Sequence[Parts]) -> Parts:
    """The scores of the average of several seeds' models."""
    first = parts[0]
    return Parts(
        {n: np.mean([p.trees[n] for p in parts], axis=0) for n in first.trees},
        {n: [np.mean([p.network[n][k] for p in parts], axis=0) for k in range(PATTERNS)] for n in first.network},
    )


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
            calibration.network[k], calibration.trees[k] = calibrate.blend_weights(
                [_scores(parts, n, t, outcome, k, FULL, use, n not in gains) for n, t in knowing.items()]
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
    presence = np.asarray(table.inputs["presence"])
    here = presence[:, :1]
    weight = made.network * here + (1 - here)
    mixed = weight * parts.network[name][FULL] + made.trees * here * parts.trees[name]
    number = pattern(presence)
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
    fitted: dict[tuple[int, bool], tuple[float, float]] = {}
    known = {p for t in tables.values() for p in patterns(t)}
    for number in range(PATTERNS):
        key = _stand_in(number, known), bool(number >> SERIES & 1)
        if key not in fitted:
            showing = [(n, t) for n, t in tables.items() if key[0] in patterns(t)]
            found = [_scores(parts, n, t, outcome, k, key[0], use) for n, t in showing]
            network, trees, label = np.concatenate(found, axis=1)
            fitted[key] = calibrate.platt(
                made.network[k] * network + made.trees[k] * trees if key[1] else network, label
            )
        made.slope[number, k], made.intercept[number, k] = fitted[key]


def _scores(
    parts: Parts, name: str, table: Table, outcome: str, k: int, number: int, use: Masks, only_asked: bool = False
) -> calibrate.Array:
    """Network, trees and label, float64 [3, rows], of the table's rows with a label and a score for this pattern;
    with `only_asked` those of the hour that is asked about."""
    network = parts.network[name][number][:, k]
    rows = np.flatnonzero(use[name] & asked(table, outcome, network, hourly=not only_asked))
    found: calibrate.Array = np.stack(
        [network[rows], parts.trees[name][rows, k], table.labels[outcome][rows]], dtype=np.float64
    )
    return found


def _stand_in(number: int, known: set[int]) -> int:
    """The pattern with data that calibrates a pattern without: the same without image, then without notes."""
    return next((p for p in (number, number & 0b0111, number & 0b0011) if p in known), number & 0b0011)


__all__ = ["COVERAGE", "FULL", "PLAYERS", "Choice", "Judged", "Parts", "choose", "nested"]
