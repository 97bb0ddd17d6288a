"""How well risks agree with what happened: discrimination and calibration, for the live monitor (numpy alone)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve: the Mann-Whitney statistic with ties counted half (Hanley & McNeil 1982).

    `labels` 0/1 and `scores`, both of shape [n]. None when one of the classes is absent.
    """
    y, s = np.asarray(labels, bool), np.asarray(scores, float)
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        return None
    ranks = _mid_ranks(s)
    return float((ranks[y].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _mid_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middles = ends - (counts - 1) / 2
    return np.asarray(middles[inverse], float)


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Mean squared error of the probabilities (Brier 1950); None without any."""
    y, p = np.asarray(labels, float), np.asarray(probabilities, float)
    return float(np.mean((p - y) ** 2)) if len(y) else None


def calibration(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, float] | None:
    """Calibration slope and intercept: the logistic regression of the labels on logit(p) (Cox 1958).

    (1, 0) is perfect; a slope below 1 means risks too extreme. None when a class is absent or the fit diverges.
    """
    y, p = np.asarray(labels, float), np.clip(np.asarray(probabilities, float), 1e-6, 1 - 1e-6)
    if not len(y) or y.min() == y.max():
        return None
    x = np.column_stack([np.log(p / (1 - p)), np.ones(len(p))])
    if np.ptp(x[:, 0]) < 1e-9:
        return None
    beta = np.array([1.0, 0.0])
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        information = x.T @ (x * (fitted * (1 - fitted))[:, None])
        try:
            change = np.linalg.solve(information, x.T @ (y - fitted))
        except np.linalg.LinAlgError:
            return None
        beta = beta + change
        if np.abs(change).max() < 1e-8:
            return float(beta[0]), float(beta[1])
    return None


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> list[tuple[float, float, int]]:
    """The reliability curve: (mean probability, observed share, number) of each quantile bin that holds any."""
    y, p = np.asarray(labels, float), np.asarray(probabilities, float)
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [(float(p[part].mean()), float(y[part].mean()), len(part)) for part in parts]
