"""What evaluation reports: the keys of the contract, an HTML page that needs nothing else, and no NaN in the JSON."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.command import plain
from training.evaluation.figures import evaluate_scores
from training.evaluation.reasons import FEW, LEAST_PATIENTS
from training.evaluation.report import ALERTS, AT_THRESHOLD, WITHHELD, html_report, text_table
from training.evaluation.scored import Scores

KEYS = ("auroc", "auprc", "min_se_ppv", "brier", "calibration_slope", "calibration_intercept")


def scores(hourly: bool = True, patients: int = 60, hours: int = 24) -> Scores:
    rng = np.random.default_rng(0)
    septic = np.arange(patients) % 4 == 0
    label = np.concatenate([np.zeros(0, bool), *(np.arange(hours) >= (12 if s else 99) for s in septic)])
    n = len(label)
    risk = np.clip(rng.random(n) * 0.5 + label * 0.3, 0, 1)
    patient = np.repeat([f"p{i:03d}" for i in range(patients)], hours).astype(object)
    return Scores(
        task="sepsis-6h" if hourly else "mortality-48h",
        label=label,
        risk=risk,
        patient=patient,
        hours=np.tile(np.arange(hours, dtype=float), patients),
        groups={"sex": np.where(np.arange(n) // hours % 2 == 0, "male", "female").astype(object)},
        controls={"hours": np.tile(np.arange(hours, dtype=float), patients)},
        threshold=0.45,
        band=(0.2, 0.3),
        model={"name": "risk_fusion", "version": "1", "sha256": "00"},
        hourly=hourly,
    )


@pytest.mark.parametrize("hourly", [True, False])
def test_every_headline_figure_has_its_interval_beside_it(hourly: bool) -> None:
    found = evaluate_scores(scores(hourly), repeats=40)
    assert found["n_patients"] == 60
    for key in (*KEYS, *(["utility"] if hourly else [])):
        low, high = found[f"{key}_ci"]
        assert low <= found[key] <= high, key
    assert (found["utility"] is None) == (not hourly)


@pytest.mark.parametrize("hourly", [True, False])
def test_what_holds_at_the_shipped_threshold_has_intervals_and_what_is_withheld_is_told(hourly: bool) -> None:
    some = scores(hourly)
    found = evaluate_scores(some, repeats=40)
    called, y = some.risk >= 0.45, some.label
    assert found["ppv"] == pytest.approx(y[called].mean())
    assert found["sensitivity"] == pytest.approx(called[y].mean())
    assert found["specificity"] == pytest.approx((~called)[~y].mean())
    for key in (*AT_THRESHOLD, *WITHHELD, "prevalence"):
        low, high = found[f"{key}_ci"]
        assert low <= found[key] <= high, key
    assert found["indeterminate_share"] == pytest.approx(((some.risk > 0.2) & (some.risk < 0.3)).mean())
    assert found["coverage_positive"] == pytest.approx((some.risk[y] >= 0.2).mean())
    assert found["coverage_negative"] == pytest.approx((some.risk[~y] <= 0.3).mean())
    assert ("model_utility_minus" in found["controls"]["hours"]) == hourly


def test_the_json_has_no_nan_and_comes_back_the_same() -> None:
    found = plain(evaluate_scores(scores(), repeats=20))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_page_stands_alone_and_names_no_patient() -> None:
    page = html_report(plain(evaluate_scores(scores(), repeats=20)))
    assert page.count("<svg") == 4
    assert "http" not in page
    assert "<script" not in page
    assert "p001" not in page
    for word in ("utility", "reliability", "subgroups", "snooze", "sex: male"):
        assert word in page.lower()


def test_the_table_for_the_terminal_shows_figures_and_controls() -> None:
    table = text_table(plain(evaluate_scores(scores(), repeats=20)))
    assert "auroc" in table
    assert "  hours: AUROC" in table


def test_a_subgroup_with_few_events_is_counted_and_not_judged() -> None:
    some = scores()
    some.groups["unit"] = np.where(np.arange(len(some.label)) < 24 * 12, "small", "large").astype(object)
    rows = {row["value"]: row for row in evaluate_scores(some, repeats=20)["subgroups"] if row["variable"] == "unit"}
    small, large = rows["small"], rows["large"]
    assert (small["n_patients"], small["n_patients_positive"], small["n_positive"]) == (12, 3, 36)
    assert not small["judged"]  # 36 positive rows, and yet three patients
    assert "auroc" not in small
    for key in ("prevalence", "mean_risk", "auroc", "auprc", "calibration_intercept", "sensitivity", "ppv"):
        low, high = large[f"{key}_ci"]
        assert low <= large[key] <= high, key


def test_alerts_and_controls_have_intervals_too() -> None:
    found = evaluate_scores(scores(), repeats=60)
    for key in ALERTS:
        low, high = found["alerts"][f"{key}_ci"]
        assert low <= found["alerts"][key] <= high, key
    for row in found["controls"].values():
        for metric in ("auroc", "auprc", "utility"):
            for key in (metric, f"model_{metric}_minus"):
                low, high = row[f"{key}_ci"]
                assert low <= row[key] <= high, key
    assert found["controls"]["hours"]["model_utility_minus"] == pytest.approx(
        found["utility"] - found["controls"]["hours"]["utility"]
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 14), st.integers(1, 8), st.sampled_from([0.0, 0.1, 1.0]), st.booleans(), st.integers(0, 10_000))
def test_a_figure_is_there_or_the_report_says_why_and_is_json_and_a_page(
    patients: int, hours: int, share: float, hourly: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    n = patients * hours
    onset = np.where(rng.random(patients) < share, rng.integers(0, hours, patients), hours)
    some = scores(hourly, patients, hours)
    some.label = np.tile(np.arange(hours), patients) >= np.repeat(onset, hours)
    some.risk = np.round(rng.random(n), 1)
    found = plain(evaluate_scores(some, repeats=20))
    json.dumps(found, allow_nan=False)
    assert html_report(found).count("<svg") == 4
    told = text_table(found)
    for place, part in (("", found), ("alerts.", found.get("alerts", {}))):
        for name in (name for name in part if f"{name}_ci" in part):
            if part[name] is None:
                assert found["reasons"][place + name]
            elif part[f"{name}_ci"] == [None, None]:
                assert found["reasons"][f"{place}{name}_ci"]
    assert found["controls"].keys() | {"hours"} == found["controls"].keys() or "controls.hours" in found["reasons"]
    assert patients >= LEAST_PATIENTS or FEW in told
    assert "nan" not in told


def test_nobody_to_ask_about_is_an_error_and_not_a_table_of_nothing() -> None:
    empty = scores(patients=0)
    with pytest.raises(ValueError, match="no patient"):
        evaluate_scores(empty)
