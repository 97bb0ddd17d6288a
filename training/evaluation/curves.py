"""Curves of a risk: reliability, ROC, precision-recall, and decision curve (net benefit)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = list[tuple[float, float]]


def reliability(label: ArrayLike, risk: ArrayLike, bins: int = 10) -> list[tuple[float, float, int]]:
    """(mean risk, observed share, rows) of each quantile bin; rows with equal risks stay in one bin."""
    y, p = np.asarray(label).astype(float), np.asarray(risk, dtype=np.float64)
    if not len(y):
        return []
    edges = np.unique(np.quantile(p, np.arange(1, bins) / bins))
    place = np.searchsorted(edges, p, side="right")
    parts = [place == n for n in range(len(edges) + 1)]
    return [(float(p[part].mean()), float(y[part].mean()), int(part.sum())) for part in parts if part.any()]


def decision_curve(label: ArrayLike, risk: ArrayLike, thresholds: ArrayLike) -> list[tuple[float, float, float]]:
    """(threshold, net benefit of the risk, net benefit of treating all); treating none has 0.

    Net benefit = TP/n - FP/n * t/(1 - t) (Vickers and Elkin, Med Decis Making 26:565, 2006).
    """
    y, p = np.asarray(label).astype(bool), np.asarray(risk, dtype=np.float64)
    found = []
    for t in np.asarray(thresholds, dtype=np.float64).tolist():
        odds, called = t / (1 - t), p >= t
        model = float((called & y).mean() - (called & ~y).mean() * odds)
        found.append((t, model, float(y.mean() - (1 - y.mean()) * odds)))
    return found


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
