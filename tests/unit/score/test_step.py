"""Each version of a record becomes one prediction, and the same one whenever it comes again."""

import asyncio
import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bus.messages import DeadLetter
from services.bus.topics import DEAD_LETTERS, RISK_PREDICTIONS, RISK_SHADOW
from services.domain.features import FEATURE_VERSION
from services.domain.prediction import IndeterminateReason, Prediction, Status, prediction_id
from services.domain.record import PatientRecord, encode_record
from services.inference.client import Unavailable
from services.score.scorer import make_scorer
from services.score.step import ScoreStep
from tests.fake_inference import FakeInference, Time
from tests.unit.score.fake_fusion import MANIFEST, MODELS
from tests.unit.score.records import SICK, WELL, message, record, record_message


def make(fake: FakeInference | None = None, manifest=MANIFEST, **options) -> tuple[ScoreStep, FakeInference, Time]:
    fake, time = fake or FakeInference(dict(MODELS)), Time()
    scorer = make_scorer(fake, manifest, clock=time, sleep=time.sleep)
    return ScoreStep(scorer, **options), fake, time


def run(step: ScoreStep, *messages) -> list[list]:
    return [list(outputs) for outputs in asyncio.run(step(messages))]


def prediction(output) -> Prediction:
    return msgspec.json.decode(output.value, type=Prediction)


def test_a_record_becomes_a_prediction_that_says_what_made_it():
    step, _, _ = make()
    made = record(values=SICK)
    [[output]] = run(step, record_message(made))
    found = prediction(output)
    assert (output.topic, output.key) == (RISK_PREDICTIONS, made.patient)
    assert found.prediction_id == prediction_id(made.record_version, "risk_fusion", "1")
    assert (found.record_version, found.model, found.model_version) == (made.record_version, "risk_fusion", "1")
    assert found.weights_sha256 == "ab" * 32
    assert len(found.input_sha256) == 64
    assert found.feature_version == FEATURE_VERSION
    sepsis, death = found.risks
    assert sepsis.probability == pytest.approx(0.675, abs=1e-6)
    assert sepsis.raw == pytest.approx(0.6075, abs=1e-6)
    assert (sepsis.alert, death.alert) == (True, False)
    assert [(c.name, c.value, c.observed) for c in sepsis.features] == [
        ("heart_rate", 1.25, 135.0),
        ("sbp", -0.5, 85.0),
        ("lactate", 0.25, "missing"),
    ]
    assert [c.name for c in sepsis.modalities] == ["series", "static"]


def test_latency_and_trace_headers_are_carried_on():
    step, _, _ = make()
    [[output]] = run(step, record_message(record()))
    assert output.headers["ws-received-at"] == b"1700000000000"


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 40))
def test_the_same_record_gives_the_same_bytes_however_the_stream_was_batched(hours, size):
    step, _, _ = make()
    messages = [record_message(record(f"p{n}", h, {**WELL, "hr": 60.0 + h}), n) for n, h in enumerate(hours)]
    whole = run(step, *messages)
    parts = [out for start in range(0, len(messages), size) for out in run(step, *messages[start : start + size])]
    assert whole == parts
    keys = [outputs[0].key for outputs in whole]
    assert keys == [f"p{n}" for n in range(len(hours))]


def test_a_record_with_too_little_data_is_indeterminate_without_asking_the_model():
    step, fake, _ = make()
    [[output]] = run(step, record_message(record(values={"hr": 70.0})))
    risk = prediction(output).risks[0]
    assert (risk.status, risk.probability) == (Status.INDETERMINATE, None)
    assert risk.reason == IndeterminateReason.TOO_LITTLE_DATA
    assert fake.asked == []


def test_a_merged_record_says_that_its_scores_no_longer_stand():
    step, fake, _ = make()
    [[output]] = run(step, record_message(PatientRecord(patient="old", merged_into="new")))
    found = prediction(output)
    assert {risk.status for risk in found.risks} == {Status.SUPERSEDED}
    assert found.superseded_by == "new"
    assert fake.asked == []


@pytest.mark.parametrize("value", [b"", b"{}", b"not json", b'{"patient": 3}', b'{"patient": "p"}', b"\xff\xfe"])
def test_what_is_no_record_is_a_dead_letter_with_its_bytes_and_the_others_are_scored(value):
    step, _, _ = make()
    good, bad = record_message(record(), 0), message(value, 1)
    [[scored], [letter]] = run(step, good, bad)
    assert scored.topic == RISK_PREDICTIONS
    assert letter.topic == DEAD_LETTERS
    found = msgspec.json.decode(letter.value, type=DeadLetter)
    assert (found.origin.offset, found.reason, found.value) == (1, "schema_violation", value)


def test_a_value_that_is_no_probability_is_never_published():
    def broken(inputs):
        answer = MODELS["risk_fusion"](inputs)
        answer["risk"][0, 0] = np.nan
        return answer

    step, _, _ = make(FakeInference({**MODELS, "risk_fusion": broken}))
    outputs = run(step, *(record_message(record(f"p{n}"), n) for n in range(3)))
    found = [prediction(out[0]) for out in outputs]
    assert {r.reason for r in found[0].risks} == {IndeterminateReason.INVALID_ANSWER}
    assert all(r.probability is None for r in found[0].risks)
    assert [f.risks[0].status for f in found[1:]] == [Status.SCORED, Status.SCORED]
    assert b"NaN" not in outputs[0][0].value


def test_a_row_swap_in_the_server_never_reaches_a_patient():
    step, fake, _ = make()
    truth = [record(f"p{n}", values={**WELL, "hr": 60.0 + 10 * n}) for n in range(4)]

    def swap(answer):
        order = list(range(len(answer.row_id)))[::-1]
        turned = {name: array[order] for name, array in answer.outputs.items()}
        return replace(answer, row_id=answer.row_id[order], outputs=turned)

    fake.twist = swap
    outputs = run(step, *(record_message(r, n) for n, r in enumerate(truth)))
    got = [prediction(out[0]).risks[0].probability for out in outputs]
    assert got == pytest.approx([0.3, 0.35, 0.4, 0.45], abs=1e-6)


def test_while_the_server_is_away_the_batch_waits_and_is_then_scored_once():
    step, fake, time = make()
    expected = run(step, *(record_message(record(f"p{n}"), n) for n in range(5)))
    fake.asked.clear()
    fake.away = Unavailable

    def back() -> None:
        if time.now > 300:
            fake.away = None

    time.on_sleep = back
    assert run(step, *(record_message(record(f"p{n}"), n) for n in range(5))) == expected
    assert [model for model, _ in fake.asked] == ["risk_fusion"]


def test_a_risk_within_the_conformal_band_is_indeterminate_and_the_other_is_scored():
    outcomes = [msgspec.structs.replace(MANIFEST.outcomes[0], indeterminate=(0.2, 0.5)), MANIFEST.outcomes[1]]
    step, _, _ = make(manifest=msgspec.structs.replace(MANIFEST, outcomes=outcomes))
    [[output]] = run(step, record_message(record()))
    first, second = prediction(output).risks
    assert (first.status, first.reason) == (Status.INDETERMINATE, IndeterminateReason.LOW_CONFIDENCE)
    assert second.status is Status.SCORED


def test_a_challenger_scores_silently_to_its_own_topic():
    step, _, _ = make(shadow=True)
    [[output]] = run(step, record_message(record()))
    assert output.topic == RISK_SHADOW
    assert prediction(output).shadow
    assert step.name != make()[0].name


def test_a_risk_is_published_with_its_explanation_or_not_at_all():
    def unexplained(inputs):
        answer = MODELS["risk_fusion"](inputs)
        answer["variable_contribution"][0] = np.nan
        return answer

    step, _, _ = make(FakeInference({"risk_fusion": unexplained}))
    found = [prediction(out[0]) for out in run(step, *(record_message(record(f"p{n}"), n) for n in range(3)))]
    assert {r.reason for r in found[0].risks} == {IndeterminateReason.INVALID_ANSWER}
    assert all(r.features and r.modalities for f in found[1:] for r in f.risks)


def test_a_prediction_carries_no_name_and_no_identifier():
    step, _, _ = make()
    made = record()
    [[output]] = run(step, record_message(made))
    text = json.dumps(json.loads(output.value))
    assert "birth" not in text
    assert "identifier" not in text
    assert repr(record_message(made)).find("1963") == -1


def test_a_record_is_scored_as_of_its_newest_event_and_not_of_now():
    step, _, _ = make()
    made = record(hours=7)
    encode_record(made)
    [[output]] = run(step, record_message(made))
    assert round(prediction(output).as_of.timestamp() * 1000) == made.as_of
