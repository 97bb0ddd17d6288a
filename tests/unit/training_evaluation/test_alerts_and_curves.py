"""Alert burden by hand; reliability and decision curves."""

import numpy as np
import pytest

from training.evaluation.alerts import alert_burden, snoozed
from training.evaluation.curves import decision_curve, precision_recall, reliability, roc


def test_a_snooze_silences_six_hours_and_no_more() -> None:
    hours = np.arange(14.0)
    shown = snoozed(np.ones(14, bool), hours)
    assert np.flatnonzero(shown).tolist() == [0, 6, 12]


def test_alert_burden_of_two_patients_by_hand() -> None:
    # Septic: first positive label at hour 10, onset 16; alerts at hours 2 (too early), 8 and 9 (in the window).
    # Well: alerts at hours 0 and 1.
    hours = np.r_[np.arange(24.0), np.arange(24.0)]
    label = np.r_[np.arange(24) >= 10, np.zeros(24, bool)]
    alert = np.zeros(48, bool)
    alert[[2, 8, 9, 24, 25]] = True
    found = alert_burden(label, alert, hours, np.repeat(["s", "w"], 24), repeats=20)
    assert found["alerts_per_patient_day"] == pytest.approx(5 / 48 * 24)
    assert found["ppv"] == 0  # none of the alerts falls in an hour labelled positive
    assert found["shown_per_patient_day"] == pytest.approx(3 / 48 * 24)  # hours 2, 8; 0
    assert found["shown_ppv"] == pytest.approx(1 / 3)
    assert found["false_alarms_per_patient_hour"] == pytest.approx(2 / 48)
    assert found["sensitivity_by_patient"] == 1
    assert found["lead_hours"] == 8


def test_reliability_of_true_risks_lies_on_the_diagonal() -> None:
    rng = np.random.default_rng(1)
    risk = rng.random(20_000)
    points = reliability(rng.random(20_000) < risk, risk, np.arange(20_000), repeats=50)
    assert len(points) == 10
    assert all(abs(mean - share) < 0.05 and low < share < high for mean, share, _, low, high in points)
    assert sum(n for _, _, n, _, _ in points) == 20_000


def test_net_benefit_by_hand() -> None:
    label, risk = [1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1]
    ((t, model, everyone, low, high),) = decision_curve(label, risk, list("abcd"), [0.5])
    assert (t, model, everyone) == (0.5, pytest.approx(1 / 4 - 1 / 4), pytest.approx(0.5 - 0.5))
    assert low <= model <= high
    ((_, model, everyone, _, _),) = decision_curve(label, risk, list("abcd"), [0.2])
    assert model == pytest.approx(2 / 4 - 1 / 4 * 0.25)
    assert everyone == pytest.approx(0.5 - 0.5 * 0.25)


def test_curves_begin_and_end_where_they_must() -> None:
    label, risk = np.arange(1000) % 7 == 0, np.linspace(0, 1, 1000)
    points = roc(label, risk)
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1.0, 1.0)
    assert len(points) <= 200
    assert precision_recall(label, risk)[-1] == (1.0, pytest.approx(label.mean()))


def test_a_thinned_curve_keeps_its_steep_beginning_and_both_ends() -> None:
    rng = np.random.default_rng(0)
    label = rng.random(20_000) < 0.02
    points = precision_recall(label, rng.random(20_000) + label * 0.9)
    recall = np.array([r for r, _ in points])
    assert len(points) <= 201
    assert recall[-1] == 1
    assert np.diff(recall).max() < 0.05
