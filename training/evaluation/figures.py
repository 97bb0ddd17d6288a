"""Everything that is reported about a set of scores, as one JSON-ready value."""

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
    paired_differences,
    resamples,
    summary,
)
from training.evaluation.scored import Float, Scores
from training.evaluation.utility import best_utility, utility_with_interval
from training.progress import progress

RANKING = {"auroc": auroc, "auprc": auprc}

MANY_ROWS = 15_000
"""From so many rows on a fifth of the bootstrap draws is enough (a tenth beside controls and in subgroups): the
intervals are narrow, and a draw is slow."""

LEAST_IN_GROUP = 10
"""Events, and non-events, below which a subgroup's figures are not computed: they would say nothing."""


def evaluate_scores(scores: Scores, *, repeats: int = 1000) -> dict[str, Any]:
    """The report's content: headline figures with intervals, controls, alerts, subgroups, curves.

    Keys as in the project's contract: `n_patients`, `utility`, `auroc`, `auprc`, `min_se_ppv`, `brier`,
    `calibration_slope`, `calibration_intercept`, each with `..._ci`; `utility` is None for tasks that have none.
    """
    if not len(scores.label):
        raise ValueError("no patient of the data set could be asked about")
    many = len(scores.label) >= MANY_ROWS
    draws, fewer = (max(50, repeats // 5), max(50, repeats // 10)) if many else (repeats, repeats)
    found: dict[str, Any] = {"task": scores.task, "model": scores.model}
    found |= summary(scores.label, scores.risk, scores.patient, repeats=draws)
    found |= _thresholded(scores, draws)
    found |= _withheld(scores)
    found["controls"] = _controls(scores, fewer)
    found["subgroups"] = _subgroups(scores, fewer)
    found["curves"] = {
        "reliability": curves.reliability(scores.label, scores.risk),
        "roc": curves.roc(scores.label, scores.risk),
        "precision_recall": curves.precision_recall(scores.label, scores.risk),
        "decision": curves.decision_curve(scores.label, scores.risk, _thresholds(scores)),
    }
    return found


def _thresholded(scores: Scores, draws: int) -> dict[str, Any]:
    """What holds at the shipped threshold, which was chosen on other patients."""
    if scores.threshold is None:
        return {"threshold": None, "utility": None, "utility_ci": None}
    called = scores.risk >= scores.threshold
    found: dict[str, Any] = {"threshold": scores.threshold, "utility": None, "utility_ci": None}
    found |= _shares(scores, called, draws)
    if scores.hourly:
        found["utility"], found["utility_ci"] = utility_with_interval(
            scores.label, called, scores.patient, repeats=draws
        )
        found["alerts"] = alert_burden(scores.label, called, scores.hours, scores.patient, repeats=draws)
    return found


def _shares(scores: Scores, called: NDArray[np.bool_], draws: int) -> dict[str, Any]:
    """Sensitivity, specificity, predictive value and share of calls (of rows), each with its interval by patient."""
    y = scores.label
    of_whom = {
        "sensitivity": (called & y, y),
        "specificity": (~called & ~y, ~y),
        "ppv": (called & y, called),
        "alert_share": (called, np.ones_like(y)),
    }
    names, number = np.unique(scores.patient, return_inverse=True)
    weights = np.stack([np.ones(len(names)), *resamples(names, draws, seed=0)])
    found: dict[str, Any] = {}
    for name, (hit, among) in of_whom.items():
        part, whole = (weights @ np.bincount(number, rows, len(names)) for rows in (hit, among))
        shares = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
        found[name], found[f"{name}_ci"] = float(shares[0]), interval(shares[1:])
    return found


def _withheld(scores: Scores) -> dict[str, Any]:
    """Share of the scores that lie in the indeterminate band, and what part of each class its conformal set covers."""
    if scores.band is None:
        return {}
    (low, high), y, risk = scores.band, scores.label, scores.risk
    return {
        "indeterminate_share": float(((risk > low) & (risk < high)).mean()),
        "coverage_positive": float((risk[y] >= low).mean()) if y.any() else float("nan"),
        "coverage_negative": float((risk[~y] <= high).mean()) if not y.all() else float("nan"),
    }


def _controls(scores: Scores, draws: int) -> dict[str, Any]:
    """AUROC and AUPRC of each control on the patients that have it, and by how much the model is better there.

    For hourly tasks also the utility at the threshold that suits the control best, chosen in hindsight.
    """
    found: dict[str, Any] = {}
    for name, control in progress(scores.controls.items(), "against controls", total=len(scores.controls)):
        known = np.isfinite(control)
        y, risk, patient = scores.label[known], scores.risk[known], scores.patient[known]
        if not known.any() or y.all() or not y.any() or np.ptp(control[known]) == 0:
            continue
        row: dict[str, Any] = {"n": int(known.sum())}
        for metric, (gain, gain_ci) in paired_differences(
            RANKING, y, risk, control[known], patient, repeats=draws
        ).items():
            row[metric] = RANKING[metric](y, control[known])
            row[f"model_{metric}_minus"], row[f"model_{metric}_minus_ci"] = gain, gain_ci
        if scores.hourly:
            row["best_utility"] = best_utility(y, control[known], patient)
        found[name] = row
    return found


def _subgroups(scores: Scores, draws: int) -> list[dict[str, Any]]:
    rows = []
    for variable, values in progress(scores.groups.items(), "subgroups", total=len(scores.groups)):
        for value in sorted({str(v) for v in values}):
            inside = np.asarray([str(v) == value for v in values])
            y, risk = scores.label[inside], scores.risk[inside]
            row: dict[str, Any] = {
                "variable": variable,
                "value": value,
                "n": len(y),
                "n_positive": int(y.sum()),
                "prevalence": float(y.mean()),
                "mean_risk": float(risk.mean()),
            }
            if min(int(y.sum()), int((~y).sum())) >= LEAST_IN_GROUP:
                wanted = {name: METRICS[name] for name in ("auroc", "auprc", "calibration_intercept")}
                intervals = bootstrap(wanted, y, risk, scores.patient[inside], repeats=draws)
                for name, metric in wanted.items():
                    row[name], row[f"{name}_ci"] = metric(y, risk), intervals[name]
            rows.append(row)
    return rows


def _thresholds(scores: Scores) -> Float:
    """Where a decision curve is of interest: up to well beyond the prevalence."""
    top = min(0.9, max(0.1, 5 * float(scores.label.mean())))
    return np.linspace(0.005, top, 40)
