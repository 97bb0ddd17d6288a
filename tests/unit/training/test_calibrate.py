"""What is chosen on validation data is chosen as stated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.metrics import auprc, auroc
from training.evaluation.utility import gains
from training.fusion import calibrate
from training.fusion.folds import fold_of


def sample(n: int = 20_000, slope: float = 1.0, shift: float = -2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=n)
    label = (rng.random(n) < calibrate.sigmoid(slope * logit + shift)).astype(float)
    return logit, label


def test_platt_scaling_recovers_the_distortion() -> None:
    slope, intercept = calibrate.platt(*sample(slope=1.7, shift=-1.2))
    assert slope == pytest.approx(1.7, abs=0.1)
    assert intercept == pytest.approx(-1.2, abs=0.1)


def test_the_blend_leaves_out_a_part_that_knows_nothing() -> None:
    logit, label = sample(slope=2.0)
    noise = np.random.default_rng(9).normal(size=len(logit))
    assert calibrate.network_weight([np.stack([noise, logit, label])]) < 0.1
    assert calibrate.network_weight([np.stack([logit, noise, label])]) > 0.9


def test_the_blend_minds_those_at_highest_risk_beside_the_order_of_all() -> None:
    """A network that orders nearly all well, and puts a few above everyone who should not be there."""
    rng = np.random.default_rng(4)
    label = (rng.random(5_000) < 0.1).astype(float)
    network = rng.normal(1.5 * label) + 4.0 * (rng.random(len(label)) < 0.03)
    trees = rng.normal(1.2 * label)
    trees = np.where(trees > 0, trees, 0.2 * trees)

    def figures(share: float) -> tuple[float, float]:
        mix = share * network + (1 - share) * trees
        return auroc(label, mix), auprc(label, mix)

    by_auroc = max(np.linspace(0, 1, 11), key=lambda share: figures(share)[0])
    chosen = calibrate.network_weight([np.stack([network, trees, label])])
    assert 0 < chosen < by_auroc
    lost, gained = np.subtract(figures(by_auroc), figures(chosen)) * (1, -1)
    assert gained > lost > 0


def test_sensitivity_and_precision_meet_at_the_balanced_threshold() -> None:
    logit, label = sample(slope=2.0)
    risk = calibrate.sigmoid(logit)
    alerts = risk >= calibrate.balanced_threshold(risk, label)
    sensitivity, precision = label[alerts].sum() / label.sum(), label[alerts].mean()
    assert sensitivity == pytest.approx(precision, abs=0.01)


def test_the_alert_threshold_gains_on_other_patients_nearly_what_the_best_one_does() -> None:
    logit, label = sample(slope=1.5, shift=-3)
    gain = np.where(label > 0, 1.0, -0.05)
    stay = np.arange(len(logit), dtype=np.int32) // 20
    threshold = calibrate.gain_threshold(logit, gain, stay)
    logit, label = sample(slope=1.5, shift=-3, seed=1)
    gain = np.where(label > 0, 1.0, -0.05)
    best = np.cumsum(gain[np.argsort(-logit)]).max()
    assert gain[logit >= threshold].sum() > 0.98 * best


def test_a_score_that_separates_what_gains_from_what_costs_is_cut_between_them() -> None:
    risk, gain = np.repeat([0.2, 0.8], 50), np.repeat([-1.0, 1.0], 50)
    threshold = calibrate.gain_threshold(risk, gain, np.arange(100, dtype=np.int32))
    assert 0.2 < threshold <= 0.8


def test_the_band_covers_each_class_as_stated_on_new_data() -> None:
    logit, label = sample(slope=1.0)
    low, high = calibrate.conformal_ends(calibrate.sigmoid(logit), label, 0.8)
    assert calibrate.indeterminate_band((low, high)) == (low, high)
    logit, label = sample(slope=1.0, seed=1)
    risk = calibrate.sigmoid(logit)
    assert (risk[label == 1] >= low).mean() == pytest.approx(0.8, abs=0.03)  # 'yes' is in the set
    assert (risk[label == 0] <= high).mean() == pytest.approx(0.8, abs=0.03)  # 'no' is


def test_a_score_that_separates_has_no_band() -> None:
    risk, label = np.array([0.1] * 10 + [0.9] * 10), np.array([0] * 10 + [1] * 10)
    assert calibrate.indeterminate_band(calibrate.conformal_ends(risk, label, 0.8)) is None


def official(label: np.ndarray, alert: np.ndarray) -> float:
    """The challenge's own loop, as published: one patient's utility."""
    early, optimal, late = -12, -6, 3
    onset = np.argmax(label) - optimal if label.any() else float("inf")
    total = 0.0
    for t in range(len(label)):
        if t > onset + late:
            continue
        if label.any() and alert[t]:
            if t <= onset + optimal:
                total += max((t - onset - early) / (optimal - early), -0.05)
            else:
                total += (late - (t - onset)) / (late - optimal)
        elif alert[t]:
            total -= 0.05
        elif label.any() and t > onset + optimal:
            total += -2.0 * (t - onset - optimal) / (late - optimal)
    return total


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(0, 80), st.randoms(use_true_random=False))
def test_the_gain_of_an_alert_is_the_official_utilitys_difference(hours: int, first: int, random: object) -> None:
    label = (np.arange(hours) >= first).astype(np.float32)
    alert = np.array([random.random() < 0.5 for _ in range(hours)])  # type: ignore[attr-defined]
    gain, _ = gains(label, np.zeros(hours, np.int32))
    never = official(label, np.zeros(hours, bool))
    assert gain[alert].sum() == pytest.approx(official(label, alert) - never, abs=1e-5)


def test_a_patient_stays_in_one_fold_for_ever() -> None:
    assert [fold_of(f"p{n:06d}") for n in range(8)] == [fold_of(f"p{n:06d}") for n in range(8)]
    counts = np.bincount([fold_of(f"p{n:06d}") for n in range(5000)])
    assert counts.min() > 900
