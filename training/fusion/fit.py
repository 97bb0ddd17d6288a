"""The whole of fitting `risk_fusion`: cross-fitted trees and networks of several seeds, and what is chosen from them.

Every figure and every choice rests on out-of-fold scores: a row is only ever scored by parts that have not seen its
patient (in eICU: its hospital), and `training.fusion.choose` says which of them a choice may see. What ships is
trained on all patients, with each seed, and averaged over the seeds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.datasets.table import Table
from training.fusion.boost import Grown
from training.fusion.choose import (
    FULL,
    Choice,
    Gains,
    Judged,
    Parts,
    Tables,
    asked,
    choose,
    mean,
    nested,
    patterns,
)
from training.fusion.folds import FOLDS
from training.fusion.network import Together
from training.fusion.served import PATTERNS
from training.fusion.trees import WHOLE
from training.fusion.workshop import Workshop, epochs_of


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


def fit(shop: Workshop) -> Fitted:
    """Fit on all tables of the workshop; what lies finished there is read."""
    tables, gains, outcomes, plan = shop.tables, shop.gains, shop.outcomes, shop.plan
    parts = [Parts({n: _silent(t, outcomes) for n, t in tables.items()}, {}) for _ in plan.seeds]
    boosters = [_trees(shop, outcome, k, parts) for k, outcome in enumerate(outcomes)]
    networks, epochs = _networks(shop, parts)
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
        nested(together, tables, gains, outcomes, blended, shop.folds),
        [nested(p, tables, gains, outcomes, blended, shop.folds) for p in parts],
        epochs,
    )


def _rows(tables: Tables, gains: Gains, outcomes: tuple[str, ...], parts: Parts) -> dict[str, NDArray[np.intp]]:
    return {
        f"{outcome} on {name}": np.flatnonzero(asked(table, outcome, parts.network[name][FULL][:, k], name in gains))
        for k, outcome in enumerate(outcomes)
        for name, table in tables.items()
        if outcome in table.labels
    }


def _trees(shop: Workshop, outcome: str, k: int, parts: list[Parts]) -> list[Grown]:
    """The outcome's boosters of all kinds and seeds; their out-of-fold scores go into `parts`."""
    if not shop.plan.trees.get(outcome):
        return []
    lesson, plan = shop.lesson(outcome), shop.plan
    made = []
    for seed, part in zip(plan.seeds, parts, strict=True):
        scores = np.zeros((WHOLE + 1, len(lesson.table)), np.float32)
        for field, kind in zip(shop.trees(lesson, outcome, seed), plan.trees[outcome], strict=True):
            scores += kind.weight * np.stack(shop.tree_scores(field, outcome))
            grown = field.whole()
            made.append(grown._replace(weight=grown.weight / len(plan.seeds)))
        begin = 0
        for name in shop.knowing(outcome):
            rows = slice(begin, begin + len(shop.tables[name]))
            for number, values in enumerate(scores):
                part.trees[name][number][:, k] = values[rows]
            begin = rows.stop
    return made


def _networks(shop: Workshop, parts: list[Parts]) -> tuple[Together, list[int]]:
    """One network per seed on all rows, for as many epochs as the fold networks needed (also returned); the fold
    networks' logits go into `parts`."""
    best: list[int] = []
    for seed, part in zip(shop.plan.seeds, parts, strict=True):
        part.network = {n: [_unknown(t, shop.outcomes) for _ in range(PATTERNS)] for n, t in shop.tables.items()}
        for fold in range(FOLDS):
            logit, epoch = shop.held_logits(seed, fold)
            best.append(epoch)
            for name, rows in shop.held(fold).items():
                for number, values in zip(patterns(shop.tables[name]), logit[name], strict=True):
                    part.network[name][number][rows] = values
    return Together([shop.network(seed, epochs_of(best)) for seed in shop.plan.seeds]).eval(), best


def _silent(table: Table, outcomes: tuple[str, ...]) -> list[NDArray[np.float32]]:
    """Scores of 0 by pattern, for trees to fill in: patterns that are one to them share the array."""
    scores = [np.zeros((len(table), len(outcomes)), np.float32) for _ in range(WHOLE + 1)]
    return [scores[number & WHOLE] for number in range(PATTERNS)]


def _unknown(table: Table, outcomes: tuple[str, ...]) -> NDArray[np.float32]:
    return np.full((len(table), len(outcomes)), np.nan, np.float32)
