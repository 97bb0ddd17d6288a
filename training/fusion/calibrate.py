"""Calibration, thresholds and the indeterminate band: everything that is chosen on validation data."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from training.evaluation.metrics import auprc, auroc

Array = NDArray[np.float64]


def platt(logit: Array, label: Array, rounds: int = 50, ridge: float = 1e-3) -> tuple[float, float]:
    """Slope and intercept that calibrate a logit (Platt 1999), by Newton's method; the slope is at least 0.05."""
    x = np.stack([logit, np.ones_like(logit)], 1)
    w = np.array([1.0, 0.0])
    for _ in range(rounds):
        p = sigmoid(x @ w)
        gradient = x.T @ (p - label) + ridge * (w - [1.0, 0.0])
        curvature = (x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        w = w - step
        if np.abs(step).max() < 1e-9:
            break
    return max(float(w[0]), 0.05), float(w[1])


def network_weight(data_sets: Sequence[Array], steps: int = 10) -> float:
    """Weight of the network's logits (the rest is the trees') whose mix ranks best: the largest mean of AUROC and AUPRC
    over the data sets, of equals the least network. A data set is [3, rows]: network, trees, label.

    AUROC alone is nearly flat between a third and two thirds of network, while those at highest risk, whom AUPRC sees,
    may be ranked worse. Calibration comes after; weights by cross-entropy would pay for the shape of the trees' scores,
    which need not be log-odds of the label.
    """
    shares = np.linspace(0, 1, steps + 1)

    def ranked(share: float) -> float:
        mixes = [(label, share * network + (1 - share) * trees) for network, trees, label in data_sets]
        return float(np.mean([metric(*mix) for mix in mixes for metric in (auroc, auprc)]))

    return float(max(shares, key=ranked))


def sigmoid(x: Array) -> Array:
    result: Array = expit(x)
    return result


def balanced_threshold(risk: Array, label: Array) -> float:
    """The threshold at which sensitivity and positive predictive value meet (the 2012 challenge's event 1)."""
    order = np.argsort(-risk, kind="stable")
    hits = np.cumsum(label[order])
    worst = np.minimum(hits / label.sum(), hits / np.arange(1, len(risk) + 1))
    return float(risk[order[int(worst.argmax())]])


def gain_threshold(risk: Array, gain: Array, stay: NDArray[np.int32], draws: int = 50, seed: int = 0) -> float:
    """The threshold at which the summed gain of alerting at or above it is largest (utility of the 2019 challenge).

    The mean over bootstrap samples of whole stays: the curve's highest point in a single sample is one of many
    jagged peaks, and on other patients does worse.
    """
    order = np.argsort(-risk, kind="stable")
    numbers, place = np.unique(stay, return_inverse=True)
    ordered, place = gain[order], place[order]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        times = np.bincount(rng.integers(0, len(numbers), len(numbers)), minlength=len(numbers))
        found.append(risk[order[int(np.cumsum(ordered * times[place]).argmax())]])
    return float(np.mean(found))


def conformal_ends(risk: Array, label: Array, coverage: float) -> tuple[float, float]:
    """Where the conformal sets of the two answers end, at this coverage of each class.

    Class-conditional split conformal prediction (Vovk 2012): the outcome is in the set of every risk from the
    (1 - coverage) quantile of those who have it upwards, its absence up to the coverage quantile of those who do not.
    """
    low = float(np.quantile(risk[label == 1], 1 - coverage, method="lower"))
    return low, float(np.quantile(risk[label == 0], coverage, method="higher"))


def indeterminate_band(ends: tuple[float, float]) -> tuple[float, float] | None:
    """The open interval of risks whose conformal set holds both answers; None when no risk has both in its set."""
    return ends if ends[0] < ends[1] else None
