"""Figures of merit of a risk, with bootstrap intervals by patient. Numpy only; scikit-learn is the tests' yardstick.

Labels are 0/1 or bool [N], risks float [N] in [0, 1].
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, update_wrapper
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

EPSILON = 1e-7
"""Risks are kept this far from 0 and 1 where their logit is taken."""

LEAST_DEFINED = 0.95
"""Share of the draws that must have a figure for it to have an interval: the rest alone would be too sure of itself."""


class Ranked:
    """Labels and risks [N] from the highest risk down: ordered once, whatever number of bootstrap draws follows."""

    def __init__(self, label: ArrayLike, risk: ArrayLike) -> None:
        y, p = np.asarray(label).astype(bool), np.asarray(risk, dtype=np.float64)
        if y.shape != p.shape or y.ndim != 1:
            raise ValueError(f"labels {y.shape} and risks {p.shape} must be vectors of one length")
        self.order = np.argsort(-p, kind="stable")
        self.label, self.risk = y[self.order], p[self.order]
        self.ends = np.append(np.flatnonzero(np.diff(self.risk)), len(p) - 1) if len(p) else np.zeros(0, np.intp)
        """The last row of each distinct risk."""

    @cached_property
    def squared_error(self) -> Float:
        return np.asarray((self.risk - self.label) ** 2)

    @cached_property
    def logit(self) -> Float:
        kept = np.clip(self.risk, EPSILON, 1 - EPSILON)
        return np.asarray(np.log(kept / (1 - kept)))

    @cached_property
    def line(self) -> Float:
        """[slope, intercept] of the label on the logit over all rows: where the fits of the draws begin."""
        return _line(self, np.ones(len(self.label)), np.zeros(2))

    @cached_property
    def constant(self) -> Float:
        """[intercept] with the logit as offset over all rows."""
        return _constant(self, np.ones(len(self.label)), np.zeros(1))


class Draw:
    """Rows with how often each was drawn [N], in the order of the rows given to `Ranked`; once each by default."""

    def __init__(self, rows: Ranked, weight: Float | None = None) -> None:
        self.rows = rows
        self.weight = np.ones(len(rows.label)) if weight is None else weight[rows.order]

    @cached_property
    def called(self) -> tuple[Float, Float]:
        """True and false positives at each distinct threshold, from the highest down."""
        true = np.cumsum(self.weight * self.rows.label)[self.rows.ends]
        return true, np.cumsum(self.weight)[self.rows.ends] - true

    @property
    def positives(self) -> float:
        return float(self.called[0][-1]) if len(self.rows.ends) else 0.0

    @property
    def negatives(self) -> float:
        return float(self.called[1][-1]) if len(self.rows.ends) else 0.0


class Metric:
    """A figure of merit: of labels and risks when called, of a draw for the bootstrap."""

    __name__: str

    def __init__(self, of_draw: Callable[[Draw], float]) -> None:
        self.of_draw = of_draw
        update_wrapper(self, of_draw)

    def __call__(self, label: ArrayLike, risk: ArrayLike) -> float:
        return self.of_draw(Draw(Ranked(label, risk)))


@Metric
def auroc(draw: Draw) -> float:
    """Area under the ROC curve (Mann-Whitney, ties count half); NaN when one class is missing."""
    if not draw.positives or not draw.negatives:
        return float("nan")
    true, false = draw.called
    below = true - np.diff(true, prepend=0.0) / 2
    return float(np.diff(false, prepend=0.0) @ below / (draw.positives * draw.negatives))


@Metric
def auprc(draw: Draw) -> float:
    """Average precision (step-wise area under precision-recall); a risk that knows nothing gets the prevalence."""
    if not draw.positives:
        return float("nan")
    true, false = draw.called
    return float(np.diff(true, prepend=0.0) @ _share(true, true + false) / draw.positives)


@Metric
def min_se_ppv(draw: Draw) -> float:
    """Largest min(sensitivity, positive predictive value) over all thresholds (CinC 2012, event 1)."""
    if not draw.positives:
        return float("nan")
    true, false = draw.called
    return float(np.max(np.minimum(true / draw.positives, _share(true, true + false))))


@Metric
def brier(draw: Draw) -> float:
    """Mean squared error of the probability (Brier 1950)."""
    total = draw.weight.sum()
    return float(draw.weight @ draw.rows.squared_error / total) if total else float("nan")


@Metric
def calibration_slope(draw: Draw) -> float:
    """Slope of the logistic regression of the label on the risk's logit: 1 is right, below 1 too extreme (Cox 1958)."""
    if not draw.positives or not draw.negatives:
        return float("nan")
    return float(_line(draw.rows, draw.weight, draw.rows.line)[0])


@Metric
def calibration_intercept(draw: Draw) -> float:
    """Calibration in the large: intercept with the logit as offset; 0 is right, above 0 the risks are too low."""
    if not draw.positives or not draw.negatives:
        return float("nan")
    return float(_constant(draw.rows, draw.weight, draw.rows.constant)[0])


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
    y = np.asarray(label).astype(bool)
    found: dict[str, Any] = {
        "n": len(y),
        "n_patients": len(np.unique(np.asarray(patient))),
        "n_positive": int(y.sum()),
        "prevalence": float(y.mean()) if len(y) else float("nan"),
    }
    intervals = bootstrap(METRICS, y, risk, patient, repeats=repeats, seed=seed)
    whole = Draw(Ranked(y, risk))
    for name, metric in METRICS.items():
        found[name], found[f"{name}_ci"] = metric.of_draw(whole), intervals[name]
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
    rows = Ranked(label, risk)
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for weight in resamples(patient, repeats, seed):
        draw = Draw(rows, weight)
        for name, metric in metrics.items():
            values[name].append(metric.of_draw(draw))
    return {name: interval(found, level) for name, found in values.items()}


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
    found = paired_differences({"": metric}, label, first, second, patient, repeats=repeats, level=level, seed=seed)
    return found[""]


def paired_differences(
    metrics: Mapping[str, Metric],
    label: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    patient: ArrayLike,
    *,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, list[float]]]:
    """The difference and its interval of several metrics, from the same draws."""
    both = paired(metrics, label, first, second, patient, repeats=repeats, seed=seed)
    gain = both[:, 0] - both[:, 1]
    return {name: (float(gain[0, n]), interval(gain[1:, n], level)) for n, name in enumerate(metrics)}


def paired(
    metrics: Mapping[str, Metric],
    label: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    patient: ArrayLike,
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> Float:
    """float64 [1 + repeats, 2, metrics] of two risks: over all rows, then over each draw of patients."""
    pair = Ranked(label, first), Ranked(label, second)
    weights: Iterable[Float | None] = chain([None], resamples(patient, repeats, seed))
    return np.array([[[m.of_draw(Draw(rows, w)) for m in metrics.values()] for rows in pair] for w in weights])


def shares(
    of_whom: Mapping[str, tuple[ArrayLike, ArrayLike]], patient: ArrayLike, *, repeats: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """sum(part) / sum(whole) of each pair of rows [N], as `name`, with its 95 % interval by patient, as `name_ci`."""
    names, number = np.unique(np.asarray(patient), return_inverse=True)
    weights = np.stack([np.ones(len(names)), *resamples(names, repeats, seed)])
    found: dict[str, Any] = {}
    for name, rows in of_whom.items():
        part, whole = (weights @ np.bincount(number, np.asarray(r, np.float64), len(names)) for r in rows)
        values = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
        found[name], found[f"{name}_ci"] = float(values[0]), interval(values[1:])
    return found


def resamples(patient: ArrayLike, repeats: int, seed: int) -> Iterator[Float]:
    """How often each row is in each of `repeats` bootstrap samples of whole patients: float64 [N] each."""
    names, number = np.unique(np.asarray(patient), return_inverse=True)
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        drawn = rng.integers(0, len(names), len(names))
        yield np.bincount(drawn, minlength=len(names)).astype(np.float64)[number]


def interval(values: ArrayLike, level: float = 0.95) -> list[float]:
    """[low, high] percentiles of the draws; NaN when the figure exists in fewer than LEAST_DEFINED of them."""
    drawn = np.asarray(values, dtype=np.float64)
    finite = drawn[np.isfinite(drawn)]
    if not len(drawn) or len(finite) < LEAST_DEFINED * len(drawn):
        return [float("nan"), float("nan")]
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def calibration(label: ArrayLike, risk: ArrayLike) -> tuple[float, float]:
    """(slope, intercept in the large); NaN when one class is missing."""
    return calibration_slope(label, risk), calibration_intercept(label, risk)


def _share(part: Float, whole: Float) -> Float:
    """part / whole, 0 where nothing was called yet (the first rows of a draw may have no weight)."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _line(rows: Ranked, weight: Float, start: Float) -> Float:
    design = np.vstack([rows.logit, np.ones(len(weight))])
    return _newton(design, rows.label, np.zeros(len(weight)), weight, start)


def _constant(rows: Ranked, weight: Float, start: Float) -> Float:
    return _newton(np.ones((1, len(weight))), rows.label, rows.logit, weight, start)


def _newton(design: Float, y: NDArray[np.bool_], offset: Float, weight: Float, start: Float, steps: int = 50) -> Float:
    """Maximum likelihood logistic coefficients (Newton-Raphson, a trace of ridge against separation)."""
    beta = start
    for _ in range(steps):
        mean = 1 / (1 + np.exp(-np.clip(beta @ design + offset, -30, 30)))
        gradient = design @ (weight * (y - mean)) - 1e-9 * beta
        hessian = (design * (weight * mean * (1 - mean))) @ design.T + 1e-9 * np.eye(len(beta))
        step = np.clip(np.linalg.solve(hessian, gradient), -5, 5)
        beta = beta + step
        if np.max(np.abs(step)) < 1e-5:  # errors square with each step: what is left is below 1e-9
            break
    return beta
