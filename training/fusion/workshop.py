"""Where the parts of `risk_fusion` are made: trees and networks, each of its own, from the same tables and plan.

A part depends on no other part (a network on all rows on the number of epochs alone), so they can be made in any order
and in any process. What is finished lies in the workshop's home and is read from there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from training.datasets.stays import course_of
from training.datasets.table import Table, merge
from training.fusion.boost import Field, Lesson, TreeSettings, kinds_of, usable_columns
from training.fusion.choose import FULL, Gains, Masks, Tables, of_hours_asked, patterns
from training.fusion.data import Source
from training.fusion.folds import FOLDS, row_folds, stopping_rows
from training.fusion.kept import kept
from training.fusion.network import OUTCOMES, FusionNet, with_heads
from training.fusion.served import PLAYERS
from training.fusion.train import Score, Settings, logits, one_thread, train
from training.fusion.trees import NOTE, READ, WHOLE

Folds = dict[str, NDArray[np.int8]]
EARLIER = 1 / 8
"""Weight of the rows of a stay's earlier hours, which all have the stay's one outcome, beside the hour asked about."""
SPARSE = 20_000
"""Rows of a table that calibrate what is seldom sent: patterns of modalities that leave out something it has."""
ASKED = 4.0
"""How often the network sees a row of an hour asked about in an epoch, where the plan does not say."""


@dataclass(frozen=True)
class Plan:
    """How to fit; by data set or outcome where it says so."""

    network: Settings = field(default_factory=Settings)
    trees: dict[str, tuple[TreeSettings, ...]] = field(default_factory=dict)  # by outcome; none: no trees for it
    repeat: dict[str, float] = field(default_factory=dict)  # by data set, in place of ASKED
    seeds: tuple[int, ...] = (1, 2, 3)  # of the models that are averaged


@dataclass(frozen=True)
class Workshop:
    """Tables, the gains of alerting of the data sets that have them, the plan, and the folder of finished parts."""

    tables: Tables
    gains: Gains
    plan: Plan
    home: Path

    @cached_property
    def outcomes(self) -> tuple[str, ...]:
        return tuple(filter(self.knowing, OUTCOMES))

    @cached_property
    def taught(self) -> tuple[str, ...]:
        """What the networks learn: the outcomes, and the course of those whose course is known."""
        return (*self.outcomes, *filter(self.knowing, map(course_of, self.outcomes)))

    @cached_property
    def folds(self) -> Folds:
        return {name: row_folds(table) for name, table in self.tables.items()}

    def knowing(self, outcome: str) -> list[str]:
        """The data sets that know the outcome."""
        return [n for n, t in self.tables.items() if outcome in t.labels]

    def lesson(self, outcome: str) -> Lesson:
        """What the outcome's trees learn from, on all data sets that know it."""
        return lesson_of(self.tables, self.gains, self.folds, outcome)

    def alone(self, name: str, outcome: str) -> Lesson:
        """The same on one data set."""
        return lesson_of({name: self.tables[name]}, self.gains, self.folds, outcome)

    def checked(self, name: str, outcome: str) -> tuple[Lesson, str, float, Path]:
        """What `training.fusion.controls` is called with for this outcome of a data set."""
        return self.alone(name, outcome), f"{outcome} {name}", self.plan.trees[outcome][0].keep, self.home

    def trees(self, lesson: Lesson, outcome: str, seed: int) -> Iterator[Field]:
        """The field of each of the outcome's kinds of trees, in the plan's order."""
        kinds = self.plan.trees.get(outcome, ())
        for name, kind in zip(kinds_of(kinds), kinds, strict=True):
            yield Field(lesson, kind, seed, f"trees {name} {outcome} {seed}", self.home)

    def tree_scores(self, field: Field, outcome: str) -> list[NDArray[np.float32]]:
        """What the field's trees say out of fold of the rows of all data sets that know the outcome, one after the
        other, by a pattern's bits `WHOLE`: where it lacks some that the trees read, of the rows `sampled` alone (NaN
        elsewhere)."""
        names = self.knowing(outcome)
        begin = np.cumsum([0, *(len(self.tables[name]) for name in names)])
        rows = np.concatenate([first + self.sampled(name) for first, name in zip(begin, names, strict=False)])
        return [field.cross_fit(pattern, rows) for pattern in range(WHOLE + 1)]

    def fold_network(self, seed: int, fold: int) -> tuple[FusionNet, dict[str, Any]]:
        """The network that has not seen the fold, and its history. It stops by training patients that it is not
        trained on."""
        stopping = {n: stopping_rows(t) for n, t in self.tables.items()}
        seen = {n: folds != fold for n, folds in self.folds.items()}
        training = self._sources({n: seen[n] & ~stopping[n] for n in self.tables})
        watched = [_source(t, seen[n] & stopping[n], self.outcomes) for n, t in self.tables.items()]
        settings = replace(self.plan.network, seed=100 * seed + fold)
        file, title = self.home / f"network-{seed}-{fold}.pt", f"network {seed}, fold {fold}"
        net, state = train(training, validation(watched), settings, file, title)
        return with_heads(net, self.outcomes), state

    def held(self, fold: int) -> dict[str, NDArray[np.intp]]:
        """The rows of the fold, by data set."""
        return {name: np.flatnonzero(folds == fold) for name, folds in self.folds.items()}

    def sampled(self, name: str) -> NDArray[np.intp]:
        """The rows that `answers` asks with less than they have."""
        return np.concatenate([sparse(self.held(fold)[name]) for fold in range(FOLDS)])

    def held_logits(self, seed: int, fold: int) -> tuple[dict[str, NDArray[np.float32]], int]:
        """What the fold's network says of the rows `held`, by data set as of `answers`; and its best epoch."""
        net, state = self.fold_network(seed, fold)
        mark = _mark(net)
        found = {}
        for name, rows in self.held(fold).items():
            file = self.home / f"network-{seed}-{fold}-{name}-{mark}.npy"
            found[name] = kept(file, partial(answers, net, self.tables[name], rows, self.outcomes))
        return found, int(state["best_epoch"])

    def network(self, seed: int, epochs: int) -> FusionNet:
        """The network that ships: trained on all rows for so many epochs."""
        everyone = self._sources({n: np.ones(len(t), np.bool_) for n, t in self.tables.items()})
        settings = replace(self.plan.network, seed=100 * seed + FOLDS, epochs=epochs, patience=epochs + 1)
        file, title = self.home / f"network-{seed}.pt", f"network {seed}, all"
        return with_heads(train(everyone, _unwatched, settings, file, title)[0], self.outcomes)

    def _sources(self, chosen: Masks) -> list[Source]:
        """What the network is trained on: of stays with one outcome, the hour asked about more than the others."""
        found = []
        for name, table in self.tables.items():
            asked_about, often = of_hours_asked(table, name in self.gains), self.plan.repeat.get(name, ASKED)
            found.append(_source(table, chosen[name] & asked_about, self.taught, often))
            found.append(_source(table, chosen[name] & ~asked_about, self.taught, often * EARLIER))
        return [source for source in found if len(source.rows)]


def epochs_of(best: Sequence[int]) -> int:
    """How long the networks on all rows are trained, by the fold networks' best epochs."""
    return int(np.median(best))


def lesson_of(tables: Tables, gains: Gains, folds: Folds, outcome: str) -> Lesson:
    """What the outcome's trees learn from: the rows of all data sets that know it, one after the other."""
    names = [n for n, t in tables.items() if outcome in t.labels]
    table = tables[names[0]] if len(names) == 1 else merge([tables[n] for n in names], READ, outcome)
    label = table.labels[outcome]
    course = np.concatenate([tables[n].labels.get(course_of(outcome), tables[n].labels[outcome]) for n in names])
    rows = np.flatnonzero(~np.isnan(label))
    gain = gains[names[0]] if len(names) == 1 and names[0] in gains else None
    weight = np.concatenate([np.where(of_hours_asked(tables[n], n in gains), 1.0, EARLIER) for n in names])
    split = np.concatenate([folds[n] for n in names])
    return Lesson(table, rows, usable_columns(table, rows), label, course, gain, weight.astype(np.float32), split)


@one_thread()
def answers(net: FusionNet, table: Table, rows: NDArray[np.intp], outcomes: tuple[str, ...]) -> NDArray[np.float32]:
    """float32 [patterns of the table, rows, outcomes]: the network's logits for these rows with all they have, and for
    a sample of them with each subset of it; NaN for the others."""
    source, numbers = Source(table, rows, outcomes=outcomes), patterns(table)
    scores = np.full((len(numbers), len(rows), len(outcomes)), np.nan, np.float32)
    whole = scores[numbers.index(FULL)]
    whole[:] = logits(net, source, rows)
    owned = [m for m in range(PLAYERS) if m != NOTE or "note" in table.inputs]
    few = sparse(np.arange(len(rows)))
    for number, score in zip(numbers, scores, strict=True):
        without = tuple(m for m in owned if not number >> m & 1 and m < PLAYERS - 1)
        if number != FULL:
            score[few] = logits(net, source, rows[few], without) if without else whole[few]
    return scores


def sparse(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of a fold's rows those that are asked with less than they have."""
    return rows[:: max(1, len(rows) // SPARSE)]


def _mark(net: FusionNet) -> str:
    """Of these weights."""
    mark = blake2b(digest_size=6)
    for tensor in net.state_dict().values():
        mark.update(tensor.numpy().tobytes())
    return mark.hexdigest()


def _source(table: Table, chosen: NDArray[np.bool_], outcomes: tuple[str, ...], repeat: float = 1.0) -> Source:
    known = np.zeros(len(table), np.bool_)
    for outcome in outcomes:
        if outcome in table.labels:
            known |= ~np.isnan(table.labels[outcome])
    return Source(table, np.flatnonzero(chosen & known), repeat, outcomes)


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


def _unwatched(net: FusionNet) -> float:
    """Of a network that nothing stops."""
    return 0.0
