"""Curves of a risk: reliability, ROC, precision-recall, and decision curve (net benefit)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.evaluation.metrics import shares

Points = list[tuple[float, float]]

Band = tuple[float, float, float, float, float]


def reliability(
    label: ArrayLike, risk: ArrayLike, patient: ArrayLike, *, bins: int = 10, repeats: int = 1000
) -> list[Band]:
    """(mean risk, observed share, rows, low, high) of each quantile bin; rows with equal risks stay in one bin.

    low and high bound the observed share: 95 %, bootstrap by patient.
    """
    y, p = np.asarray(label).astype(float), np.asarray(risk, dtype=np.float64)
    edges = np.unique(np.quantile(p, np.arange(1, bins) / bins)) if len(p) else p
    place = np.searchsorted(edges, p, side="right")
    parts = {str(n): place == n for n in range(len(edges) + 1) if (place == n).any()}
    seen = shares({name: (part * y, part) for name, part in parts.items()}, patient, repeats=repeats)
    return [(float(p[part].mean()), seen[name], int(part.sum()), *seen[f"{name}_ci"]) for name, part in parts.items()]


def decision_curve(
    label: ArrayLike, risk: ArrayLike, patient: ArrayLike, thresholds: ArrayLike, *, repeats: int = 1000
) -> list[Band]:
    """(threshold, net benefit of the risk, net benefit of treating all, low, high); treating none has 0.

    Net benefit = TP/n - FP/n * t/(1 - t) (Vickers and Elkin, Med Decis Making 26:565, 2006); low and high bound that of
    the risk: 95 %, bootstrap by patient.
    """
    y, p = np.asarray(label).astype(bool), np.asarray(risk, dtype=np.float64)
    chosen = np.asarray(thresholds, dtype=np.float64).tolist()
    worth = {str(t): np.where(y, 1.0, -t / (1 - t)) for t in chosen}
    every = np.ones(len(y))
    of = shares({str(t): (worth[str(t)] * (p >= t), every) for t in chosen}, patient, repeats=repeats)
    return [(t, of[str(t)], float(worth[str(t)].mean()), *of[f"{t}_ci"]) for t in chosen]


def roc(label: ArrayLike, risk: ArrayLike, most: int = 200) -> Points:
    """(false positive rate, sensitivity) from (0, 0) to (1, 1), thinned to about `most` points."""
    true, false = _counts(label, risk)
    return _thin(np.r_[0.0, false / max(false[-1], 1)], np.r_[0.0, true / max(true[-1], 1)], most)


def precision_recall(label: ArrayLike, risk: ArrayLike, most: int = 200) -> Points:
    """(recall, precision) from the highest threshold down, thinned to about `most` points."""
    true, false = _counts(label, risk)
    return _thin(true / max(true[-1], 1), true / (true + false), most)


def _counts(label: ArrayLike, risk: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, p = np.asarray(label).astype(bool), np.asarray(risk, dtype=np.float64)
    order = np.argsort(-p, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
    true = np.cumsum(y[order])[ends].astype(np.float64)
    return true, ends + 1 - true


def _thin(x: NDArray[np.float64], y: NDArray[np.float64], most: int) -> Points:
    """About `most` points, evenly spaced along the curve: a steep beginning keeps as many as a flat end."""
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], most)))
    return [(float(a), float(b)) for a, b in zip(x[kept], y[kept], strict=True)]
