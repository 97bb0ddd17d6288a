"""Dead letters are listed without their content, shown on request, and retried as they were."""

import argparse
import uuid

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from services.bus import dead_letters
from services.bus.admin import create_topics, end_offsets
from services.bus.connect import connection, kafka_python_producer
from services.bus.dead_letters import DeadLetters
from services.bus.messages import DeadLetter, Message, Origin, dead_letter
from services.bus.settings import Settings
from services.bus.topics import DEAD_LETTERS
from services.domain.reasons import Rejected, RejectReason
from services.domain.site import Site
from services.edge.acceptance import Acceptance
from services.edge.ledger import Ledger
from services.edge.publisher import MemoryPublisher
from tests.kafka_fixture import MakeTopic

SECRET = b"MSH|^~\\&|SECRETNAME^JOHN"


def _bury(settings: Settings, topic: str, offset: int, headers: dict[str, bytes]) -> None:
    message = Message(topic, 1, offset, b"patient-key", SECRET, headers, 1_700_000_000_000)
    letter = dead_letter(message, Rejected(RejectReason.MISSING_PATIENT, "PID-3", "send PID-3"), "normalize")
    producer = KafkaProducer(**kafka_python_producer(settings))
    producer.send(DEAD_LETTERS.name, key=b"patient-key", value=letter.value).get(timeout=30)
    producer.close()


def _args(action: str, *offsets: int, **options: object) -> argparse.Namespace:
    return argparse.Namespace(
        **{"action": action, "offset": list(offsets), "reason": None, "payload": False, "all": False, **options}
    )


@pytest.mark.kafka
def test_a_letter_is_listed_without_content_shown_on_request_and_retried_as_it_was(
    bus_settings: Settings,
    make_topic: MakeTopic,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    create_topics(bus_settings, [DEAD_LETTERS])
    topic = make_topic(f"raw{uuid.uuid4().hex[:4]}", partitions=3)
    _bury(bus_settings, topic.name, 42, {"traceparent": b"00-aa", "ws-retries": b"1"})
    monkeypatch.setattr(dead_letters, "load", lambda: bus_settings)
    (one,) = [x for x in DeadLetters(bus_settings).all() if x.letter.origin.topic == topic.name]
    assert dead_letters.command(_args("list")) == 0
    listed = capfdbinary.readouterr().out
    (line,) = [line for line in listed.decode().splitlines() if topic.name in line]
    for cell in (f"{topic.name}/1/42", "missing_patient", "PID-3", "send PID-3", "normalize", "2023-11-14", "waiting"):
        assert cell in line
    assert b"SECRETNAME" not in listed
    assert b"patient-key" not in listed
    assert dead_letters.command(_args("show", one.offset)) == 0
    assert b"SECRETNAME" not in capfdbinary.readouterr().out
    assert dead_letters.command(_args("show", one.offset, payload=True)) == 0
    assert SECRET in capfdbinary.readouterr().out
    assert dead_letters.command(_args("retry", one.offset)) == 0
    (again,) = _read(bus_settings, topic.name)
    assert (again.key, again.value) == (b"patient-key", SECRET)
    assert dict(again.headers) == {"traceparent": b"00-aa", "ws-retries": b"2"}
    (marked,) = [x for x in DeadLetters(bus_settings).all() if x.offset == one.offset]
    assert marked.retried
    assert dead_letters.command(_args("show", one.offset + 1000)) == 1


@pytest.mark.kafka
async def test_what_the_edge_refused_can_be_retried_and_one_that_cannot_keeps_no_other_back(
    bus_settings: Settings,
    make_topic: MakeTopic,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    create_topics(bus_settings, [DEAD_LETTERS])
    topic = make_topic(f"raw{uuid.uuid4().hex[:4]}", partitions=3)
    edge = MemoryPublisher()
    acceptance = Acceptance(edge, Ledger(None), Site(secret=b"s"))
    await acceptance.message(SECRET)
    letter = msgspec.json.decode(edge.on(DEAD_LETTERS)[0].value, type=DeadLetter)
    assert (letter.key, letter.origin.partition) == (None, -1)
    reason = f"r{uuid.uuid4().hex[:8]}"  # apart from other tests' letters on the same cluster
    letters = [
        msgspec.structs.replace(letter, reason=reason, origin=Origin(name, -1, -1))
        for name in ("not a topic's name!", topic.name)
    ]
    producer = KafkaProducer(**kafka_python_producer(bus_settings))
    for one in letters:
        producer.send(DEAD_LETTERS.name, value=msgspec.json.encode(one)).get(timeout=30)
    producer.close()
    monkeypatch.setattr(dead_letters, "load", lambda: bus_settings)
    assert dead_letters.command(_args("retry", all=True, reason=reason)) == 1
    said = capfd.readouterr()
    assert "1 message(s) published again" in said.out
    assert "could not be published again" in said.err
    assert "SECRETNAME" not in said.out + said.err
    (again,) = _read(bus_settings, topic.name)
    assert (again.key, again.value, dict(again.headers)) == (None, SECRET, {"ws-retries": b"1"})
    assert [one.retried for one in DeadLetters(bus_settings).all(reason)] == [False, True]


def _read(settings: Settings, topic: str) -> list:  # type: ignore[type-arg]
    ends = {TopicPartition(*slot): end for slot, end in end_offsets(settings, [topic]).items()}
    consumer = KafkaConsumer(**connection(settings), enable_auto_commit=False)
    found = []
    consumer.assign(list(ends))
    consumer.seek_to_beginning()
    while any(consumer.position(tp) < end for tp, end in ends.items()):
        for records in consumer.poll(timeout_ms=500).values():
            found += records
    consumer.close()
    return found
