"""Nothing of a model's answer is published unless it is what was asked (invariant 7)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.checks import Checked, Invalid, Output, check
from services.inference.client import Answer

EXPECTED = [Output("risk", (2,), probability=True), Output("raw", (2,))]


def answer(ids, *, risk=None, raw=None, model="m", version="3", row_id="echo", **more):
    n = len(ids)
    outputs = {
        "risk": np.full((n, 2), 0.5, np.float32) if risk is None else risk,
        "raw": np.full((n, 2), -3.0, np.float32) if raw is None else raw,
        **more,
    }
    echoed = np.array(ids, np.int64)[:, None] if isinstance(row_id, str) else row_id
    return Answer(model, version, outputs, echoed)


def checked(given_answer, ids):
    return check(given_answer, np.array(ids, np.int64)[:, None], EXPECTED, model="m", version="3")


ids = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=20, unique=True)
probabilities = st.floats(0, 1, width=32)


@given(ids, st.data())
def test_a_right_answer_passes_whole(sent, data):
    n = len(sent)
    values = data.draw(st.lists(probabilities, min_size=2 * n, max_size=2 * n))
    risk = np.array(values, np.float32).reshape(n, 2)
    found = checked(answer(sent, risk=risk), sent)
    assert isinstance(found, Checked)
    assert not found.bad_rows
    assert np.array_equal(found.outputs["risk"], risk)


@given(ids.filter(lambda i: len(i) > 1), st.randoms())
def test_swapped_rows_are_always_caught(sent, random):
    shuffled = list(sent)
    random.shuffle(shuffled)
    found = checked(answer(shuffled), sent)
    assert isinstance(found, Checked if shuffled == sent else Invalid)


@given(ids, st.data())
def test_exactly_the_rows_with_a_value_out_of_bounds_are_bad(sent, data):
    n = len(sent)
    bad = data.draw(st.sets(st.integers(0, n - 1)))
    poison = st.sampled_from([np.nan, np.inf, -np.inf, -1e-6, 1.0000001, 2.0])
    risk = np.full((n, 2), 0.25, np.float32)
    for row in bad:
        risk[row, data.draw(st.integers(0, 1))] = data.draw(poison)
    found = checked(answer(sent, risk=risk), sent)
    assert isinstance(found, Checked)
    assert set(found.bad_rows) == bad


def test_raw_scores_may_lie_anywhere_but_must_be_finite():
    raw = np.array([[-30.0, 40.0], [np.nan, 0.0]], np.float32)
    found = checked(answer([1, 2], raw=raw), [1, 2])
    assert isinstance(found, Checked)
    assert set(found.bad_rows) == {1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "other"},
        {"version": "4"},
        {"row_id": None},
        {"row_id": np.array([[1]], np.int64)},
        {"risk": np.full((2, 3), 0.5, np.float32)},
        {"risk": np.full((1, 2), 0.5, np.float32)},
        {"risk": np.full((2, 2), 0.5, np.float64)},
        {"risk": np.full((2, 2), 1, np.int64)},
        {"risk": np.zeros((0, 2), np.float32)},
    ],
    ids=["model", "version", "no echo", "echo too short", "columns", "rows", "float64", "integers", "empty"],
)
def test_an_answer_of_another_form_is_refused_whole(wrong):
    assert isinstance(checked(answer([1, 2], **wrong), [1, 2]), Invalid)


def test_a_missing_output_is_refused():
    whole = answer([1])
    found = checked(Answer(whole.model, whole.version, {"risk": whole.outputs["risk"]}, whole.row_id), [1])
    assert found == Invalid("raw is missing")
