"""Figures of merit: equal to scikit-learn's, and to what is worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.evaluation import metrics


def some(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.random(n) < 0.3
    risk = np.round(np.clip(rng.random(n) * 0.6 + label * 0.2, 0, 1), 2)  # rounded: ties
    return label, risk


@pytest.mark.parametrize("seed", range(5))
def test_auroc_auprc_and_brier_are_scikit_learns(seed: int) -> None:
    sk = pytest.importorskip("sklearn.metrics")
    label, risk = some(seed)
    assert metrics.auroc(label, risk) == pytest.approx(sk.roc_auc_score(label, risk), abs=1e-12)
    assert metrics.auprc(label, risk) == pytest.approx(sk.average_precision_score(label, risk), abs=1e-12)
    assert metrics.brier(label, risk) == pytest.approx(sk.brier_score_loss(label, risk), abs=1e-12)


def test_min_of_sensitivity_and_ppv_by_hand() -> None:
    label, risk = [1, 0, 1, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.1]
    # Calls at 0.9, 0.8, 0.7, 0.6, 0.1: Se 1/3, 1/3, 2/3, 2/3, 1; PPV 1, 1/2, 2/3, 1/2, 3/5.
    assert metrics.min_se_ppv(label, risk) == pytest.approx(2 / 3)


def test_a_risk_that_knows_nothing_has_the_prevalence_as_auprc() -> None:
    label, _ = some(0)
    constant = np.full(len(label), 0.5)
    assert metrics.auprc(label, constant) == pytest.approx(label.mean())
    assert metrics.auroc(label, constant) == 0.5


def test_true_risks_have_slope_one_and_intercept_zero() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(-1, 1.5, 40_000)
    truth = 1 / (1 + np.exp(-logit))
    label = rng.random(len(truth)) < truth
    slope, intercept = metrics.calibration(label, truth)
    assert slope == pytest.approx(1, abs=0.05)
    assert intercept == pytest.approx(0, abs=0.05)
    # Twice too extreme, and half a logit too low.
    assert metrics.calibration_slope(label, 1 / (1 + np.exp(-2 * logit))) == pytest.approx(0.5, abs=0.03)
    assert metrics.calibration_intercept(label, 1 / (1 + np.exp(-(logit - 0.5)))) == pytest.approx(0.5, abs=0.05)


def test_one_class_alone_gives_no_figure_and_no_exception() -> None:
    for label in ([0, 0, 0], [1, 1, 1]):
        assert math.isnan(metrics.auroc(label, [0.1, 0.2, 0.3]))
        assert all(math.isnan(v) for v in metrics.calibration(label, [0.1, 0.2, 0.3]))


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        metrics.auroc([0, 1], [0.5])


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.integers(4, 40), elements=st.floats(0, 1)), st.integers(0, 10_000))
def test_auroc_does_not_change_under_a_monotone_map_of_the_risk(risk: np.ndarray, seed: int) -> None:
    label = np.random.default_rng(seed).random(len(risk)) < 0.5
    label[:2] = [True, False]
    _, ranked = np.unique(risk, return_inverse=True)
    assert metrics.auroc(label, ranked / len(risk)) == pytest.approx(metrics.auroc(label, risk), abs=1e-12)


def test_the_bootstrap_draws_whole_patients() -> None:
    patient = np.repeat(np.arange(30), 5)
    for weight in metrics.resamples(patient, 20, seed=1):
        by_patient = weight.reshape(30, 5)
        assert (by_patient == by_patient[:, :1]).all()
        assert weight.sum() == 150
        assert (by_patient == 0).any()  # some are left out


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(0, 10_000))
def test_rows_with_weights_have_the_figures_of_rows_written_out_so_often(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    label, risk = rng.random(n) < 0.4, np.round(rng.random(n), 1)
    weight = rng.integers(0, 4, n)
    rows = metrics.Ranked(label, risk)
    for name, metric in metrics.METRICS.items():
        written_out = metric(np.repeat(label, weight), np.repeat(risk, weight))
        drawn = metric.of_draw(metrics.Draw(rows, weight.astype(float)))
        if not name.startswith("calibration"):
            assert drawn == pytest.approx(written_out, abs=1e-9, nan_ok=True), name
        elif abs(written_out) < 20:  # separable rows have no finite slope
            assert drawn == pytest.approx(written_out, abs=1e-4), name


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng, covered, runs = np.random.default_rng(3), 0, 60
    for run in range(runs):
        label = rng.random(250) < 0.4
        risk = rng.normal(label * 1.0, 1.0)
        low, high = metrics.bootstrap({"auroc": metrics.auroc}, label, risk, np.arange(250), repeats=150, seed=run)[
            "auroc"
        ]
        covered += low <= 0.76025 <= high  # Phi(1 / sqrt 2)
    assert covered / runs >= 0.85


def test_rows_of_one_patient_widen_the_interval() -> None:
    label, risk = some(1, 100)
    many_label, many_risk = np.repeat(label, 6), np.repeat(risk, 6)
    alone = metrics.summary(many_label, many_risk, np.arange(600), repeats=200)["auroc_ci"]
    grouped = metrics.summary(many_label, many_risk, np.repeat(np.arange(100), 6), repeats=200)["auroc_ci"]
    assert grouped[1] - grouped[0] > 1.5 * (alone[1] - alone[0])


def test_a_paired_difference_is_zero_between_a_risk_and_itself_and_positive_for_a_better_one() -> None:
    label, risk = some(2, 400)
    assert metrics.paired_difference(metrics.auroc, label, risk, risk, np.arange(400), repeats=50) == (0.0, [0.0, 0.0])
    worse = np.random.default_rng(0).random(400)
    gain, (low, _) = metrics.paired_difference(metrics.auroc, label, risk, worse, np.arange(400), repeats=200)
    assert gain > 0
    assert low > 0
