"""The figures of a run: every one from rows whose patients neither trained nor chose what is applied to them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.datasets.table import Table
from training.evaluation.figures import RANKING, subgroups
from training.evaluation.metrics import auprc, auroc, bootstrap, min_se_ppv, paired_differences, shares, summary
from training.evaluation.scored import Scores, common_groups
from training.fusion import calibrate
from training.fusion.choose import FULL, Gains, Judged, Tables
from training.fusion.controls import PLAIN
from training.fusion.fit import Fitted
from training.fusion.folds import FOLDS, row_folds
from training.fusion.transfer import Transferred

REPEATS = 200
"""Bootstrap samples of patients for an interval."""
GROUP_REPEATS = 50
"""Those for a subgroup's."""
PARTS = ("network", "trees")
GAINED = {**RANKING, "min_se_ppv": min_se_ppv}
"""What the model is compared with the plain one by; utility besides."""
Floats = NDArray[np.floating[Any]]


def figures(
    fitted: Fitted, tables: Tables, gains: Gains, controls: dict[str, dict[str, NDArray[np.float32]]]
) -> dict[str, Any]:
    """By 'outcome on data set': metrics with 95 % intervals by patient, seeds, parts and controls (by the same key)."""
    found: dict[str, Any] = {}
    for k, outcome in enumerate(fitted.outcomes):
        for name, table in tables.items():
            if outcome not in table.labels:
                continue
            key = f"{outcome} on {name}"
            rows = fitted.rows[key]
            one = Rows(table, outcome, rows, gains.get(name))
            row = one.judged(fitted.judged[name], k)
            row["subgroups"] = one.subgroups(fitted.judged[name], k)
            row["seeds"] = [one.plain(j[name].logit[rows, k], j[name].alert[rows, k]) for j in fitted.by_seed]
            parts = (fitted.parts.network[name][FULL], fitted.parts.trees[name][FULL])
            row["parts"] = {p: one.plain(s[rows, k], None) for p, s in zip(PARTS, parts, strict=True)}
            logit, alert = fitted.judged[name].logit[rows, k], fitted.judged[name].alert[rows, k]
            row["controls"] = {c: one.control(c, s[rows], logit, alert) for c, s in controls.get(key, {}).items()}
            found[key] = row
    return found


def transfer_figures(
    fitted: Fitted, table: Table, name: str, gain: NDArray[np.float64], outcome: str, found: dict[str, Transferred]
) -> dict[str, Any]:
    """By 'unit to unit': what the other unit's trees reach, and the whole model (out of fold) on the same patients."""
    k = fitted.outcomes.index(outcome)
    figures_by_pair = {}
    for pair, one in found.items():
        rows = Rows(table, outcome, one.rows, gain)
        judged = fitted.judged[name]
        figures_by_pair[pair] = {
            "n_patients": len(np.unique(table.stay[one.rows])),
            "transferred": rows.with_intervals(one.score, one.alert),
            "all units": rows.with_intervals(judged.logit[one.rows, k], judged.alert[one.rows, k]),
        }
    return figures_by_pair


class Rows:
    """The rows of one table that are asked about one outcome."""

    def __init__(self, table: Table, outcome: str, rows: NDArray[np.intp], gain: NDArray[np.float64] | None) -> None:
        self._rows = rows
        self._label = table.labels[outcome][rows] > 0.5
        self._stay = table.stay[rows]
        self._patient = np.array(table.patients, object)[self._stay] if gain is None else self._stay
        self._fold = row_folds(table)[rows]
        self._gain = None if gain is None else gain[rows]
        self._static = table.inputs["static"]
        self._told = {name: np.array(values, object)[self._stay] for name, values in table.subgroups.items()}

    def judged(self, judged: Judged, k: int) -> dict[str, Any]:
        """All figures of the model."""
        logit, alert = judged.logit[self._rows, k], judged.alert[self._rows, k]
        row = summary(self._label, calibrate.sigmoid(logit), self._patient, repeats=REPEATS)
        covered, every = judged.covered[self._rows, k], np.ones(len(alert), np.bool_)
        of_whom = {
            "alert_share": (alert, every),
            "abstained": (judged.abstained[self._rows, k], every),
            "covered_with": (covered & self._label, self._label),
            "covered_without": (covered & ~self._label, ~self._label),
        }
        row |= shares(of_whom, self._patient, repeats=REPEATS)
        if self._gain is not None:
            row["utility"], row["utility_ci"] = self._utility(self._gain * alert)
        folds = [self._fold == fold for fold in range(FOLDS)]
        for metric in (auroc, auprc):
            by_fold = [metric(self._label[here], logit[here]) for here in folds]
            row[f"{metric.__name__}_within_folds"] = float(np.nanmean(by_fold))
        return row

    def subgroups(self, judged: Judged, k: int) -> list[dict[str, Any]]:
        """By age, sex, unit and what the data set tells besides: numbers, discrimination, calibration."""
        _, first, place = np.unique(self._stay, return_index=True, return_inverse=True)
        by_stay = [common_groups(values) for values in np.asarray(self._static[self._rows[first]])]
        scores = Scores(
            task="",
            label=self._label,
            risk=calibrate.sigmoid(judged.logit[self._rows, k]),
            patient=np.unique(self._patient, return_inverse=True)[1],
            hours=np.zeros(len(self._rows)),
            groups={name: np.array([g[name] for g in by_stay], object)[place] for name in by_stay[0]} | self._told,
        )
        return subgroups(scores, GROUP_REPEATS)

    def plain(self, score: Floats, alert: NDArray[np.bool_] | None) -> dict[str, float]:
        """AUROC, AUPRC and, with alerts or by a threshold chosen on the other folds, utility."""
        row = {"auroc": auroc(self._label, score), "auprc": auprc(self._label, score)}
        if self._gain is not None:
            alert = self._alerts(score.astype(np.float64)) if alert is None else alert
            row["utility"] = float((self._gain * alert).sum() / np.maximum(self._gain, 0.0).sum())
        return row

    def with_intervals(self, score: Floats, alert: NDArray[np.bool_]) -> dict[str, Any]:
        """AUROC, AUPRC and utility, each with its interval."""
        row: dict[str, Any] = self.plain(score, alert)
        spread = bootstrap(RANKING, self._label, score, self._patient, repeats=REPEATS)
        row |= {f"{name}_ci": ends for name, ends in spread.items()}
        if self._gain is not None:
            row["utility_ci"] = self._utility(self._gain * alert)[1]
        return row

    def control(self, name: str, score: Floats, logit: Floats, alert: NDArray[np.bool_]) -> dict[str, Any]:
        """A control's figures and, of the plain model, what the model is better by (paired, with intervals)."""
        row: dict[str, Any] = self.plain(score, None)
        if name != PLAIN:
            return row
        gained = paired_differences(GAINED, self._label, logit, score, self._patient, repeats=REPEATS)
        for metric, (difference, ends) in gained.items():
            row[f"{metric}_gained"], row[f"{metric}_gained_ci"] = difference, ends
        if self._gain is not None:
            both = self._gain * alert - self._gain * self._alerts(score.astype(np.float64))
            row["utility_gained"], row["utility_gained_ci"] = self._utility(both)
        return row

    def _alerts(self, score: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Alerts at the best threshold of the other folds' patients."""
        assert self._gain is not None
        alert = np.zeros(len(score), np.bool_)
        for fold in range(FOLDS):
            here = self._fold == fold
            threshold = calibrate.gain_threshold(score[~here], self._gain[~here], self._stay[~here])
            alert[here] = score[here] >= threshold
        return alert

    def _utility(self, earned: NDArray[np.float64]) -> tuple[float, list[float]]:
        """Sum of what was earned, as a share of the best possible, and its bootstrap interval by patient."""
        assert self._gain is not None
        found = shares({"utility": (earned, np.maximum(self._gain, 0.0))}, self._patient, repeats=REPEATS)
        return found["utility"], found["utility_ci"]
