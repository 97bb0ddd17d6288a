"""While the model server is away every record that waits has a NEWS2, and while it is not, none has."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bus.topics import RISK_PREDICTIONS
from services.domain.news2 import SOURCE
from services.domain.prediction import Outcome, Prediction, Status
from services.domain.record import PatientRecord
from services.score.fallback import FallbackStep, fallback
from tests.fake_inference import Time
from tests.unit.score.records import SICK, message, record, record_message


class FakeProgress:
    """How far scoring has come; it commits as time goes, up to where it is stuck."""

    def __init__(self, time: Time, per_second: float = 0.0, stuck_at: int = 10**9) -> None:
        self.time, self.per_second, self.stuck_at = time, per_second, stuck_at

    async def committed(self, topic):
        done = min(self.stuck_at, int(self.time.now * self.per_second))
        return {0: done} if done else {}


def make(progress: FakeProgress, away_from: float = 1e9) -> FallbackStep:
    async def away() -> bool:
        return progress.time.now >= away_from

    return FallbackStep(progress, away, sleep=progress.time.sleep)


def run(step: FallbackStep, *messages) -> list[list]:
    return [list(outputs) for outputs in asyncio.run(step(messages))]


def test_nothing_is_published_for_what_scoring_has_committed():
    time = Time()
    assert run(make(FakeProgress(time, per_second=4)), *(record_message(record(), n) for n in range(20))) == [[]] * 20
    assert time.now == pytest.approx(5.0)


def test_every_record_that_waits_when_the_outage_is_seen_has_its_news2():
    time = Time()
    step = make(FakeProgress(time, per_second=10, stuck_at=7), away_from=30.0)
    outputs = run(step, *(record_message(record(f"p{n}"), n) for n in range(20)))
    assert [len(out) for out in outputs] == [0] * 7 + [1] * 13
    assert [out[0].key for out in outputs[7:]] == [f"p{n}" for n in range(7, 20)]


@given(st.integers(0, 30), st.integers(1, 30), st.floats(0, 10))
def test_a_record_is_scored_or_has_a_fallback_wherever_the_outage_falls(stuck_at, count, away_from):
    time = Time()
    step = make(FakeProgress(time, per_second=5, stuck_at=stuck_at), away_from=away_from)
    outputs = run(step, *(record_message(record(f"p{n}", 1), n) for n in range(count)))
    unscored = [n for n in range(count) if n >= min(stuck_at, int(time.now * 5))]
    assert [n for n, out in enumerate(outputs) if out] == unscored


def test_during_an_outage_a_fallback_does_not_wait():
    time = Time()
    step = make(FakeProgress(time), away_from=0.0)
    assert [len(out) for out in run(step, record_message(record()))] == [1]
    assert time.slept == []


def test_the_score_says_that_it_is_a_fallback_and_whose_and_of_what():
    found = fallback(record(values=SICK))
    [risk] = found.risks
    assert (risk.outcome, risk.status, risk.probability) == (Outcome.DETERIORATION, Status.FALLBACK, None)
    assert risk.score == 3 + 3 + 3 + 3 + 2
    assert risk.alert
    assert risk.reason == SOURCE
    assert {c.name: c.value for c in risk.features} == {
        "respiration_rate": 3.0,
        "oxygen_saturation": 3.0,
        "supplemental_oxygen": 0.0,
        "systolic_pressure": 3.0,
        "pulse": 3.0,
        "consciousness": 0.0,
        "temperature": 2.0,
    }
    assert {c.name for c in risk.features if c.observed == "missing"} == {"supplemental_oxygen", "consciousness"}


def test_a_patient_without_vital_signs_has_no_reassuring_zero():
    [risk] = fallback(record(values={"lactate": 4.0})).risks
    assert (risk.status, risk.score) == (Status.INDETERMINATE, None)


def test_a_fallback_and_a_score_of_one_record_have_different_names_and_a_repeat_the_same():
    made = record()
    first, again = fallback(made), fallback(made)
    assert msgspec.json.encode(first) == msgspec.json.encode(again)
    assert first.model == "news2"


def test_a_merged_record_has_no_news2():
    found = fallback(PatientRecord(patient="old", merged_into="new", record_version="0" * 32))
    assert [risk.status for risk in found.risks] == [Status.SUPERSEDED]
    assert found.superseded_by == "new"


def test_the_one_dead_letter_of_what_is_no_record_is_left_to_scoring():
    time = Time()
    [nothing, [scored]] = run(make(FakeProgress(time), 0.0), message(b"{}", 0), record_message(record(), 1))
    assert nothing == []
    assert scored.topic == RISK_PREDICTIONS
    assert msgspec.json.decode(scored.value, type=Prediction).risks[0].status is Status.FALLBACK
