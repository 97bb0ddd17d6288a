"""Nothing that was accepted can be lost without the account saying so: each test takes an end away and looks."""

import ast
import asyncio
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.assemble.step import Assemble
from services.bus.messages import EVENT_ID, FilteredMessage, Message, Origin, Output, dead_letter
from services.bus.objects import open_store
from services.bus.topics import (
    CLINICAL_EVENTS,
    DEAD_LETTERS,
    FHIR_RAW,
    FILTERED_MESSAGES,
    HL7_RAW,
    PATIENT_RECORDS,
    RECORD_UPDATES,
    RISK_PREDICTIONS,
)
from services.domain.events import ClinicalEvent, Code, Merge, Observation, Rank, Version, encode_event
from services.domain.prediction import Outcome, Prediction, Risk, Status
from services.domain.reasons import Rejected, RejectReason
from services.domain.record import decode_record
from services.domain.site import Site
from services.local.account import Account, digest_of
from services.local.replay.report import ReplayReport
from services.local.report import report
from services.normalize.step import Normalize
from services.score.fallback import fallback
from services.score.predict import encode_prediction
from tests.support import ROOT
from tests.unit.encode.test_step import World, note, picture

T = datetime(2026, 3, 1, 9, tzinfo=UTC)
REFUSED = Rejected(RejectReason.STEP_FAILED)


class Topics:
    """The topics in memory: what each step publishes, at an offset of its own."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.states: dict[str, bytes | None] = {}

    def put(self, topic, value: bytes, key: str | None = None, headers: dict[str, bytes] | None = None) -> Message:
        encoded = key.encode() if key is not None else None
        self.messages.append(Message(topic.name, 0, len(self.messages), encoded, value, headers or {}, 1_000))
        return self.messages[-1]

    def publish(self, outputs: list[Output]) -> list[Message]:
        return [self.put(one.topic, one.value, one.key, one.headers) for one in outputs]

    def assemble(self, *waiting: Message) -> None:
        """Assemble these and all that comes of them."""
        step, pending = Assemble(), list(waiting)
        while pending:
            message = pending.pop(0)
            key = (message.key or b"").decode()
            result = step(message, self.states.get(key))
            self.states[key] = result.state
            pending += [one for one in self.publish(list(result.outputs)) if one.topic == RECORD_UPDATES.name]

    def score(self) -> None:
        for record in self.of(PATIENT_RECORDS):
            self.publish([predicted(record)])

    def of(self, topic) -> list[Message]:
        return [one for one in self.messages if one.topic == topic.name]

    def account(self, *absent: Message, encoders=("note", "image")) -> Account:
        seen = Account(frozenset(encoders))
        for message in self.messages:
            if message not in absent:
                seen.take(message)
        return seen

    def lost(self, *absent: Message) -> dict[str, int]:
        """Who lost how much, when these messages are not there; those who lost nothing are left out."""
        return {step: count for step, count in self.account(*absent).lost().items() if count}


def predicted(record: Message, status: Status = Status.SCORED) -> Output:
    known = decode_record(record.value)
    risks = [Risk(outcome=Outcome.MORTALITY, status=status)]
    prediction = Prediction(
        prediction_id=f"m{known.record_version}",
        patient=known.patient,
        record_version=known.record_version,
        as_of=T,
        model="risk_fusion",
        model_version="1",
        risks=risks,
    )
    return Output(RISK_PREDICTIONS, known.patient, encode_prediction(prediction))


def result(value: float = 70.0, issued: int = 1) -> Observation:
    return Observation(
        id="o", version=Version(issued=issued), code=Code("http://loinc.org", "8867-4"), time=T, value=value
    )


def event(*facts, name: str = "e1", patient: str = "a") -> ClinicalEvent:
    return ClinicalEvent(event_id=name, patient=patient, format="hl7v2", type="ORU^R01", occurred=T, facts=[*facts])


def put_event(topics: Topics, one: ClinicalEvent) -> Message:
    return topics.put(CLINICAL_EVENTS, encode_event(one), one.patient)


def through(*events: ClinicalEvent) -> Topics:
    """These events, assembled and scored."""
    topics = Topics()
    for one in events:
        topics.assemble(put_event(topics, one))
    topics.score()
    return topics


def test_what_went_all_the_way_is_not_lost():
    topics = through(event(result()), event(result(), name="e2", patient="b"))
    assert topics.lost() == {}
    assert topics.account().patients == {"a", "b"}


@pytest.mark.parametrize(("topic", "step"), [(PATIENT_RECORDS, "assemble"), (RISK_PREDICTIONS, "score")])
def test_each_message_that_disappears_shows_at_the_step_that_owed_it(topic, step):
    topics = through(event(result()), event(result(80.0, issued=2), name="e2"))
    assert len(topics.of(topic)) == 2
    for absent in topics.of(topic):
        assert topics.lost(absent) == {step: 1}


def test_a_fallback_is_no_score():
    topics = through(event(result()))
    [record], [prediction] = topics.of(PATIENT_RECORDS), topics.of(RISK_PREDICTIONS)
    topics.put(RISK_PREDICTIONS, encode_prediction(fallback(decode_record(record.value))), "a")
    assert topics.lost() == {}
    assert topics.lost(prediction) == {"score": 1}


@pytest.mark.parametrize("status", [Status.SUPERSEDED, Status.INDETERMINATE])
def test_a_models_answer_without_a_score_is_an_end(status):
    topics = through(event(result()))
    [prediction] = topics.of(RISK_PREDICTIONS)
    topics.publish([predicted(topics.of(PATIENT_RECORDS)[0], status)])
    assert topics.lost(prediction) == {}


def test_a_dead_letter_of_clinical_events_ends_the_event_for_the_step_that_wrote_it_alone():
    topics = Topics()
    one = put_event(topics, event(note()))
    assert topics.lost() == {"assemble": 1, "encode": 1}
    [by_encode] = topics.publish([dead_letter(one, REFUSED, "encode")])
    assert topics.lost() == {"assemble": 1}
    topics.publish([dead_letter(one, REFUSED, "assemble")])
    assert topics.lost() == {}
    assert topics.lost(by_encode) == {"encode": 1}


def test_what_is_no_event_ends_in_its_dead_letter():
    topics = Topics()
    for topic in (CLINICAL_EVENTS, RECORD_UPDATES):
        topics.put(topic, b"{", "a")
    topics.put(CLINICAL_EVENTS, encode_event(event(result())), "another key")
    assert topics.lost() == {"assemble": 3}
    topics.assemble(*topics.messages)
    assert topics.lost() == {}


def test_dead_letters_of_records_and_updates_end_them():
    topics = Topics()
    update = topics.put(RECORD_UPDATES, encode_event(event(result(), name="u1")), "a")
    assert topics.lost() == {"assemble": 1}
    topics.publish([dead_letter(update, REFUSED, "assemble")])
    for value in (b'{"patient":"a","record_version":"v1"}', b"no record"):
        record = topics.put(PATIENT_RECORDS, value, "a", {EVENT_ID: b"e1"})
        assert topics.lost() == {"score": 1}
        for step in ("score-shadow", "fallback"):
            topics.publish([dead_letter(record, REFUSED, step)])
        assert topics.lost() == {"score": 1}
        topics.publish([dead_letter(record, REFUSED, "score")])
        assert topics.lost() == {}


def merged() -> Topics:
    """a has a result and is merged into b, b into c; then a result comes for a, which is forwarded."""
    merges = [
        event(Merge(id="m", version=Version(issued=n), into=into), name=f"m{n}", patient=old)
        for n, (old, into) in enumerate(["ab", "bc"], 1)
    ]
    return through(event(result()), *merges, event(result(99.0), name="e2"))


def test_merges_and_forwards_are_accounted_for():
    assert merged().lost() == {}


def test_the_record_that_a_forward_should_have_made_is_missed():
    topics = merged()
    forwards = [one for one in topics.of(RECORD_UPDATES) if b'"event_id":"e2"' in one.value]
    records = [one for one in topics.of(PATIENT_RECORDS) if one.headers[EVENT_ID] == b"e2"]
    assert forwards
    assert [one.key for one in records] == [b"c"]
    assert topics.lost(*records) == {"assemble": 1}
    assert topics.lost(*forwards, *records) == {"assemble": 1}


def test_a_transfer_that_was_not_sent_or_not_taken_is_missed():
    topics = merged()
    for transfer in (one for one in topics.of(RECORD_UPDATES) if b'"type":"transfer"' in one.value):
        name = msgspec.json.decode(transfer.value)["event_id"].encode()
        repeats = [one for one in topics.of(RECORD_UPDATES) if one.headers[EVENT_ID] == transfer.headers[EVENT_ID]]
        assert topics.lost(*repeats).get("assemble")
        made = [one for one in topics.of(PATIENT_RECORDS) if one.headers[EVENT_ID] == name]
        assert topics.lost(*made).get("assemble")


pairs = st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"))


@given(st.lists(pairs, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_whatever_is_merged_nothing_is_missed_and_every_absent_record_is(steps, rng):
    """A pair of different keys is a merge of the first into the second, of equal ones a result for it."""
    stream = [
        event(result(issued=n), name=f"e{n}", patient=old)
        if old == into
        else event(Merge(id="m", version=Version(issued=n), into=into), name=f"e{n}", patient=old)
        for n, (old, into) in enumerate(steps)
    ]
    rng.shuffle(stream)
    topics = through(*stream)
    assert topics.lost() == {}
    made = [one for one in topics.of(PATIENT_RECORDS) if b'"merged_into"' not in one.value]
    absent = rng.choice(made)
    same = [one for one in made if one.headers[EVENT_ID] == absent.headers[EVENT_ID]]
    assert topics.lost(*same) == {"assemble": 1}


def test_an_embedding_must_reach_the_record():
    topics, world = Topics(), World()
    source = put_event(topics, event(note()))
    topics.assemble(source)
    updates = topics.publish([output for [output] in asyncio.run(world.step([source]))])
    topics.score()
    assert topics.lost() == {"assemble": 1}
    topics.assemble(*updates)
    topics.score()
    assert topics.lost() == {}
    assert topics.lost(*updates) == {"encode": 1}


def facts_for_encode(world: World):
    kept = world.keep(b"picture:25")
    yield from (kept, world.keep(b"no picture"), picture("sha256/none"), note(), note(text="   "), result())
    yield from (note(version=Version(rank=rank)) for rank in Rank)
    yield from (picture(kept.object, version=Version(rank=rank)) for rank in Rank)
    shown = [{"modality": "CT"}, {"body_part": "HAND"}, {"view_position": "LL"}, {"view_position": "PA"}]
    yield from (picture(kept.object, kept.object_sha256, **one) for one in shown)
    yield picture("")


def test_encode_owes_what_it_takes_and_nothing_else():
    """The account's rule is not the step's code: over every kind of fact they must agree."""
    world, owed = World(), 0
    for n, fact in enumerate(facts_for_encode(world)):
        topics = Topics()
        source = put_event(topics, event(fact, name=f"e{n}"))
        [outputs] = asyncio.run(world.step([source]))
        assert topics.account().lost()["encode"] == bool(outputs), fact
        topics.publish(list(outputs))
        assert topics.account().lost()["encode"] == 0, fact
        owed += bool(outputs)
    assert owed > 10


def test_a_note_without_words_and_an_encoder_that_is_not_deployed_owe_nothing():
    topics = Topics()
    put_event(topics, event(note(text="...")))
    assert topics.account().lost()["encode"] == 0
    put_event(topics, event(note(), picture("sha256/x"), name="e2"))
    assert topics.account().lost()["encode"] == 2
    assert topics.account(encoders=["note"]).lost()["encode"] == 1
    assert topics.account(encoders=[]).lost()["encode"] == 0


def test_the_embedding_of_an_older_version_of_a_note_does_not_stand_for_the_newer():
    topics, world = Topics(), World()
    first = put_event(topics, event(note()))
    second = put_event(topics, event(note(text="Corrected.", version=Version(issued=9, digest="d2")), name="e2"))
    [[old], [new]] = asyncio.run(world.step([first, second]))
    topics.publish([old])
    assert topics.account().lost()["encode"] == 1
    topics.publish([new])
    assert topics.account().lost()["encode"] == 0


BUNDLE = {
    "resourceType": "Bundle",
    "type": "batch",
    "entry": [
        {
            "resource": {
                "resourceType": "Patient",
                "id": number,
                "identifier": [{"system": "urn:oid:1.2.3", "value": number}],
                "birthDate": "1950-01-01",
            },
            "request": {"method": "POST", "url": "Patient"},
        }
        for number in ("11", "12", "13")
    ],
}


def test_one_of_the_events_of_a_message_cannot_disappear():
    topics = Topics()
    raw = topics.put(FHIR_RAW, msgspec.json.encode(BUNDLE), "a")
    assert topics.lost() == {"normalize": 1}
    normalize = Normalize(Site(name="test", secret=b"secret" * 6), open_store("memory:"))
    (outputs,) = asyncio.run(normalize([raw]))
    events = topics.publish(list(outputs))
    assert [one.topic for one in events] == [CLINICAL_EVENTS.name] * 3
    assert "normalize" not in topics.lost()
    for absent in events:
        assert topics.lost(absent)["normalize"] == 1


@pytest.mark.parametrize("headers", [{}, {"ws-events": b"x"}, {"ws-events": b"1/" + b"9" * 5000}])
def test_an_event_that_does_not_say_how_many_there_are_ends_its_message(headers):
    topics = Topics()
    topics.put(HL7_RAW, b"MSH", "a")
    topics.put(CLINICAL_EVENTS, encode_event(event(result())), "a", {"ws-origin": b"hl7v2.raw/0/0", **headers})
    assert topics.account().lost()["normalize"] == 0


def test_filtered_and_dead_messages_count_once_however_often_they_are_delivered():
    topics = Topics()
    raw = [topics.put(HL7_RAW, b"MSH|%d" % n, "a") for n in range(3)]
    for _ in range(2):
        for one in raw[:2]:
            origin = Origin(one.topic, one.partition, one.offset)
            reasons = ["unsupported_event", "test_message"]
            value = FilteredMessage(origin=origin, format="hl7v2", type="X", message_id="1", reasons=reasons)
            topics.put(FILTERED_MESSAGES, msgspec.json.encode(value))
        topics.publish([dead_letter(raw[2], REFUSED, "normalize")])
    seen = report(topics.account())
    assert (seen["filtered"], seen["dead_letters"], seen["lost"]) == (2, 1, 0)
    assert seen["filtered_reasons"] == {"test_message": 2, "unsupported_event": 2}
    assert seen["dead_letter_reasons"] == {RejectReason.STEP_FAILED: 1}


def test_every_refusal_of_the_edge_counts_and_ends_no_raw_message():
    topics = Topics()
    topics.put(HL7_RAW, b"MSH", "a")
    refused = Message(HL7_RAW.name, -1, -1, None, b"no message", {}, 1_000)
    topics.publish([dead_letter(refused, REFUSED, "edge") for _ in range(2)])
    seen = report(topics.account())
    assert (seen["dead_letters"], seen["lost_by_step"]["normalize"]) == (2, 1)


def test_what_was_acknowledged_and_is_not_on_the_raw_topic_is_lost():
    topics = Topics()
    topics.put(HL7_RAW, b"one", "a")
    topics.put(HL7_RAW, b"one", "a")  # sent twice, since its answer was lost
    sent = ReplayReport("test")
    sent.acknowledged.update({"hl7v2": 3, "dicom": 2})
    sent.digests["hl7v2"] = {digest_of(b"one"), digest_of(b"two")}
    unkept = topics.account().unkept(sent.acknowledged, sent.digests)
    assert unkept == {"hl7v2": 1, "fhir": 0, "dicom": 2}
    seen = report(topics.account(), unkept)
    assert seen["lost_by_step"]["edge"] == 3
    assert seen["lost"] == 3 + seen["lost_by_step"]["normalize"]


def test_what_strangers_publish_is_counted_and_stops_nothing():
    topics = through(event(result()))
    for topic in (DEAD_LETTERS, FILTERED_MESSAGES, RISK_PREDICTIONS):
        topics.put(topic, b"\xff{")
    assert topics.lost() == {}
    for topic in (CLINICAL_EVENTS, RECORD_UPDATES, PATIENT_RECORDS):
        topics.put(topic, b'{"event_id":"e9","patient":"z"}', "z", {"ws-origin": b"\xff", EVENT_ID: b"\xff"})
    assert topics.lost() == {"assemble": 1, "score": 1}
    assert report(topics.account())["unreadable"] == {
        topic.name: 1 for topic in (DEAD_LETTERS, FILTERED_MESSAGES, RISK_PREDICTIONS)
    }


def test_every_key_of_the_report_is_described():
    """Also those that the demo adds, by the words of its call."""
    calls = [node for node in ast.walk(ast.parse((ROOT / "services/local/demo.py").read_text())) if is_report(node)]
    added = {word.arg for call in calls for word in call.keywords}
    assert len(added) > 5
    text = (ROOT / "docs/report.md").read_text()
    for key in {*report(Account()), *added, *ReplayReport("").as_dict(), *Account().lost()}:
        assert f"`{key}`" in text, key


def is_report(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "report"
