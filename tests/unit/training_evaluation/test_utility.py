"""The utility of CinC 2019, against hand-computed hours and against the challenge's rule written out as published."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation import utility as u


def as_published(labels: list[int], calls: list[int]) -> float:
    """Reyna et al. 2020, hour by hour with slopes and intercepts, to hold the vectorised rule to."""
    septic = any(labels)
    onset = labels.index(1) + 6 if septic else math.inf
    total = 0.0
    for t, call in enumerate(calls):
        if t > onset + 3:
            continue
        if not septic:
            total += -0.05 if call else 0.0
        elif call:
            total += max((t - onset) / 6 + 2, -0.05) if t <= onset - 6 else -(t - onset) / 9 + 1 / 3
        elif t > onset - 6:
            total += -2 / 9 * (t - onset) - 2 / 9 * 6
    return total


def test_a_call_in_somebody_who_never_has_sepsis_costs_a_twentieth_an_hour() -> None:
    assert u.patient_utility([0] * 10, [1] * 10) == pytest.approx(-0.5)
    assert u.patient_utility([0] * 10, [0] * 10) == 0


def test_the_hours_around_onset_by_hand() -> None:
    label = [0] * 20 + [1] * 10  # first positive label at hour 20, so onset at hour 26
    reward, silence = u.hourly(np.asarray(label, bool))
    assert reward[13] == pytest.approx(-0.05)  # 13 h before: too early
    assert reward[14] == pytest.approx(0.0)  # 12 h before
    assert reward[17] == pytest.approx(0.5)  # 9 h before
    assert reward[20] == pytest.approx(1.0)  # 6 h before
    assert reward[26] == pytest.approx(1 / 3)  # at onset
    assert reward[29] == pytest.approx(0.0)  # 3 h after
    assert silence[20] == 0
    assert silence[26] == pytest.approx(-4 / 3)
    assert silence[29] == pytest.approx(-2.0)


def test_hours_later_than_three_after_onset_do_not_count() -> None:
    label = [1] * 30  # onset at hour 6
    assert u.patient_utility(label, [0] * 10 + [1] * 20) == u.patient_utility(label, [0] * 30)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 2**40))
def test_the_vectorised_rule_is_the_published_one(hours: int, first: int, bits: int) -> None:
    label = [int(t >= first) for t in range(hours)]
    calls = [bits >> t & 1 for t in range(hours)]
    assert u.patient_utility(label, calls) == pytest.approx(as_published(label, calls), abs=1e-9)


def test_never_calling_is_nought_and_the_best_calls_are_one() -> None:
    label = np.r_[np.zeros(20), np.zeros(18), np.ones(10)].astype(bool)
    patient = np.r_[np.zeros(20), np.ones(28)]
    best = np.concatenate([u.best_calls(label[:20]), u.best_calls(label[20:])])
    assert u.utility(label, np.zeros(48, bool), patient) == pytest.approx(0)
    assert u.utility(label, best, patient) == pytest.approx(1)
    assert u.utility(label, ~best, patient) < 0


def test_without_a_septic_patient_there_is_no_utility() -> None:
    assert math.isnan(u.utility([0, 0], [0, 1], ["a", "b"]))


def test_rows_of_a_patient_that_do_not_stand_together_are_refused() -> None:
    with pytest.raises(ValueError, match="stand together"):
        u.utility([0, 0, 0], [0, 0, 0], ["a", "b", "a"])


def test_the_interval_holds_the_value_and_narrows_with_more_patients() -> None:
    def of(patients: int) -> tuple[float, list[float]]:
        rng = np.random.default_rng(0)
        label = np.concatenate([np.arange(30) >= (20 if n % 4 == 0 else 99) for n in range(patients)])
        call = label | (rng.random(len(label)) < 0.1)
        return u.utility_with_interval(label, call, np.repeat(np.arange(patients), 30), repeats=200)

    few, many = of(40), of(400)
    for value, (low, high) in (few, many):
        assert low <= value <= high
    assert many[1][1] - many[1][0] < few[1][1] - few[1][0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_the_best_utility_is_that_of_the_best_threshold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = np.concatenate([np.arange(12) >= first for first in rng.integers(2, 20, 6)])
    patient, score = np.repeat(np.arange(6), 12), np.round(rng.random(72), 1)
    if label.any():
        tried = [u.utility(label, score >= t, patient) for t in (*np.unique(score), 2.0)]
        assert u.best_utility(label, score, patient) == pytest.approx(max(tried))
