"""The figures of a run are of the rows that they name, and compare models on the same patients."""

import json
from dataclasses import replace

import numpy as np
import pytest

from services.domain.features.static import STATIC
from tests.unit.training.support_fusion import table
from training.datasets.table import Table
from training.evaluation.command import plain
from training.evaluation.metrics import auprc, auroc, min_se_ppv
from training.evaluation.utility import gains, utility
from training.fusion import calibrate
from training.fusion.choose import Judged
from training.fusion.controls import PLAIN
from training.fusion.figures import Rows
from training.fusion.folds import row_folds
from training.fusion.network import OUTCOMES

SEPSIS = OUTCOMES[0]


def made(rows: int = 600, seed: int = 0) -> tuple[Table, np.ndarray, np.ndarray]:
    """A table of stays whose septic hours come last, the gain of alerts, and a score that knows something."""
    stays = table(rows, seed=seed)
    septic = np.isin(stays.stay, np.arange(0, 20, 3))
    late = np.r_[stays.stay[1:] != stays.stay[:-1], True]
    for _ in range(8):
        late |= np.r_[late[1:] & (stays.stay[1:] == stays.stay[:-1]), False]
    label = (septic & late).astype(np.float32)
    score = label + np.random.default_rng(seed).normal(size=rows)
    return replace(stays, labels={SEPSIS: label}), gains(label, stays.stay)[0], score


def test_the_utility_is_the_challenges_own() -> None:
    stays, gain, score = made()
    alert = score > 0.8
    one = Rows(stays, SEPSIS, np.arange(len(stays)), gain)
    assert one.plain(score, alert)["utility"] == pytest.approx(utility(stays.labels[SEPSIS], alert, stays.stay))


def test_only_the_rows_asked_about_count() -> None:
    stays, gain, score = made()
    half = np.flatnonzero(stays.stay < 10)
    other = np.where(stays.stay < 10, score, -score)
    found = [Rows(stays, SEPSIS, half, gain).with_intervals(s[half], s[half] > 0.8) for s in (score, other)]
    assert found[0] == found[1]
    assert found[0]["auroc"] == auroc(stays.labels[SEPSIS][half], score[half])
    assert found[0]["auroc_ci"][0] < found[0]["auroc"] < found[0]["auroc_ci"][1]


def test_the_model_is_compared_with_plain_boosting_on_the_same_patients() -> None:
    stays, gain, score = made()
    noise = np.random.default_rng(5).normal(size=len(score))
    one = Rows(stays, SEPSIS, np.arange(len(stays)), gain)
    row = one.control(PLAIN, noise, score, score > 0.8)
    label = stays.labels[SEPSIS]
    for metric in (auroc, auprc, min_se_ppv):
        gained = row[f"{metric.__name__}_gained"]
        assert gained == pytest.approx(metric(label, score) - metric(label, noise))
        assert row[f"{metric.__name__}_gained_ci"][0] > 0
    nothing = one.control(PLAIN, score, score, score > 0.8)
    assert (nothing["auroc_gained"], nothing["auroc_gained_ci"]) == (0, [0, 0])
    assert "auroc_gained" not in one.control("time only", noise, score, score > 0.8)


def test_what_is_withheld_is_counted() -> None:
    stays, gain, score = made()
    shape = (len(stays), 1)
    risk = calibrate.sigmoid(score)
    judged = Judged(score[:, None], (risk > 0.6)[:, None], np.arange(len(stays)).reshape(shape) < 60, risk[:, None] > 0)
    row = Rows(stays, SEPSIS, np.arange(len(stays)), gain).judged(judged, 0)
    assert row["abstained"] == pytest.approx(0.1)
    assert row["covered_with"] == row["covered_without"] == 1
    assert row["abstained_ci"][0] <= row["abstained"] <= row["abstained_ci"][1]
    assert row["alert_share"] == pytest.approx((risk > 0.6).mean())


def judged_by(score: np.ndarray) -> Judged:
    nothing = np.zeros((len(score), 1), np.bool_)
    return Judged(score[:, None], nothing, nothing, nothing)


def test_a_subgroup_s_figures_are_of_its_patients_alone() -> None:
    names = [f"p{n}" for n in range(100)]
    stays = replace(made(4000)[0], stay=np.repeat(np.arange(100), 40).astype(np.int32), patients=names, groups=names)
    label = (np.arange(4000) % 40 > 30) & (stays.stay % 3 == 0)
    male = stays.stay % 2
    stays.inputs["static"][:, STATIC.index("male")] = male
    stays = replace(stays, labels={SEPSIS: label.astype(np.float32)})
    score = np.where(male == 1, label * 9.0, 0.0) + np.random.default_rng(1).normal(size=4000)
    rows = Rows(stays, SEPSIS, np.arange(4000), gains(label, stays.stay)[0]).subgroups(judged_by(score), 0)
    by_sex = {row["value"]: row for row in rows if row["variable"] == "sex"}
    assert {value: row["n_patients"] for value, row in by_sex.items()} == {"male": 50, "female": 50}
    assert by_sex["male"]["auroc"] > 0.99
    assert by_sex["female"]["auroc"] < 0.6
    assert by_sex["male"]["auroc_ci"][0] <= by_sex["male"]["auroc"] <= by_sex["male"]["auroc_ci"][1]
    told = replace(
        stays, subgroups={"ethnicity": ["Asian" if n % 2 else "African American" for n in range(len(stays.patients))]}
    )
    by_told = Rows(told, SEPSIS, np.arange(4000), gains(label, stays.stay)[0]).subgroups(judged_by(score), 0)
    assert by_told[: len(rows)] == rows
    assert [(row["value"], row["n_patients"]) for row in by_told[len(rows) :]] == [
        ("African American", 50),
        ("Asian", 50),
    ]
    few = Rows(stays, SEPSIS, np.arange(320), gains(label, stays.stay)[0][:320]).subgroups(judged_by(score), 0)
    assert {row["judged"] for row in few} == {False}
    json.dumps(plain(few), allow_nan=False)


def test_figures_within_folds_do_not_see_that_folds_are_calibrated_apart() -> None:
    stays, gain, score = made()
    rows = Rows(stays, SEPSIS, np.arange(len(stays)), gain)
    apart = score + 5.0 * row_folds(stays)
    one, other = (rows.judged(judged_by(s), 0) for s in (score, apart))
    assert one["auroc_within_folds"] == pytest.approx(other["auroc_within_folds"])
    assert other["auroc"] < one["auroc"]
