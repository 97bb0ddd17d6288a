"""Everything that is reported about a set of scores, as one JSON-ready value."""

from typing import Any

import numpy as np

from training.evaluation import curves
from training.evaluation.alerts import alert_burden
from training.evaluation.metrics import METRICS, auprc, auroc, bootstrap, paired_difference, summary
from training.evaluation.scored import Float, Scores
from training.evaluation.utility import utility_with_interval

LEAST_IN_GROUP = 10
"""Events, and non-events, below which a subgroup's figures are not computed: they would say nothing."""


def evaluate_scores(scores: Scores, *, repeats: int = 1000) -> dict[str, Any]:
    """The report's content: headline figures with intervals, controls, alerts, subgroups, curves.

    Keys as in the project's contract: `n_patients`, `utility`, `auroc`, `auprc`, `min_se_ppv`, `brier`,
    `calibration_slope`, `calibration_intercept`, each with `..._ci`; `utility` is None for tasks that have none.
    """
    if not len(scores.label):
        raise ValueError("no patient of the data set could be asked about")
    # Half a million hourly rows make a draw slow and the interval narrow enough with fewer.
    draws = repeats if len(scores.label) < 50_000 else max(50, repeats // 5)
    found: dict[str, Any] = {"task": scores.task, "model": scores.model}
    found |= summary(scores.label, scores.risk, scores.patient, repeats=draws)
    found |= _thresholded(scores, repeats)
    found["controls"] = _controls(scores, draws if draws == repeats else max(50, draws // 4))
    found["subgroups"] = _subgroups(scores, max(50, draws // 4))
    found["curves"] = {
        "reliability": curves.reliability(scores.label, scores.risk),
        "roc": curves.roc(scores.label, scores.risk),
        "precision_recall": curves.precision_recall(scores.label, scores.risk),
        "decision": curves.decision_curve(scores.label, scores.risk, _thresholds(scores)),
    }
    return found


def _thresholded(scores: Scores, repeats: int) -> dict[str, Any]:
    """What holds at the shipped threshold, which was chosen on other patients."""
    if scores.threshold is None:
        return {"threshold": None, "utility": None, "utility_ci": None}
    called = scores.risk >= scores.threshold
    found: dict[str, Any] = {"threshold": scores.threshold, "alert_share": float(called.mean())}
    if scores.hourly:
        found["utility"], found["utility_ci"] = utility_with_interval(
            scores.label, called, scores.patient, repeats=repeats
        )
        found["alerts"] = alert_burden(scores.label, called, scores.hours, scores.patient)
    else:
        found["utility"] = found["utility_ci"] = None
        found["sensitivity"] = float(called[scores.label].mean()) if scores.label.any() else None
        found["specificity"] = float((~called[~scores.label]).mean()) if (~scores.label).any() else None
        found["ppv"] = float(scores.label[called].mean()) if called.any() else None
    return found


def _controls(scores: Scores, draws: int) -> dict[str, Any]:
    """AUROC and AUPRC of each control on the patients that have it, and by how much the model is better there."""
    found: dict[str, Any] = {}
    for name, control in scores.controls.items():
        known = np.isfinite(control)
        y, risk, patient = scores.label[known], scores.risk[known], scores.patient[known]
        if not known.any() or y.all() or not y.any() or np.ptp(control[known]) == 0:
            continue
        gain, gain_ci = paired_difference(auroc, y, risk, control[known], patient, repeats=draws)
        precision, precision_ci = paired_difference(auprc, y, risk, control[known], patient, repeats=draws)
        found[name] = {
            "n": int(known.sum()),
            "auroc": auroc(y, control[known]),
            "auprc": auprc(y, control[known]),
            "model_auroc_minus": gain,
            "model_auroc_minus_ci": gain_ci,
            "model_auprc_minus": precision,
            "model_auprc_minus_ci": precision_ci,
        }
    return found


def _subgroups(scores: Scores, draws: int) -> list[dict[str, Any]]:
    rows = []
    for variable, values in scores.groups.items():
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
