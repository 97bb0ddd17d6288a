"""The whole of fitting `risk_fusion`: cross-fitted trees and networks, blend, calibration, thresholds, reference.

Every figure and every choice rests on out-of-fold scores: a row is only ever scored by parts that have not seen its
patient (in eICU: its hospital). What ships are the fold models of the trees, averaged, and one network trained on
all rows for as many epochs as the fold networks needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from training.datasets.table import Table, merge
from training.fusion import calibrate
from training.fusion.boost import TreeSettings, cross_fit
from training.fusion.data import Source
from training.fusion.folds import row_folds
from training.fusion.network import OUTCOMES, FusionNet
from training.fusion.served import PATTERNS, PLAYERS, Calibration
from training.fusion.train import Score, Settings, logits, train
from training.fusion.trees import TABULAR

SERIES, STATIC, NOTE = 0, 1, 2
COVERAGE = 0.8
"""Of each class, by the indeterminate band."""


@dataclass(frozen=True)
class Plan:
    """How to fit. `sources[name]` below are the tables by data set name."""

    network: Settings = field(default_factory=Settings)
    trees: dict[str, TreeSettings] = field(default_factory=dict)  # by outcome; none: no trees for it
    repeat: dict[str, float] = field(default_factory=dict)  # by data set: how often its rows are drawn in an epoch
    folds: tuple[int, ...] = (0, 1, 2, 3, 4)  # those that are held out in turn
    final_rows: dict[str, tuple[float, ...]] = field(default_factory=dict)  # by data set: hours that calibrate (all)


@dataclass
class Fitted:
    """What is exported, and the out-of-fold scores that its figures are computed from."""

    outcomes: tuple[str, ...]
    network: FusionNet
    boosters: list[list[Any]]
    columns: list[NDArray[np.intp]]
    calibration: Calibration
    scores: dict[str, NDArray[np.float32]]  # by data set: calibrated out-of-fold log-odds [rows, outcomes]
    parts: dict[str, dict[str, NDArray[np.float32]]]  # the same of network and trees alone, not calibrated
    history: dict[str, Any]


def fit(tables: dict[str, Table], gains: dict[str, NDArray[np.float64]], plan: Plan, home: Path) -> Fitted:
    """Fit on all tables; `gains` are the utility gains of alerting, for the data sets that have them."""
    outcomes = tuple(o for o in OUTCOMES if any(o in t.labels for t in tables.values()))
    folds = {name: row_folds(table) for name, table in tables.items()}
    boosters: list[list[Any]] = []
    columns: list[NDArray[np.intp]] = []
    tree_scores = {name: np.zeros((len(t), len(outcomes)), np.float32) for name, t in tables.items()}
    for k, outcome in enumerate(outcomes):
        made, used = _trees(tables, folds, outcome, plan, tree_scores, k, home)
        boosters.append(made)
        columns.append(used)
    net_scores, epochs, history = _networks(tables, folds, outcomes, plan, home)
    final = replace(plan.network, epochs=epochs, patience=epochs + 1)
    sources = [_source(t, np.ones(len(t), np.bool_), outcomes, plan.repeat.get(n, 1.0)) for n, t in tables.items()]
    network, _ = train(sources, lambda net: 0.0, final, home / "network-final.pt", "network on all folds")
    calibration = _calibrate(tables, outcomes, net_scores, tree_scores, plan)
    scores = {n: _calibrated(t, net_scores[n], tree_scores[n], calibration) for n, t in tables.items()}
    parts = {n: {"network": net_scores[n][PATTERNS - 1], "trees": tree_scores[n]} for n in tables}
    return Fitted(outcomes, network, boosters, columns, calibration, scores, parts, history)


def _source(table: Table, chosen: NDArray[np.bool_], outcomes: tuple[str, ...], repeat: float = 1.0) -> Source:
    known = np.zeros(len(table), np.bool_)
    for outcome in outcomes:
        if outcome in table.labels:
            known |= ~np.isnan(table.labels[outcome])
    return Source(table, np.flatnonzero(chosen & known), repeat, outcomes)


def _trees(
    tables: dict[str, Table],
    folds: dict[str, NDArray[np.int8]],
    outcome: str,
    plan: Plan,
    scores: dict[str, NDArray[np.float32]],
    k: int,
    home: Path,
) -> tuple[list[Any], NDArray[np.intp]]:
    """The outcome's boosters, from all data sets that know it, and their out-of-fold scores into `scores`."""
    settings = plan.trees.get(outcome)
    names = [n for n, t in tables.items() if outcome in t.labels]
    if settings is None or not names:
        return [], np.empty(0, np.intp)
    table = tables[names[0]] if len(names) == 1 else merge([tables[n] for n in names], TABULAR, outcome)
    target = table.labels[outcome]
    places = np.repeat(np.arange(len(names)), [len(tables[n]) for n in names])
    often = [max(1, round(plan.repeat.get(n, 1.0))) for n in names]
    rows = np.concatenate(
        [np.repeat(np.flatnonzero((places == n) & ~np.isnan(target)), often[n]) for n in range(len(names))]
    )
    split = np.concatenate([folds[n] for n in names])
    title = f"trees for {outcome}"
    made, columns, out = cross_fit(table, rows, target, split, settings, use=plan.folds, title=title, home=home)
    for number, name in enumerate(names):
        scores[name][:, k] = np.nan_to_num(out[places == number])
    return made, columns


def _networks(
    tables: dict[str, Table],
    folds: dict[str, NDArray[np.int8]],
    outcomes: tuple[str, ...],
    plan: Plan,
    home: Path,
) -> tuple[dict[str, list[NDArray[np.float32]]], int, dict[str, Any]]:
    """Out-of-fold logits of fold networks for every modality pattern, and the number of epochs they needed."""
    scores = {
        n: [np.full((len(t), len(outcomes)), np.nan, np.float32) for _ in range(PATTERNS)] for n, t in tables.items()
    }
    best: list[int] = []
    history: dict[str, Any] = {}
    for fold in plan.folds:
        training = [_source(t, folds[n] != fold, outcomes, plan.repeat.get(n, 1.0)) for n, t in tables.items()]
        held = {n: _source(t, folds[n] == fold, outcomes) for n, t in tables.items()}
        settings = replace(plan.network, seed=plan.network.seed + fold)
        net, state = train(training, validation(held), settings, home / f"network-{fold}.pt", f"network, fold {fold}")
        best.append(state["best_epoch"])
        history[str(fold)] = state["history"]
        for name, table in tables.items():
            rows = np.flatnonzero(folds[name] == fold)
            source = Source(table, rows, outcomes=outcomes)
            for number in _patterns(table):
                scores[name][number][rows] = logits(net, source, rows, _without(number))
    return scores, int(np.median(best)), history


def _without(number: int) -> tuple[int, ...]:
    return tuple(m for m in range(PLAYERS) if not number >> m & 1)


def _patterns(table: Table) -> Sequence[int]:
    """The patterns that a table's rows can stand for: subsets of the modalities it has (images: none has)."""
    notes = "note" in table.inputs
    return [p for p in range(PATTERNS - 1) if p < 8 and (notes or not p >> NOTE & 1)] + [PATTERNS - 1]


def validation(held: dict[str, Source], most: int = 60_000) -> Score:
    """Mean AUROC over the outcomes on held-out rows: what early stopping looks at."""

    def score(net: FusionNet) -> float:
        found = []
        for source in held.values():
            rows = source.rows[:: max(1, len(source.rows) // most)]
            values, labels = logits(net, source, rows), source.labels(rows)
            for k in range(labels.shape[1]):
                known = ~np.isnan(labels[:, k])
                if known.any() and 0 < labels[known, k].mean() < 1:
                    found.append(float(roc_auc_score(labels[known, k], values[known, k])))
        return float(np.mean(found))

    return score


def _calibrate(
    tables: dict[str, Table],
    outcomes: tuple[str, ...],
    network: dict[str, list[NDArray[np.float32]]],
    trees: dict[str, NDArray[np.float32]],
    plan: Plan,
) -> Calibration:
    made = Calibration.none(len(outcomes))
    for k, outcome in enumerate(outcomes):
        usable = {n: _calibrating(t, outcome, network[n][PATTERNS - 1][:, k], plan, n) for n, t in tables.items()}
        label = np.concatenate([t.labels[outcome][usable[n]] for n, t in tables.items() if outcome in t.labels])
        net = np.concatenate([network[n][PATTERNS - 1][usable[n], k] for n in tables])
        tree = np.concatenate([trees[n][usable[n], k] for n in tables])
        if outcome in plan.trees:
            made.network[k], made.trees[k] = calibrate.blend_weights(net, tree, label)
        for number in range(PATTERNS):
            stand_in = _stand_in(number, tables, outcome)
            parts = [n for n, t in tables.items() if outcome in t.labels and stand_in in _patterns(t)]
            net = np.concatenate([network[n][stand_in][usable[n], k] for n in parts])
            tree = np.concatenate([trees[n][usable[n], k] for n in parts])
            known = np.concatenate([tables[n].labels[outcome][usable[n]] for n in parts])
            with_series = bool(number >> SERIES & 1)
            mixed = made.network[k] * net + made.trees[k] * tree if with_series else net
            made.slope[number, k], made.intercept[number, k] = calibrate.platt(
                mixed.astype(np.float64), known.astype(np.float64)
            )
    return made


def _calibrating(table: Table, outcome: str, logit: NDArray[np.float32], plan: Plan, name: str) -> NDArray[np.intp]:
    """Rows with a label and an out-of-fold logit, at the hours that the plan calibrates at."""
    if outcome not in table.labels:
        return np.empty(0, np.intp)
    chosen = ~np.isnan(table.labels[outcome]) & ~np.isnan(logit)
    if name in plan.final_rows:
        chosen &= np.isin(table.hours, plan.final_rows[name])
    return np.flatnonzero(chosen)


def _stand_in(number: int, tables: dict[str, Table], outcome: str) -> int:
    """The pattern with data that calibrates a pattern without: the same without image, then without notes."""
    known = {p for t in tables.values() if outcome in t.labels for p in _patterns(t)}
    for candidate in (number, number & 0b0111, number & 0b0011):
        if candidate in known:
            return candidate
    return number & 0b0011


def _calibrated(
    table: Table, network: list[NDArray[np.float32]], trees: NDArray[np.float32], made: Calibration
) -> NDArray[np.float32]:
    """Out-of-fold calibrated log-odds with all that each row has."""
    presence = np.asarray(table.inputs["presence"])[:, :PLAYERS]
    number = (presence @ (1 << np.arange(PLAYERS))).astype(np.intp)
    here = presence[:, :1]
    weight = made.network * here + (1 - here)
    mixed = weight * network[PATTERNS - 1] + made.trees * here * trees
    result: NDArray[np.float32] = (made.slope[number] * mixed + made.intercept[number]).astype(np.float32)
    return result
