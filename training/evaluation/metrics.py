"""Figures of merit of a risk, with bootstrap intervals by patient. Numpy only; scikit-learn is the tests' yardstick.

Labels are 0/1 or bool [N], risks float [N] in [0, 1].
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Metric = Callable[[NDArray[np.bool_], Float], float]

EPSILON = 1e-7
"""Risks are kept this far from 0 and 1 where their logit is taken."""


def auroc(label: ArrayLike, risk: ArrayLike) -> float:
    """Area under the ROC curve (Mann-Whitney, ties count half); NaN when one class is missing."""
    y, p = _pair(label, risk)
    positives = int(y.sum())
    negatives = len(y) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = _average_ranks(p)
    return float((ranks[y].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auprc(label: ArrayLike, risk: ArrayLike) -> float:
    """Average precision (step-wise area under precision-recall); a risk that knows nothing gets the prevalence."""
    y, p = _pair(label, risk)
    if not y.any():
        return float("nan")
    true, called = _cumulative(y, p)
    recall = true / true[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * true / called))


def min_se_ppv(label: ArrayLike, risk: ArrayLike) -> float:
    """Largest min(sensitivity, positive predictive value) over all thresholds (CinC 2012, event 1)."""
    y, p = _pair(label, risk)
    if not y.any():
        return float("nan")
    true, called = _cumulative(y, p)
    return float(np.max(np.minimum(true / true[-1], true / called)))


def brier(label: ArrayLike, risk: ArrayLike) -> float:
    """Mean squared error of the probability (Brier 1950)."""
    y, p = _pair(label, risk)
    return float(np.mean((p - y) ** 2)) if len(y) else float("nan")


def calibration_slope(label: ArrayLike, risk: ArrayLike) -> float:
    """Slope of the logistic regression of the label on the risk's logit: 1 is right, below 1 too extreme (Cox 1958)."""
    return calibration(label, risk)[0]


def calibration_intercept(label: ArrayLike, risk: ArrayLike) -> float:
    """Calibration in the large: intercept with the logit as offset; 0 is right, above 0 the risks are too low."""
    return calibration(label, risk)[1]


def calibration(label: ArrayLike, risk: ArrayLike) -> tuple[float, float]:
    """(slope, intercept in the large); NaN when one class is missing."""
    y, p = _pair(label, risk)
    if y.all() or not y.any():
        return float("nan"), float("nan")
    logit = _logit(p)
    slope = _newton(np.column_stack([logit, np.ones_like(logit)]), y, np.zeros_like(logit))[0]
    intercept = _newton(np.ones((len(y), 1)), y, logit)[0]
    return float(slope), float(intercept)


METRICS: Mapping[str, Metric] = {
    "auroc": auroc,
    "auprc": auprc,
    "min_se_ppv": min_se_ppv,
    "brier": brier,
    "calibration_slope": calibration_slope,
    "calibration_intercept": calibration_intercept,
}


def summary(
    label: ArrayLike, risk: ArrayLike, patient: ArrayLike, *, repeats: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """All of METRICS with a 95 % interval each (`auroc`, `auroc_ci`...), numbers of rows and patients, prevalence."""
    y, p = _pair(label, risk)
    patients = np.asarray(patient)
    found: dict[str, Any] = {
        "n": len(y),
        "n_patients": len(np.unique(patients)),
        "n_positive": int(y.sum()),
        "prevalence": float(y.mean()) if len(y) else float("nan"),
    }
    intervals = bootstrap(METRICS, y, p, patients, repeats=repeats, seed=seed)
    for name, metric in METRICS.items():
        found[name], found[f"{name}_ci"] = metric(y, p), intervals[name]
    return found


def bootstrap(
    metrics: Mapping[str, Metric],
    label: ArrayLike,
    risk: ArrayLike,
    patient: ArrayLike,
    *,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Percentile intervals [low, high]: whole patients are drawn with replacement, so rows of one stay together."""
    y, p = _pair(label, risk)
    draws: dict[str, list[float]] = {name: [] for name in metrics}
    for rows in resamples(patient, repeats, seed):
        for name, metric in metrics.items():
            draws[name].append(metric(y[rows], p[rows]))
    return {name: interval(values, level) for name, values in draws.items()}


def paired_difference(
    metric: Metric,
    label: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    patient: ArrayLike,
    *,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, list[float]]:
    """metric(first) - metric(second) on the same patients, and its bootstrap interval."""
    y, a = _pair(label, first)
    _, b = _pair(label, second)
    draws = [metric(y[rows], a[rows]) - metric(y[rows], b[rows]) for rows in resamples(patient, repeats, seed)]
    return metric(y, a) - metric(y, b), interval(draws, level)


def resamples(patient: ArrayLike, repeats: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Row numbers of `repeats` bootstrap samples of whole patients."""
    _, inverse = np.unique(np.asarray(patient), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    size = np.bincount(inverse)
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        drawn = rng.integers(0, len(size), len(size))
        lengths = size[drawn]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        yield order[np.repeat(start[drawn], lengths) + within]


def interval(values: ArrayLike, level: float = 0.95) -> list[float]:
    """[low, high] percentiles of the draws in which the figure exists; NaN when it exists in none."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return [float("nan"), float("nan")]
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def _pair(label: ArrayLike, risk: ArrayLike) -> tuple[NDArray[np.bool_], Float]:
    y, p = np.asarray(label).astype(bool), np.asarray(risk, dtype=np.float64)
    if y.shape != p.shape or y.ndim != 1:
        raise ValueError(f"labels {y.shape} and risks {p.shape} must be vectors of one length")
    return y, p


def _average_ranks(values: Float) -> Float:
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[inverse], dtype=np.float64)


def _cumulative(y: NDArray[np.bool_], p: Float) -> tuple[Float, Float]:
    """True positives and all calls at each distinct threshold, from the highest down."""
    order = np.argsort(-p, kind="stable")
    true = np.cumsum(y[order]).astype(np.float64)
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
    return true[ends], (ends + 1).astype(np.float64)


def _logit(p: Float) -> Float:
    kept = np.clip(p, EPSILON, 1 - EPSILON)
    return np.asarray(np.log(kept / (1 - kept)))


def _newton(design: Float, y: NDArray[np.bool_], offset: Float, steps: int = 50) -> Float:
    """Maximum likelihood logistic coefficients (Newton-Raphson, a trace of ridge against separation)."""
    beta = np.zeros(design.shape[1])
    for _ in range(steps):
        mean = 1 / (1 + np.exp(-np.clip(design @ beta + offset, -30, 30)))
        gradient = design.T @ (y - mean) - 1e-9 * beta
        hessian = (design * (mean * (1 - mean))[:, None]).T @ design + 1e-9 * np.eye(len(beta))
        step = np.linalg.solve(hessian, gradient)
        beta = beta + np.clip(step, -5, 5)
        if np.max(np.abs(step)) < 1e-9:
            break
    return beta
