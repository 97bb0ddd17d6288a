"""What must hold of the topics after a storm: nothing lost, records as without Kafka, one content for each id."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec
from kafka import KafkaConsumer

from services.bus.connect import connection
from services.bus.messages import Message
from services.bus.settings import Settings, site_from_settings
from services.bus.topics import CLINICAL_EVENTS, PATIENT_RECORDS, RAW_BY_FORMAT, RECORD_UPDATES, RISK_PREDICTIONS, Topic
from services.domain.events import ClinicalEvent, Merge, MergeEdge, decode_event
from services.domain.merges import group, joined
from services.domain.prediction import Prediction
from services.domain.record import PatientRecord, decode_record, encode_record, fold
from services.domain.site import Site
from services.encode.embed import TYPE as EMBEDDING
from services.formats.reading import Reading
from services.local.replay.report import ReplayReport
from services.local.report import account, read_topic, report, to_message
from services.normalize.read import read


class Verdict(NamedTuple):
    """What is wrong, in words without patients' data, and figures of the run."""

    problems: list[str]
    figures: dict[str, object]


def check(settings: Settings, sent: ReplayReport) -> Verdict:
    """Read all topics and hold them to what must be."""
    seen = account(settings)
    figures = report(seen, seen.unkept(sent.acknowledged, sent.digests))
    problems = [f"{count} lost by {step}" for step, count in figures["lost_by_step"].items() if count]
    if sent.unacknowledged.total() or sent.rejected.total():
        problems.append(f"not acknowledged: {dict(sent.unacknowledged)}, rejected: {dict(sent.rejected)}")
    problems += [*_ambiguous(settings), *_wrong_records(settings)]
    shown = (
        "messages_in",
        "clinical_events",
        "records",
        "patients",
        "predictions",
        "fallback",
        "filtered",
        "dead_letters",
    )
    return Verdict(problems, {name: figures[name] for name in shown})


def _ambiguous(settings: Settings) -> Iterator[str]:
    """Ids that more than one content has."""
    for topic, name_of in _NAMES:
        contents: dict[tuple[str, str], set[bytes]] = defaultdict(set)
        for message in messages(settings, topic):
            contents[name_of(message)].add(message.value)
        many = sum(len(found) > 1 for found in contents.values())
        if many:
            yield f"{many} ids on {topic} have more than one content"


def _event_name(message: Message) -> tuple[str, str]:
    event = decode_event(message.value)
    return event.patient, event.event_id


def _record_name(message: Message) -> tuple[str, str]:
    record = decode_record(message.value)
    return record.patient, record.record_version


def _prediction_name(message: Message) -> tuple[str, str]:
    prediction = msgspec.json.decode(message.value, type=Prediction)
    return prediction.patient, prediction.prediction_id


_NAMES = (
    (CLINICAL_EVENTS, _event_name),
    (RECORD_UPDATES, _event_name),
    (PATIENT_RECORDS, _record_name),
    (RISK_PREDICTIONS, _prediction_name),
)


def _wrong_records(settings: Settings) -> Iterator[str]:
    """Patients whose last record is not the fold of all that was said of them."""
    last = {message.key: message.value for message in messages(settings, PATIENT_RECORDS)}
    wanted = expected(settings)
    if absent := sum(key.encode() not in last for key in wanted):
        yield f"{absent} of {len(wanted)} patients have no record"
    if wrong := sum(last.get(key.encode(), content) != content for key, content in wanted.items()):
        yield f"{wrong} of {len(wanted)} patients' last records are not the fold of their events"


def expected(settings: Settings) -> dict[str, bytes]:
    """The last record of every patient key, from the raw messages and the embeddings alone."""
    events = [*_said(settings, site_from_settings(settings)), *_embeddings(settings)]
    by_key: dict[str, list[ClinicalEvent]] = defaultdict(list)
    for event in events:
        by_key[event.patient].append(event)
    merges = joined(_edges(events))
    keys = by_key.keys() | {edge.into for edge in merges}
    return {key: _last_record(key, *group(merges, key), by_key) for key in keys}


def _last_record(key: str, survivor: str, members: Iterable[str], events: dict[str, list[ClinicalEvent]]) -> bytes:
    record = PatientRecord(patient=key, merged_into="" if key == survivor else survivor)
    if key == survivor:
        for event in (event for member in members for event in events[member]):
            fold(record, event)
    return encode_record(record)


def _edges(events: Iterable[ClinicalEvent]) -> Iterator[MergeEdge]:
    for event in events:
        yield from (
            MergeEdge(event.patient, fact.into, fact.version) for fact in event.facts if isinstance(fact, Merge)
        )


def _said(settings: Settings, site: Site) -> Iterator[ClinicalEvent]:
    for form, topic in RAW_BY_FORMAT.items():
        for message in messages(settings, topic):
            reading = read(form, message.value, site, message.timestamp_ms)
            yield from reading.events if isinstance(reading, Reading) else ()


def _embeddings(settings: Settings) -> Iterator[ClinicalEvent]:
    found = (decode_event(message.value) for message in messages(settings, RECORD_UPDATES))
    return (event for event in found if event.type == EMBEDDING)


def messages(settings: Settings, topic: Topic) -> Iterator[Message]:
    """Everything on a topic."""
    connect = partial(KafkaConsumer, **connection(settings, "wardstream-storm"))
    return map(to_message, read_topic(topic, connect))
