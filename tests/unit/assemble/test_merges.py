"""Merges are checked by running the step over a small simulated bus, in every order that Hypothesis thinks of."""

import random
from collections import deque

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from services.assemble.step import Assemble, State
from services.bus.messages import Message
from services.bus.topics import CLINICAL_EVENTS, DEAD_LETTERS, PATIENT_RECORDS, RECORD_UPDATES
from services.domain.events import ClinicalEvent, MergeEdge, decode_event, encode_event
from services.domain.merges import Edges, group, joined
from services.domain.record import PatientRecord, decode_record, encode_record, fold
from tests.unit.strategies import T0, events, merge

KEYS = ["a", "b", "c", "d"]


class Ward:
    """Keys with their states, and the last record published for each."""

    def __init__(self, crashes: random.Random | None = None) -> None:
        """`crashes`: each delivery may be cut off after the state is written and before anything is sent."""
        self.crashes = crashes
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
        if self.crashes and self.crashes.random() < 0.3:
            result = self.step(message, self.states[event.patient])  # what was sent before is lost: it is not looked at
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
merges = st.lists(
    st.builds(merge, st.sampled_from(KEYS), st.sampled_from(KEYS), st.integers(0, 5)).filter(
        lambda event: event.patient != event.facts[0].into
    ),
    max_size=6,
)


def edges(decisions: list[ClinicalEvent]) -> Edges:
    return joined([MergeEdge(m.patient, m.facts[0].into, m.facts[0].version) for m in decisions])


def outcome(stream: list[ClinicalEvent], decisions: list[ClinicalEvent]) -> dict[str, bytes]:
    """One record for each group of merged numbers, with all that was said of any of them, under the survivor's key."""
    known, found = edges(decisions), {}
    for key in {e.patient for e in stream} | {k for m in decisions for k in (m.patient, m.facts[0].into)}:
        survivor, members = group(known, key)
        found[survivor] = expected(survivor, [e for e in stream if e.patient in members])
    return found


@example([], [merge("b", "c", 3), merge("c", "a", 4), merge("b", "c", 5)], random.Random(0), 1)
@example([], [merge("b", "c", 1), merge("c", "b", 2), merge("b", "c", 3)], random.Random(0), 1)
@example([], [merge("a", "b", 1), merge("b", "c", 2), merge("c", "a", 3)], random.Random(0), 1)
@given(keyed_events, merges, st.randoms(use_true_random=False), st.integers())
def test_any_merges_in_any_order_end_in_one_record_for_each_patient(stream, decisions, rng, seed):
    deliveries = [*stream, *decisions, *decisions[:2]]
    rng.shuffle(deliveries)
    assert Ward().feed(deliveries, seed).live() == outcome(stream, decisions)


@given(keyed_events, merges, st.randoms(use_true_random=False), st.integers())
def test_sends_that_a_crash_lost_are_made_again_by_the_repeat(stream, decisions, rng, seed):
    deliveries = [*stream, *decisions]
    rng.shuffle(deliveries)
    assert Ward(crashes=rng).feed(deliveries, seed).live() == outcome(stream, decisions)


def test_a_chain_ends_at_its_last_number():
    chain = [merge("a", "b", 1), merge("b", "c", 2), merge("c", "d", 3)]
    assert {group(edges(chain), key)[0] for key in KEYS} == {"d"}


def test_a_later_merge_of_a_superseded_number_acts_on_its_survivor():
    decisions = [merge("a", "b", 1), merge("a", "c", 2)]
    assert group(edges(decisions), "b") == ("c", frozenset("abc"))


def test_an_inverse_merge_makes_the_old_number_survive():
    assert group(edges([merge("a", "b", 1), merge("b", "a", 2)]), "a")[0] == "a"


def test_a_stale_repeat_of_a_merge_changes_nothing():
    decisions = [merge("b", "c", 1), merge("c", "a", 2), merge("b", "c", 3)]
    assert group(edges(decisions), "b")[0] == "a"


@given(merges, merges)
def test_merge_sets_join_in_any_order_with_any_repeats(one, two):
    assert joined(edges(one), edges(two)) == joined(edges(two), edges(one), edges(two)) == edges(one + two)


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
    assert [event.type for event in first] == ["merges", "transfer"]


def test_even_an_event_without_facts_follows_its_superseded_number():
    ward = Ward()
    ward.deliver(merge("a", "b", 1))
    empty = ClinicalEvent(event_id="e", patient="a", format="hl7v2", type="ADT^A08", occurred=T0, facts=[])
    (followed,) = ward.deliver(empty)
    assert (followed.patient, followed.event_id) == ("b", "e")


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
