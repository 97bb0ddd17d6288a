"""The whole of fitting `risk_fusion`: cross-fitted trees and networks of several seeds, and what is chosen from them.

Every figure and every choice rests on out-of-fold scores: a row is only ever scored by parts that have not seen its
patient (in eICU: its hospital), and `training.fusion.choose` says which of them a choice may see. What ships is
trained on all patients, with each seed, and averaged over the seeds.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from training.datasets.table import Table, merge
from training.fusion.boost import Grown, Lesson, TreeSettings, cross_fit, grow, kinds_of, usable_columns
from training.fusion.choose import (
    FULL,
    NOTE,
    Choice,
    Gains,
    Judged,
    Masks,
    Parts,
    Tables,
    asked,
    choose,
    mean,
    nested,
    of_hours_asked,
    patterns,
)
from training.fusion.data import Source
from training.fusion.folds import FOLDS, row_folds, stopping_rows
from training.fusion.network import OUTCOMES, FusionNet, Together
from training.fusion.served import PATTERNS, PLAYERS
from training.fusion.train import Score, Settings, logits, train
from training.fusion.trees import TABULAR

Folds = dict[str, NDArray[np.int8]]
EARLIER = 1 / 8
"""Weight of the rows of a stay's earlier hours, which all have the stay's one outcome, beside the hour asked about."""
ASKED = 4.0
"""How often the network sees a row of an hour asked about in an epoch, where the plan does not say."""
SPARSE = 20_000
"""Rows of a table that calibrate what is seldom sent: patterns of modalities that leave out something it has."""


@dataclass(frozen=True)
class Plan:
    """How to fit; by data set or outcome where it says so."""

    network: Settings = field(default_factory=Settings)
    trees: dict[str, tuple[TreeSettings, ...]] = field(default_factory=dict)  # by outcome; none: no trees for it
    repeat: dict[str, float] = field(default_factory=dict)  # by data set, in place of ASKED
    seeds: tuple[int, ...] = (1, 2, 3)  # of the models that are averaged


@dataclass
class Fitted:
    """What is exported, and what its figures are computed from."""

    outcomes: tuple[str, ...]
    network: Together
    boosters: list[list[Grown]]
    choice: Choice
    parts: Parts  # out of fold, averaged over the seeds
    rows: dict[str, NDArray[np.intp]]  # by 'outcome on data set': those that figures are made of
    judged: dict[str, Judged]
    by_seed: list[dict[str, Judged]]  # the same of each seed's models alone
    epochs: list[int]


def fit(tables: Tables, gains: Gains, plan: Plan, home: Path) -> Fitted:
    """Fit on all tables; `gains` are the utility gains of alerting, for the data sets that have them."""
    outcomes = tuple(o for o in OUTCOMES if any(o in t.labels for t in tables.values()))
    folds = {name: row_folds(table) for name, table in tables.items()}
    parts = [
        Parts({n: np.zeros((len(t), len(outcomes)), np.float32) for n, t in tables.items()}, {}) for _ in plan.seeds
    ]
    boosters: list[list[Grown]] = [[] for _ in outcomes]
    for k, outcome in enumerate(outcomes):
        if plan.trees.get(outcome):
            boosters[k] = _trees(tables, gains, folds, outcome, k, plan, parts, home)
    networks, epochs = _networks(tables, gains, folds, outcomes, plan, parts, home)
    blended = {o for o in outcomes if plan.trees.get(o)}
    together = mean(parts)
    everyone = {n: np.ones(len(t), np.bool_) for n, t in tables.items()}
    return Fitted(
        outcomes,
        networks,
        boosters,
        choose(together, tables, gains, outcomes, blended, everyone),
        together,
        _rows(tables, gains, outcomes, together),
        nested(together, tables, gains, outcomes, blended, folds),
        [nested(p, tables, gains, outcomes, blended, folds) for p in parts],
        epochs,
    )


def _rows(tables: Tables, gains: Gains, outcomes: tuple[str, ...], parts: Parts) -> dict[str, NDArray[np.intp]]:
    return {
        f"{outcome} on {name}": np.flatnonzero(asked(table, outcome, parts.network[name][FULL][:, k], name in gains))
        for k, outcome in enumerate(outcomes)
        for name, table in tables.items()
        if outcome in table.labels
    }


def lesson_of(tables: Tables, gains: Gains, folds: Folds, outcome: str) -> Lesson:
    """What the outcome's trees learn from: the rows of all data sets that know it, one after the other."""
    names = [n for n, t in tables.items() if outcome in t.labels]
    table = tables[names[0]] if len(names) == 1 else merge([tables[n] for n in names], TABULAR, outcome)
    label = table.labels[outcome]
    rows = np.flatnonzero(~np.isnan(label))
    gain = gains[names[0]] if len(names) == 1 and names[0] in gains else None
    weight = np.concatenate([np.where(of_hours_asked(tables[n], n in gains), 1.0, EARLIER) for n in names])
    split = np.concatenate([folds[n] for n in names])
    return Lesson(table, rows, usable_columns(table, rows), label, gain, weight.astype(np.float32), split)


def _trees(
    tables: Tables, gains: Gains, folds: Folds, outcome: str, k: int, plan: Plan, parts: list[Parts], home: Path
) -> list[Grown]:
    """The outcome's boosters of all kinds and seeds; their out-of-fold scores go into `parts`."""
    lesson = lesson_of(tables, gains, folds, outcome)
    kinds = plan.trees[outcome]
    made = []
    for seed, part in zip(plan.seeds, parts, strict=True):
        score = np.zeros(len(lesson.table), np.float32)
        for name, kind in zip(kinds_of(kinds), kinds, strict=True):
            title = f"trees {name} {outcome} {seed}"
            score += kind.weight * cross_fit(lesson, kind, seed, title, home)
            grown = grow(lesson, kind, seed, title, home)
            made.append(grown._replace(weight=grown.weight / len(plan.seeds)))
        begin = 0
        for name in (n for n, t in tables.items() if outcome in t.labels):
            part.trees[name][:, k] = score[begin : begin + len(tables[name])]
            begin += len(tables[name])
    return made


def _networks(
    tables: Tables, gains: Gains, folds: Folds, outcomes: tuple[str, ...], plan: Plan, parts: list[Parts], home: Path
) -> tuple[Together, list[int]]:
    """One network per seed on all rows, for as many epochs as the fold networks needed (also returned); the fold
    networks' logits go into `parts`. A fold network stops by training patients that it is not trained on."""
    best: list[int] = []
    stopping = {n: stopping_rows(t) for n, t in tables.items()}
    for seed, part in zip(plan.seeds, parts, strict=True):
        part.network = {n: [_unknown(t, outcomes) for _ in range(PATTERNS)] for n, t in tables.items()}
        for fold in range(FOLDS):
            seen = {n: folds[n] != fold for n in tables}
            training = _sources(tables, gains, {n: seen[n] & ~stopping[n] for n in tables}, outcomes, plan)
            watched = [_source(t, seen[n] & stopping[n], outcomes) for n, t in tables.items()]
            settings = replace(plan.network, seed=100 * seed + fold)
            title = f"network {seed}, fold {fold}"
            net, state = train(training, validation(watched), settings, home / f"network-{seed}-{fold}.pt", title)
            best.append(state["best_epoch"])
            for name, table in tables.items():
                _score(part.network[name], net, table, np.flatnonzero(folds[name] == fold), outcomes)
    everyone = _sources(tables, gains, {n: np.ones(len(t), np.bool_) for n, t in tables.items()}, outcomes, plan)
    epochs = int(np.median(best))
    nets = []
    for seed in plan.seeds:
        final = replace(plan.network, seed=100 * seed + FOLDS, epochs=epochs, patience=epochs + 1)
        nets.append(train(everyone, lambda net: 0.0, final, home / f"network-{seed}.pt", f"network {seed}, all")[0])
    return Together(nets).eval(), best


def _unknown(table: Table, outcomes: tuple[str, ...]) -> NDArray[np.float32]:
    return np.full((len(table), len(outcomes)), np.nan, np.float32)


def _sources(tables: Tables, gains: Gains, chosen: Masks, outcomes: tuple[str, ...], plan: Plan) -> list[Source]:
    """What the network is trained on: of stays with one outcome, the hour that is asked about more than the others."""
    found = []
    for name, table in tables.items():
        asked_about, often = of_hours_asked(table, name in gains), plan.repeat.get(name, ASKED)
        found.append(_source(table, chosen[name] & asked_about, outcomes, often))
        found.append(_source(table, chosen[name] & ~asked_about, outcomes, often * EARLIER))
    return [source for source in found if len(source.rows)]


def _source(table: Table, chosen: NDArray[np.bool_], outcomes: tuple[str, ...], repeat: float = 1.0) -> Source:
    known = np.zeros(len(table), np.bool_)
    for outcome in outcomes:
        if outcome in table.labels:
            known |= ~np.isnan(table.labels[outcome])
    return Source(table, np.flatnonzero(chosen & known), repeat, outcomes)


def _score(
    scores: list[NDArray[np.float32]], net: FusionNet, table: Table, rows: NDArray[np.intp], outcomes: tuple[str, ...]
) -> None:
    """The network's logits for these rows with all they have, and for a sample of them with each subset of it."""
    source = Source(table, rows, outcomes=outcomes)
    scores[FULL][rows] = logits(net, source, rows)
    owned = [m for m in range(PLAYERS) if m != NOTE or "note" in table.inputs]
    sample = rows[:: max(1, len(rows) // SPARSE)]
    for number in patterns(table):
        without = tuple(m for m in owned if not number >> m & 1 and m < PLAYERS - 1)
        if number != FULL:
            scores[number][sample] = logits(net, source, sample, without) if without else scores[FULL][sample]


def validation(held: list[Source], most: int = 20_000) -> Score:
    """Mean AUROC over the outcomes of the sources' rows: what early stopping looks at."""

    def score(net: FusionNet) -> float:
        found = []
        for source in held:
            rows = source.rows[:: max(1, len(source.rows) // most)]
            values, labels = logits(net, source, rows), source.labels(rows)
            for k in range(labels.shape[1]):
                known = ~np.isnan(labels[:, k])
                if known.any() and 0 < labels[known, k].mean() < 1:
                    found.append(float(roc_auc_score(labels[known, k], values[known, k])))
        return float(np.mean(found)) if found else 0.0

    return score
