import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from services.domain import performance

pairs = st.lists(st.tuples(st.booleans(), st.sampled_from([0.05, 0.2, 0.4, 0.6, 0.8, 0.95])), min_size=2, max_size=60)


@given(pairs)
def test_auroc_and_brier_agree_with_scikit_learn_ties_included(data):
    labels, scores = zip(*data, strict=True)
    assert performance.brier(labels, scores) == pytest.approx(brier_score_loss(labels, scores))
    if len(set(labels)) == 2:
        assert performance.auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    else:
        assert performance.auroc(labels, scores) is None


def test_calibration_agrees_with_scikit_learn_s_unpenalised_regression():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.02, 0.98, 800)
    y = rng.uniform(size=800) < p**1.5
    logit = np.log(p / (1 - p)).reshape(-1, 1)
    fit = LogisticRegression(C=np.inf, tol=1e-10).fit(logit, y)
    slope, intercept = performance.calibration(y, p)
    assert slope == pytest.approx(fit.coef_[0, 0], abs=1e-4)
    assert intercept == pytest.approx(fit.intercept_[0], abs=1e-4)


def test_no_calibration_is_claimed_where_nothing_or_everything_happened():
    assert performance.calibration([0, 0, 0], [0.1, 0.2, 0.3]) is None
    assert performance.calibration([], []) is None


@given(pairs)
def test_the_reliability_curve_counts_every_prediction_once(data):
    labels, scores = zip(*data, strict=True)
    curve = performance.reliability(labels, scores, bins=5)
    assert sum(n for _, _, n in curve) == len(labels)
    assert sum(share * n for _, share, n in curve) == pytest.approx(sum(labels))
