"""The parts of `risk_fusion` made side by side: each in one of a few processes, on one thread.

A process opens the workshop for itself, its tables memory mapped, and leaves what it makes in the workshop's home.
These are the files that one process alone would leave, byte for byte: `training.fusion.fit` then finds all it needs.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import active_children, get_context, parent_process

import numpy as np
from threadpoolctl import threadpool_limits

from training.fusion.boost import Field, kinds_of
from training.fusion.controls import CONTROLS, PLAIN, SETTINGS, control, plain
from training.fusion.folds import FOLDS
from training.fusion.transfer import asked_and_choosing, members, taught
from training.fusion.workshop import Workshop, epochs_of
from training.progress import bar

NETWORK_ROW = 200
"""What a row costs a network in an epoch, in rows that one tree is grown on: measured, good within a factor of two."""
PLAIN_TREES = 2 * SETTINGS.trees
"""Trees of the other controls that one of scikit-learn's models costs as much as, likewise."""

Make = Callable[[Workshop], int | None]
"""Makes a part in the workshop's home; a fold network says its best epoch."""


class Failed(RuntimeError):
    """A part could not be made; the text says which and why."""


@dataclass(frozen=True)
class Part:
    """What a process makes at a time."""

    name: str
    cost: float  # rows that trees are grown on, about: what takes longest comes first
    make: Make


def prepare(shop: Workshop, opened: Callable[[], Workshop], workers: int) -> None:
    """Makes all parts in so many processes, each of which opens the workshop anew with `opened`.

    Raises Failed when a part cannot be made. Then, as at Ctrl-C, no process is left, and what is finished stays.
    """
    first = parts(shop)
    best: list[int] = []
    with _pool(min(workers, len(first)), opened) as pool, bar() as shown:
        task = shown.add_task("parts", total=len(first) + len(shop.plan.seeds), note="")
        waiting = {pool.submit(_make, part.make): part for part in first}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                part = waiting.pop(future)
                epochs = _result(future, part)
                shown.update(task, advance=1, note=part.name)
                if epochs is not None:
                    best.append(epochs)
                    if len(best) == FOLDS * len(shop.plan.seeds):
                        waiting |= {pool.submit(_make, part.make): part for part in last_parts(shop, epochs_of(best))}


def parts(shop: Workshop) -> list[Part]:
    """All parts that depend on no other, the longest first."""
    return sorted([*_trees(shop), *_networks(shop), *_checks(shop)], key=lambda part: -part.cost)


def last_parts(shop: Workshop, epochs: int) -> list[Part]:
    """The networks that ship, which wait for the number of epochs."""
    return [Part(f"network {s}, all", 0.0, partial(_make_network, seed=s, epochs=epochs)) for s in shop.plan.seeds]


def _trees(shop: Workshop) -> Iterator[Part]:
    for outcome in shop.outcomes:
        rows = sum(len(shop.tables[name]) for name in shop.knowing(outcome))
        kinds = shop.plan.trees.get(outcome, ())
        for number, (name, kind) in enumerate(zip(kinds_of(kinds), kinds, strict=True)):
            cost = rows * kind.keep * kind.trees * (FOLDS + 1)
            for seed in shop.plan.seeds:
                make = partial(_make_trees, outcome=outcome, seed=seed, number=number)
                yield Part(f"trees {name} {outcome} {seed}", cost, make)


def _networks(shop: Workshop) -> Iterator[Part]:
    rows = sum(len(table) * shop.plan.repeat.get(name, 1.0) for name, table in shop.tables.items())
    cost = rows * shop.plan.network.epochs * NETWORK_ROW
    for seed in shop.plan.seeds:
        for fold in range(FOLDS):
            yield Part(f"network {seed}, fold {fold}", cost, partial(_make_fold_network, seed=seed, fold=fold))


def _checks(shop: Workshop) -> Iterator[Part]:
    """The controls, and the trees of transfer between units."""
    for outcome in shop.outcomes:
        for data_set in shop.knowing(outcome):
            table = shop.tables[data_set]
            kinds, title = shop.plan.trees[outcome], f"{outcome} {data_set}"
            rows = len(table) * kinds[0].keep * FOLDS
            for name, trees in (*((c, SETTINGS.trees) for c in CONTROLS), (PLAIN, PLAIN_TREES)):
                make = partial(_make_control, data_set=data_set, outcome=outcome, name=name)
                yield Part(f"control {name} {title}", rows * trees, make)
            for unit in members(table) if data_set in shop.gains else ():
                for number, (name, kind) in enumerate(zip(kinds_of(kinds), kinds, strict=True)):
                    cost = len(table) / 2 * kind.keep * kind.trees
                    move = partial(_make_transfer, data_set=data_set, outcome=outcome, unit=unit, number=number)
                    yield Part(f"transfer from {unit} {name} {title}", cost, move)


def _make_trees(shop: Workshop, outcome: str, seed: int, number: int) -> None:
    field = _nth(shop.trees(shop.lesson(outcome), outcome, seed), number)
    shop.tree_scores(field, outcome)
    field.whole()


def _make_fold_network(shop: Workshop, seed: int, fold: int) -> int:
    return shop.held_logits(seed, fold)[1]


def _make_network(shop: Workshop, seed: int, epochs: int) -> None:
    shop.network(seed, epochs)


def _make_control(shop: Workshop, data_set: str, outcome: str, name: str) -> None:
    if name == PLAIN:
        plain(*shop.checked(data_set, outcome))
    else:
        control(name, *shop.checked(data_set, outcome)).cross_fit()


def _make_transfer(shop: Workshop, data_set: str, outcome: str, unit: str, number: int) -> None:
    lesson = shop.alone(data_set, outcome)
    rows = np.concatenate(asked_and_choosing(lesson, unit))
    _nth(taught(lesson, shop.plan.trees[outcome], unit, shop.home), number).ask(rows)


def _nth(fields: Iterator[Field], number: int) -> Field:
    return next(islice(fields, number, None))


def _result(future: Future[int | None], part: Part) -> int | None:
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        raise Failed("a process was ended from outside, most often for want of memory: take fewer --workers")
    if error is not None:
        raise Failed(f"{part.name}: {type(error).__name__}: {error} (--workers 1 shows where)") from error
    return future.result()


@contextmanager
def _pool(workers: int, opened: Callable[[], Workshop]) -> Iterator[ProcessPoolExecutor]:
    """Processes that are waited for when all went well, and else ended at once: a part may take minutes."""
    others = set(active_children())
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (opened,))
    try:
        yield pool
    except BaseException:
        for process in set(active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_shop: Workshop
"""This process's own, once it has begun."""


def _begin(opened: Callable[[], Workshop]) -> None:
    """Opens the workshop in a new process, which leaves Ctrl-C to its parent and does not outlive it."""
    global _shop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(1)
    _shop = opened()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _make(make: Make) -> int | None:
    return make(_shop)
