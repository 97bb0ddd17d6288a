"""The official score of the PhysioNet/CinC Challenge 2019 (Reyna et al., Crit Care Med 48(2):210-217, 2020).

A septic patient's onset is 6 hours after the first positive label. A positive call earns a reward that rises from
12 h before onset to +1 at 6 h before, and falls to 0 at 3 h after; silence costs nothing up to 6 h before onset and
falls to -2 at 3 h after. In anybody else a positive call costs 0.05. Later hours do not count. The sum over all hours
of all patients is scaled so that never calling is 0 and the best possible calls are 1.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.evaluation.metrics import interval

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


def patient_sums(label: ArrayLike, call: ArrayLike, patient: ArrayLike) -> Float:
    """float64 [patients, 3]: utility of the calls, of the best calls, of silence. Rows of a patient stand together."""
    labels, calls = np.asarray(label).astype(bool), np.asarray(call).astype(bool)
    sums = []
    for rows in runs(patient):
        reward, silence = hourly(labels[rows])
        best = best_calls(labels[rows])
        sums.append([np.where(c, reward, silence).sum() for c in (calls[rows], best, np.zeros_like(best))])
    return np.asarray(sums, dtype=np.float64).reshape(-1, 3)


def utility(label: ArrayLike, call: ArrayLike, patient: ArrayLike) -> float:
    """The challenge's normalised utility; NaN when no patient is septic."""
    return _normalised(patient_sums(label, call, patient))


def utility_with_interval(
    label: ArrayLike, call: ArrayLike, patient: ArrayLike, *, repeats: int = 1000, seed: int = 0
) -> tuple[float, list[float]]:
    """The normalised utility and its 95 % bootstrap interval by patient."""
    sums = patient_sums(label, call, patient)
    rng = np.random.default_rng(seed)
    draws = [_normalised(sums[rng.integers(0, len(sums), len(sums))]) for _ in range(repeats if len(sums) else 0)]
    return _normalised(sums), interval(draws)


def best_utility(label: ArrayLike, score: ArrayLike, patient: ArrayLike) -> float:
    """The normalised utility of calling at the threshold of the score that suits best, chosen in hindsight."""
    labels, scores = np.asarray(label).astype(bool), np.asarray(score, dtype=np.float64)
    parts = [np.subtract(*hourly(labels[rows])) for rows in runs(patient)]
    gain = np.concatenate(parts) if parts else np.zeros(0)
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    _, best, silence = patient_sums(labels, labels, patient).sum(axis=0)
    return float(max(0.0, np.cumsum(gain[order])[ends].max()) / (best - silence)) if best > silence else float("nan")


def runs(patient: ArrayLike) -> Iterator[slice]:
    """One slice for each patient's rows. Raises ValueError when a patient's rows do not stand together."""
    names = np.asarray(patient)
    edges = np.flatnonzero(np.r_[True, names[1:] != names[:-1], True]) if len(names) else np.zeros(1, dtype=int)
    if len(edges) - 1 != len(np.unique(names)):
        raise ValueError("the rows of a patient must stand together")
    for begin, end in pairwise(edges.tolist()):
        yield slice(begin, end)


def _normalised(sums: Float) -> float:
    observed, best, silence = sums.sum(axis=0) if len(sums) else (0.0, 0.0, 0.0)
    return float((observed - silence) / (best - silence)) if best > silence else float("nan")
