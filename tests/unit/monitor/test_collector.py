from dataclasses import replace

import msgspec
import pytest

from services.bus.messages import RECEIVED_AT, DeadLetter, Message, Origin, carried
from services.bus.topics import CLINICAL_EVENTS, DEAD_LETTERS, RISK_PREDICTIONS
from services.domain.events import ClinicalEvent, Code, Observation, Version, encode_event
from services.domain.prediction import ModalityState, Outcome, Prediction, Risk, Status
from services.monitor.collector import Collector
from services.monitor.drift import Reference
from tests.unit.strategies import T0


def collector() -> Collector:
    return Collector({"8867-4": ("HR", Reference([80.0], [0.5, 0.5]))}, {})


def message(topic, value, received=1000, stamped=1500):
    headers = {RECEIVED_AT: str(received).encode()}
    return Message(topic.name, 0, 0, b"p", value, headers, stamped)


def prediction(n, status=Status.SCORED, present=True):
    probability = 0.5 if status is Status.SCORED else None
    content = Prediction(
        prediction_id=str(n),
        patient="p",
        record_version=str(n),
        as_of=T0,
        model="risk_fusion",
        model_version="1",
        risks=[Risk(outcome=Outcome.MORTALITY, status=status, probability=probability)],
        modalities=[ModalityState(name="note", present=present)],
    )
    return message(RISK_PREDICTIONS, msgspec.json.encode(content))


def figures(collector, now=10_000, lags=None):
    return {(f.name, *sorted(f.labels.values())): f.value for f in collector.figures(now, lags or {})}


def test_predictions_are_counted_by_state_and_rated_between_two_sets_of_figures():
    monitor = collector()
    monitor.take(prediction(1))
    monitor.figures(10_000, {})
    monitor.take(prediction(2))
    monitor.take(prediction(3, Status.INDETERMINATE))
    seen = figures(monitor, 12_000)
    assert seen["wardstream_monitor_predictions", "1", "risk_fusion", "scored"] == 2
    assert seen["wardstream_monitor_predictions", "1", "indeterminate", "risk_fusion"] == 1
    assert seen["wardstream_monitor_predictions_per_second", "risk_fusion"] == 1.0


def test_the_share_of_predictions_without_a_modality_is_told():
    monitor = collector()
    for n in range(4):
        monitor.take(prediction(n, present=n == 0))
    assert figures(monitor)["wardstream_monitor_modality_missing_share", "note", "risk_fusion"] == 0.75


def test_latency_runs_from_the_acknowledgement_to_the_readable_prediction():
    monitor = collector()
    monitor.take(prediction(1))
    assert figures(monitor)["wardstream_monitor_latency_seconds", "0.99"] == 0.5


def test_inputs_that_shift_raise_the_index_of_their_variable():
    monitor = collector()
    facts = [
        Observation(id=str(n), version=Version(), code=Code("http://loinc.org", "8867-4"), time=T0, value=120.0)
        for n in range(200)
    ]
    event = ClinicalEvent(event_id="e", patient="p", format="hl7v2", type="ORU^R01", occurred=T0, facts=facts)
    monitor.take(message(CLINICAL_EVENTS, encode_event(event)))
    seen = figures(monitor)
    assert seen["wardstream_monitor_input_psi", "HR"] > 0.25
    assert seen["wardstream_monitor_data_age_seconds", "hl7v2"] == 9.0


def test_dead_letters_and_lag_are_told_by_reason_and_group():
    monitor = collector()
    letter = DeadLetter(origin=Origin("hl7v2.raw", 0, 1), reason="not_hl7")
    monitor.take(message(DEAD_LETTERS, msgspec.json.encode(letter)))
    seen = figures(monitor, lags={"score": 7})
    assert seen["wardstream_monitor_dead_letters", "not_hl7"] == 1
    assert seen["wardstream_monitor_group_lag_messages", "score"] == 7


def test_a_message_that_does_not_fit_its_schema_is_counted_and_passed_over():
    monitor = collector()
    monitor.take(message(RISK_PREDICTIONS, b"{}"))
    assert monitor.undecodable == 1


@pytest.mark.parametrize("told", [b"yesterday", b"-5", b"", b"9" * 5000, "\u0663".encode()])
def test_a_received_header_that_is_no_time_neither_ends_the_monitor_nor_travels_on(told):
    raw = Message("hl7v2.raw", 0, 0, None, b"x", {RECEIVED_AT: told}, 1234)
    assert carried(raw)[RECEIVED_AT] == b"1234"
    monitor = collector()
    event = ClinicalEvent(event_id="e", patient="p", format="hl7v2", type="ORU^R01", occurred=T0, facts=[])
    for one in (prediction(1), message(CLINICAL_EVENTS, encode_event(event))):
        monitor.take(replace(one, headers={RECEIVED_AT: told}))
    seen = {name for name, *_ in figures(monitor)}
    assert "wardstream_monitor_predictions" in seen
    assert not seen & {"wardstream_monitor_latency_seconds", "wardstream_monitor_data_age_seconds"}
