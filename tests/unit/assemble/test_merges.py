"""Merges are checked by running the step over a small simulated bus, in every order that Hypothesis thinks of."""

import random
from collections import deque

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from services.assemble.step import Assemble, State
from services.bus.messages import Message
from services.bus.topics import CLINICAL_EVENTS, DEAD_LETTERS, PATIENT_RECORDS, RECORD_UPDATES
from services.domain.events import ClinicalEvent, decode_event, encode_event
from services.domain.record import PatientRecord, decode_record, encode_record, fold
from tests.unit.strategies import events, merge

KEYS = ["a", "b", "c", "d"]


class Ward:
    """Keys with their states, and the last record published for each."""

    def __init__(self) -> None:
        self.step = Assemble()
        self.states: dict[str, bytes | None] = {}
        self.records: dict[str, bytes] = {}
        self.hops = 0

    def feed(self, stream: list[ClinicalEvent], seed: int = 0) -> "Ward":
        """Deliver the events in order; what the step sends back is delivered at a random later moment."""
        rng, waiting = random.Random(seed), deque(stream)
        pending: list[ClinicalEvent] = []
        while waiting or pending:
            if pending and (not waiting or rng.random() < 0.5):
                event = pending.pop(rng.randrange(len(pending)))
            else:
                event = waiting.popleft()
            pending += self.deliver(event)
        return self

    def deliver(self, event: ClinicalEvent) -> list[ClinicalEvent]:
        message = Message(CLINICAL_EVENTS.name, 0, 0, event.patient.encode(), encode_event(event))
        result = self.step(message, self.states.get(event.patient))
        self.states[event.patient] = result.state
        followed = []
        for output in result.outputs:
            if output.topic is PATIENT_RECORDS:
                self.records[output.key] = output.value
            else:
                assert output.topic is RECORD_UPDATES
                followed.append(decode_event(output.value))
        self.hops += len(followed)
        assert self.hops < 10_000, "an event goes round for ever"
        return followed

    def live(self) -> dict[str, bytes]:
        return {k: v for k, v in self.records.items() if not decode_record(v).merged_into}


def expected(survivor: str, stream: list[ClinicalEvent]) -> bytes:
    record = PatientRecord(patient=survivor)
    for event in stream:
        fold(record, event)
    return encode_record(record)


keyed_events = st.lists(events(patient=st.sampled_from(KEYS)), max_size=6)


@given(keyed_events, st.permutations(range(3)), st.randoms(use_true_random=False), st.integers())
def test_a_chain_of_merges_ends_in_one_record_whatever_the_order(stream, order, rng, seed):
    chain = [merge("a", "b", 1), merge("b", "c", 2), merge("c", "d", 3)]
    deliveries = stream + [chain[n] for n in order]
    rng.shuffle(deliveries)
    ward = Ward().feed(deliveries, seed)
    assert ward.live() == {"d": expected("d", stream)}


@given(keyed_events, st.randoms(use_true_random=False), st.integers())
def test_an_inverse_merge_leaves_the_patient_that_the_last_one_chose(stream, rng, seed):
    deliveries = [*stream, merge("a", "b", 1), merge("b", "a", 2)]
    rng.shuffle(deliveries)
    ward = Ward().feed(deliveries, seed)
    others = [key for key in ("c", "d") if any(e.patient == key for e in stream)]
    assert set(ward.live()) == {"a", *others}
    assert ward.live()["a"] == expected("a", [e for e in stream if e.patient in "ab"])


@given(keyed_events, st.randoms(use_true_random=False), st.integers())
def test_a_number_merged_twice_takes_both_survivors_to_one_record(stream, rng, seed):
    deliveries = [*stream, merge("a", "b", 1), merge("a", "c", 2)]
    rng.shuffle(deliveries)
    ward = Ward().feed(deliveries, seed)
    assert ward.live()["c"] == expected("c", [e for e in stream if e.patient in "abc"])
    assert "a" not in ward.live()
    assert "b" not in ward.live()


@example([], [merge("a", "b", 1), merge("b", "c", 2), merge("c", "a", 3)], random.Random(0), 1)
@given(
    keyed_events,
    st.lists(st.builds(merge, st.sampled_from(KEYS), st.sampled_from(KEYS), st.integers(0, 3)), max_size=5),
    st.randoms(use_true_random=False),
    st.integers(),
)
def test_no_set_of_merges_loses_a_fact_or_goes_round_for_ever(stream, merges, rng, seed):
    deliveries = stream + [m for m in merges if m.patient != m.facts[0].into]
    rng.shuffle(deliveries)
    ward = Ward().feed(deliveries, seed)
    total = expected("all", stream)
    kept = PatientRecord(patient="all")
    from services.domain.record import join

    for record in ward.live().values():
        join(kept, decode_record(record))
    assert encode_record(kept) == total


@given(keyed_events, st.integers())
def test_repeating_everything_changes_no_record(stream, seed):
    deliveries = [*stream, merge("a", "b", 1), merge("b", "c", 2)]
    ward = Ward().feed(deliveries, seed)
    once = ward.live()
    assert ward.feed(deliveries, seed + 1).live() == once


def test_a_repeat_of_the_merge_repeats_the_whole_transfer():
    ward = Ward()
    first = ward.deliver(merge("a", "b", 1))
    assert ward.deliver(merge("a", "b", 1)) == first


def test_a_value_that_is_no_clinical_event_becomes_a_dead_letter_and_keeps_the_state():
    state = msgspec.json.encode(State(PatientRecord(patient="a")))
    result = Assemble()(Message(CLINICAL_EVENTS.name, 3, 7, b"a", b'{"name": "DOE^JOHN"}'), state)
    assert result.state == state
    (letter,) = result.outputs
    assert letter.topic is DEAD_LETTERS
    content = msgspec.json.decode(letter.value)
    assert content["reason"] == "schema_violation"
    assert content["origin"] == {"topic": "clinical.events", "partition": 3, "offset": 7}
    assert "DOE" not in content["hint"] + content["where"]
