"""Which predictions a chart is told: enough to be right, not so many that nobody reads them."""

from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.hl7.policy import TOLD, Policy, Told, Why, told_of
from services.domain.prediction import Prediction, Status
from tests.unit.deliver.support import prediction as encoded

POLICY = Policy()  # the threshold of these predictions is 0.2, so that 0.1 is a change
EVERY = Policy(every=True)


def prediction(hours: float = 1, probability: float = 0.1, **more) -> Prediction:
    more.setdefault("prediction_id", f"{hours}-{probability}-{more.get('status')}")
    return msgspec.json.decode(encoded(hours=hours, probability=probability, **more), type=Prediction)


def told(hours: float = 1, probability: float = 0.1, **more) -> Told:
    return told_of(prediction(hours, probability, **more), "filler")


@pytest.mark.parametrize(
    ("last", "now", "why"),
    [
        (None, prediction(), Why.FIRST),
        (None, prediction(status=Status.INDETERMINATE), Why.UNCHANGED),
        (told(1, 0.1), prediction(1.1, 0.21), Why.CROSSED),
        (told(1, 0.21), prediction(1.1, 0.19), Why.CROSSED),
        (told(1, 0.1), prediction(9, 0.15), Why.UNCHANGED),
        (told(1, 0.05), prediction(1.5, 0.16), Why.TOO_SOON),
        (told(1, 0.05), prediction(2, 0.16), Why.MOVED),
        (told(1, 0.6), prediction(9, 0.4), Why.UNCHANGED),
        (told(1, 0.6), prediction(9, 0.91), Why.MOVED),
        (told(1, 0.1), prediction(2, status=Status.INDETERMINATE), Why.MOVED),
        (told(1, 0.4), prediction(1.5, status=Status.INDETERMINATE), Why.TOO_SOON),
        (told(1, status=Status.INDETERMINATE), prediction(1.5, 0.4), Why.CROSSED),
        (told(1, 0.1), prediction(1, 0.1, prediction_id="other"), Why.UNCHANGED),
        (told(2, 0.05), prediction(2, 0.16), Why.CORRECTED),
        (told(2, 0.4), prediction(1, 0.1), Why.CORRECTED),
        (told(1, 0.4), prediction(1, 0.4, superseded_by="survivor"), Why.WITHDRAWN),
        (None, prediction(superseded_by="survivor"), Why.UNCHANGED),
        (None, prediction(shadow=True), Why.SHADOW),
        (None, prediction(status=Status.FALLBACK, model="news2"), Why.FALLBACK),
    ],
)
def test_a_site_is_told_what_has_changed(last: Told | None, now: Prediction, why: Why) -> None:
    assert POLICY.why(last, now) is why


def test_a_site_that_wants_all_gets_all_but_challengers_and_repeats() -> None:
    assert EVERY.why(told(1, 0.1), prediction(1.1, 0.1)) is Why.EVERY
    assert EVERY.why(told(1, 0.1), prediction(1, 0.11)) is Why.CORRECTED
    assert EVERY.why(None, prediction(status=Status.INDETERMINATE)) is Why.FIRST
    assert EVERY.why(None, prediction(shadow=True)) is Why.SHADOW
    assert EVERY.why(told(1, 0.1), prediction(1, 0.1)) is Why.UNCHANGED


def test_the_early_warning_score_is_told_where_the_site_wants_it() -> None:
    wants = Policy(fallback=True)
    score = prediction(status=Status.FALLBACK, model="news2")
    assert wants.why(None, score) is Why.FIRST
    assert wants.why(told_of(score, "f"), prediction(3, status=Status.FALLBACK, model="news2")) is Why.UNCHANGED


courses = st.lists(st.tuples(st.integers(0, 30), st.one_of(st.none(), st.floats(0, 1))), max_size=40)


@given(courses)
def test_the_chart_always_says_whether_there_is_an_alert_and_is_not_flooded(course) -> None:
    last, alert, told_at = None, False, []
    hours = 0.0
    for minutes, probability in course:
        hours += minutes / 60
        status = Status.SCORED if probability is not None else Status.INDETERMINATE
        now = prediction(hours, probability or 0.0, status=status, prediction_id=f"{len(told_at)}{hours}{probability}")
        why = POLICY.why(last, now)
        if why in TOLD:
            last = told_of(now, now.prediction_id)
            told_at.append((now.as_of, why))
        if probability is not None:
            alert = now.risks[0].alert
            assert last is not None
            assert last.risks[now.risks[0].outcome].alert is alert
    for (before, _), (after, why) in pairwise(told_at):
        assert why is not Why.MOVED or after - before >= timedelta(hours=1)
