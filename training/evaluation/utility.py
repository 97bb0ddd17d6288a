"""The official score of the PhysioNet/CinC Challenge 2019 (Reyna et al., Crit Care Med 48(2):210-217, 2020).

A septic patient's onset is 6 hours after the first positive label. A positive call earns a reward that rises from
12 h before onset to +1 at 6 h before, and falls to 0 at 3 h after; silence costs nothing up to 6 h before onset and
falls to -2 at 3 h after. In anybody else a positive call costs 0.05. Later hours do not count. The sum over all hours
of all patients is scaled so that never calling is 0 and the best possible calls are 1.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.evaluation.metrics import shares

EARLY, OPTIMAL, LATE = -12, -6, 3  # hours from onset
TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE = 1.0, -2.0, -0.05

Float = NDArray[np.float64]


def patient_utility(label: ArrayLike, call: ArrayLike) -> float:
    """Sum over one patient's hours (in order, none missing) of the utility of the calls (0/1), not scaled."""
    labels, calls = np.asarray(label).astype(bool), np.asarray(call).astype(bool)
    reward, silence = hourly(labels)
    return float(np.where(calls, reward, silence).sum())


def hourly(label: NDArray[np.bool_]) -> tuple[Float, Float]:
    """For each of one patient's hours: the utility of calling, and that of silence."""
    hours = len(label)
    if not label.any():
        return np.full(hours, FALSE_POSITIVE), np.zeros(hours)
    onset = int(np.argmax(label)) - OPTIMAL
    t = np.arange(hours) - onset
    rising = np.maximum(TRUE_POSITIVE * (t - EARLY) / (OPTIMAL - EARLY), FALSE_POSITIVE)
    falling = TRUE_POSITIVE * (LATE - t) / (LATE - OPTIMAL)
    missing = FALSE_NEGATIVE * (t - OPTIMAL) / (LATE - OPTIMAL)
    counted = t <= LATE
    reward = np.where(counted, np.where(t <= OPTIMAL, rising, falling), 0.0)
    silence = np.where(counted & (t > OPTIMAL), missing, 0.0)
    return reward, silence


def best_calls(label: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The challenge's best possible calls: from 12 h before onset to 3 h after, in septic patients alone."""
    if not label.any():
        return np.zeros(len(label), dtype=bool)
    t = np.arange(len(label)) - (int(np.argmax(label)) - OPTIMAL)
    return np.asarray((t >= EARLY) & (t <= LATE))


def utility(label: ArrayLike, call: ArrayLike, patient: ArrayLike) -> float:
    """The challenge's normalised utility; NaN when no patient is septic. Rows of a patient stand together."""
    return utility_with_interval(label, call, patient, repeats=0)[0]


def utility_with_interval(
    label: ArrayLike, call: ArrayLike, patient: ArrayLike, *, repeats: int = 1000, seed: int = 0
) -> tuple[float, list[float]]:
    """The normalised utility and its 95 % bootstrap interval by patient."""
    gain, possible = gains(label, patient)
    found = shares({"utility": (gain * np.asarray(call, bool), possible)}, patient, repeats=repeats, seed=seed)
    return found["utility"], found["utility_ci"]


def gains(label: ArrayLike, patient: ArrayLike) -> tuple[Float, Float]:
    """For each row what a call gains over silence, and what the best call would: their sums' ratio is the utility."""
    labels = np.asarray(label).astype(bool)
    gain, possible = np.zeros(len(labels)), np.zeros(len(labels))
    for rows in runs(patient):
        gain[rows] = np.subtract(*hourly(labels[rows]))
        possible[rows] = np.where(best_calls(labels[rows]), gain[rows], 0.0)
    return gain, possible


def best_utility(label: ArrayLike, score: ArrayLike, patient: ArrayLike) -> float:
    """The normalised utility of calling at the threshold of the score that suits best, chosen in hindsight."""
    return float(best_utilities(*gains(label, patient), score, [np.ones(len(np.asarray(label)))])[0])


def best_utilities(gain: Float, possible: Float, score: ArrayLike, weights: Iterable[Float]) -> Float:
    """`best_utility` for each weighting of the rows [N] (a bootstrap draw), of rows as `gains` gives them."""
    scores = np.asarray(score, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    found = []
    for weight in weights:
        best = max(0.0, np.cumsum((weight * gain)[order])[ends].max()) if len(order) else 0.0
        whole = weight @ possible
        found.append(best / whole if whole > 0 else float("nan"))
    return np.array(found)


def runs(patient: ArrayLike) -> Iterator[slice]:
    """One slice for each patient's rows. Raises ValueError when a patient's rows do not stand together."""
    names = np.asarray(patient)
    edges = np.flatnonzero(np.r_[True, names[1:] != names[:-1], True]) if len(names) else np.zeros(1, dtype=int)
    if len(edges) - 1 != len(np.unique(names)):
        raise ValueError("the rows of a patient must stand together")
    for begin, end in pairwise(edges.tolist()):
        yield slice(begin, end)
