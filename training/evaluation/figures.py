"""Everything that is reported about a set of scores, as one JSON-ready value."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation import curves
from training.evaluation.alerts import alert_burden
from training.evaluation.metrics import (
    METRICS,
    auprc,
    auroc,
    bootstrap,
    interval,
    paired,
    resamples,
    shares,
    summary,
)
from training.evaluation.reasons import LEAST_PATIENTS, judged, reasons
from training.evaluation.scored import Float, Scores
from training.evaluation.utility import best_utilities, gains
from training.progress import progress

RANKING = {"auroc": auroc, "auprc": auprc}
IN_GROUPS = {name: METRICS[name] for name in ("auroc", "auprc", "calibration_intercept")}

MANY_ROWS = 5_000
"""From so many rows on a fifth of the bootstrap draws is enough (a tenth beside controls and in subgroups): the
intervals are narrow, and a draw is slow."""


def evaluate_scores(scores: Scores, *, repeats: int = 1000) -> dict[str, Any]:
    """The report's content: headline figures with intervals, controls, alerts, subgroups, curves.

    Keys as in the project's contract: `n_patients`, `utility`, `auroc`, `auprc`, `min_se_ppv`, `brier`,
    `calibration_slope`, `calibration_intercept`, each with `..._ci`; what cannot be worked out is NaN or None, and
    `reasons` says why. Every key is described in docs/report.md. Raises ValueError when there is no row.
    """
    if not len(scores.label):
        raise ValueError("no patient of the data set could be asked about")
    names, number = np.unique(scores.patient, return_inverse=True)
    scores = replace(scores, patient=number)  # numbers compare faster than names
    draws, fewer = _draws(scores, len(names), repeats)
    found: dict[str, Any] = {"task": scores.task, "model": scores.model, "bootstrap_draws": draws}
    found |= summary(scores.label, scores.risk, scores.patient, repeats=draws)
    found |= {"n_patients_positive": len(np.unique(number[scores.label])), "n_unlabelled": scores.unlabelled}
    found |= _shares(scores, draws)
    if scores.hourly and scores.threshold is not None:
        called = scores.risk >= scores.threshold
        found["alerts"] = alert_burden(scores.label, called, scores.hours, scores.patient, repeats=draws)
    found["controls"] = _controls(scores, fewer)
    found["subgroups"] = subgroups(scores, fewer)
    found["curves"] = {
        "reliability": curves.reliability(scores.label, scores.risk, scores.patient, repeats=draws),
        "roc": curves.roc(scores.label, scores.risk),
        "precision_recall": curves.precision_recall(scores.label, scores.risk),
        "decision": curves.decision_curve(
            scores.label, scores.risk, scores.patient, _thresholds(scores), repeats=draws
        ),
    }
    return {**found, "reasons": reasons(found, scores)}


def _draws(scores: Scores, patients: int, repeats: int) -> tuple[int, int]:
    """Bootstrap draws of the figures, and of controls and subgroups; none where patients are too few to be drawn."""
    if patients < LEAST_PATIENTS:
        return 0, 0
    many = len(scores.label) >= MANY_ROWS
    return (max(50, repeats // 5), max(50, repeats // 10)) if many else (repeats, repeats)


def _shares(scores: Scores, draws: int) -> dict[str, Any]:
    """Prevalence; what holds at the shipped threshold; the utility there; what the band withholds and covers."""
    y, risk, every = scores.label, scores.risk, np.ones(len(scores.label))
    of_whom: dict[str, tuple[Any, Any]] = {"prevalence": (y, every)}
    found: dict[str, Any] = {"threshold": scores.threshold, "utility": None, "utility_ci": None}
    if scores.threshold is not None:
        of_whom |= _at_threshold(y, risk >= scores.threshold)
        if scores.hourly:
            gain, possible = gains(y, scores.patient)
            of_whom["utility"] = (gain * (risk >= scores.threshold), possible)
    if scores.band is not None:
        low, high = scores.band
        of_whom["indeterminate_share"] = ((risk > low) & (risk < high), every)
        of_whom["coverage_positive"] = ((risk >= low) & y, y)
        of_whom["coverage_negative"] = ((risk <= high) & ~y, ~y)
    return found | shares(of_whom, scores.patient, repeats=draws)


def _at_threshold(y: NDArray[np.bool_], called: NDArray[np.bool_]) -> dict[str, tuple[Any, Any]]:
    return {
        "sensitivity": (called & y, y),
        "specificity": (~called & ~y, ~y),
        "ppv": (called & y, called),
        "alert_share": (called, np.ones(len(y))),
    }


def _controls(scores: Scores, draws: int) -> dict[str, Any]:
    """Figures of each control on the patients that have it, and by how much the model is better there.

    A control that is the same for all, or asked about one class alone, is left out. For hourly tasks the utility of the
    control is that of the threshold that suits it best, chosen in hindsight; the model's is that of its own threshold.
    """
    found: dict[str, Any] = {}
    for name, control in progress(scores.controls.items(), "against controls", total=len(scores.controls)):
        known = np.isfinite(control)
        y, risk, patient, of_control = scores.label[known], scores.risk[known], scores.patient[known], control[known]
        if not known.any() or y.all() or not y.any() or np.ptp(of_control) == 0:
            continue
        row: dict[str, Any] = {"n": int(known.sum()), "n_patients": len(np.unique(patient))}
        both = paired(RANKING, y, risk, of_control, patient, repeats=draws)
        for n, metric in enumerate(RANKING):
            row |= _compared(metric, both[:, 0, n], both[:, 1, n])
        if scores.hourly and scores.threshold is not None:
            model, hindsight = _utilities(y, risk >= scores.threshold, of_control, patient, draws)
            row |= _compared("utility", model, hindsight)
        found[name] = row
    return found


def _utilities(
    y: NDArray[np.bool_], called: NDArray[np.bool_], control: Float, patient: NDArray[Any], draws: int
) -> tuple[Float, Float]:
    """Utility of the calls and best utility of the control: over all rows, then over each draw."""

    def weights() -> Iterator[Float]:
        return chain([np.ones(len(y))], resamples(patient, draws, seed=0))

    gain, possible = gains(y, patient)
    sums = np.array([[weight @ (gain * called), weight @ possible] for weight in weights()])
    model = np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)
    return model, best_utilities(gain, possible, control, weights())


def _compared(metric: str, model: Float, control: Float) -> dict[str, Any]:
    """The control's figure and the model's gain over it, with intervals; the first value of each is over all rows."""
    gain = model - control
    return {
        metric: float(control[0]),
        f"{metric}_ci": interval(control[1:]),
        f"model_{metric}_minus": float(gain[0]),
        f"model_{metric}_minus_ci": interval(gain[1:]),
    }


def subgroups(scores: Scores, draws: int) -> list[dict[str, Any]]:
    """Numbers and figures of each value of each of `scores.groups`, with intervals by so many draws of patients."""
    return [
        {"variable": variable, "value": value, **_subgroup(scores, values == value, draws)}
        for variable, values in progress(scores.groups.items(), "subgroups", total=len(scores.groups))
        for value in sorted(set(values), key=lambda name: name.lstrip("<"))
    ]


def _subgroup(scores: Scores, inside: NDArray[np.bool_], draws: int) -> dict[str, Any]:
    """Numbers of one subgroup, and its figures where enough patients have the event and enough do not."""
    y, risk, patient = scores.label[inside], scores.risk[inside], scores.patient[inside]
    with_event, without = len(np.unique(patient[y])), len(np.unique(patient[~y]))
    row: dict[str, Any] = {
        "n": len(y),
        "n_positive": int(y.sum()),
        "n_patients": len(np.unique(patient)),
        "n_patients_positive": with_event,
        "judged": judged(with_event, without),
    }
    every = np.ones(len(y))
    of_whom: dict[str, tuple[Any, Any]] = {"prevalence": (y, every), "mean_risk": (risk, every)}
    if row["judged"] and scores.threshold is not None:
        of_whom |= _at_threshold(y, risk >= scores.threshold)
    row |= shares(of_whom, patient, repeats=draws if row["n_patients"] >= LEAST_PATIENTS else 0)
    if row["judged"]:
        intervals = bootstrap(IN_GROUPS, y, risk, patient, repeats=draws)
        for name, metric in IN_GROUPS.items():
            row[name], row[f"{name}_ci"] = metric(y, risk), intervals[name]
    return row


def _thresholds(scores: Scores) -> Float:
    """Where a decision curve is of interest: up to well beyond the prevalence."""
    top = min(0.9, max(0.1, 5 * float(scores.label.mean())))
    return np.linspace(0.005, top, 40)
