"""The report of a run: every message accounted for, by reading the topics from their beginning.

A message is lost when it has no end. Three sets must be empty: raw messages that no clinical event, filtered
message or dead letter came from; clinical events that no version of a record came from (directly or by a forward)
and no dead letter; record versions without a prediction. Repeats do not matter, since sets are compared.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition

from services.bus.connect import connection
from services.bus.messages import EVENT_ID, ORIGIN, RECEIVED_AT, DeadLetter, FilteredMessage
from services.bus.settings import Settings
from services.bus.topics import (
    CLINICAL_EVENTS,
    DEAD_LETTERS,
    FILTERED_MESSAGES,
    PATIENT_RECORDS,
    RAW_BY_FORMAT,
    RISK_PREDICTIONS,
    Topic,
)
from services.domain.prediction import Prediction, Status

READ_TIMEOUT_MS = 1000


class _EventHead(msgspec.Struct):
    event_id: str


class _RecordHead(msgspec.Struct):
    patient: str
    record_version: str = ""


@dataclass
class Account:
    """What was seen on the topics."""

    raw: dict[str, set[str]] = field(default_factory=dict)  # format -> topic/partition/offset
    ended: set[str] = field(default_factory=set)  # raw messages with an end after normalize
    events: set[str] = field(default_factory=set)
    events_ended: set[str] = field(default_factory=set)
    versions: set[tuple[str, str]] = field(default_factory=set)
    scored: set[tuple[str, str]] = field(default_factory=set)
    record_messages: int = 0
    patients: set[str] = field(default_factory=set)
    predictions: dict[str, Prediction] = field(default_factory=dict)
    filtered: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[int] = field(default_factory=list)
    first_ms: int = 0
    last_ms: int = 0

    def lost(self) -> dict[str, int]:
        """Messages without an end, by the step that owed it."""
        raw = set().union(*self.raw.values())
        return {
            "normalize": len(raw - self.ended),
            "assemble": len(self.events - self.events_ended),
            "score": len(self.versions - self.scored),
        }


def account(settings: Settings) -> Account:
    """Read all topics to their present end."""
    seen, connect = Account(), partial(KafkaConsumer, **connection(settings, "wardstream-report"))
    for form, topic in RAW_BY_FORMAT.items():
        seen.raw[form] = set()
        for message in read_topic(topic, connect):
            seen.raw[form].add(f"{message.topic}/{message.partition}/{message.offset}")
            seen.first_ms = min(seen.first_ms or message.timestamp, message.timestamp)
    _read_events(seen, connect)
    _read_ends(seen, connect)
    _read_predictions(seen, connect)
    return seen


def _read_events(seen: Account, connect: Callable[..., KafkaConsumer]) -> None:
    head = msgspec.json.Decoder(_EventHead)
    for message in read_topic(CLINICAL_EVENTS, connect):
        seen.events.add(head.decode(message.value).event_id)
        seen.ended.add(_header(message, ORIGIN))
    record = msgspec.json.Decoder(_RecordHead)
    for message in read_topic(PATIENT_RECORDS, connect):
        content = record.decode(message.value)
        seen.record_messages += 1
        seen.patients.add(content.patient)
        seen.versions.add((content.patient, content.record_version))
        seen.events_ended.add(_header(message, EVENT_ID))


def _read_ends(seen: Account, connect: Callable[..., KafkaConsumer]) -> None:
    filtered = msgspec.json.Decoder(FilteredMessage)
    for message in read_topic(FILTERED_MESSAGES, connect):
        content = filtered.decode(message.value)
        seen.ended.add(f"{content.origin.topic}/{content.origin.partition}/{content.origin.offset}")
        seen.filtered.update(content.reasons)
    letter = msgspec.json.Decoder(DeadLetter)
    head = msgspec.json.Decoder(_EventHead)
    for message in read_topic(DEAD_LETTERS, connect):
        dead = letter.decode(message.value)
        seen.dead[dead.reason] += 1
        seen.ended.add(f"{dead.origin.topic}/{dead.origin.partition}/{dead.origin.offset}")
        if dead.origin.topic == CLINICAL_EVENTS.name:
            try:
                seen.events_ended.add(head.decode(dead.value).event_id)
            except msgspec.MsgspecError:
                continue


def _read_predictions(seen: Account, connect: Callable[..., KafkaConsumer]) -> None:
    decoder = msgspec.json.Decoder(Prediction)
    for message in read_topic(RISK_PREDICTIONS, connect):
        prediction = decoder.decode(message.value)
        seen.scored.add((prediction.patient, prediction.record_version))
        if prediction.prediction_id not in seen.predictions:
            seen.predictions[prediction.prediction_id] = prediction
            received = int(_header(message, RECEIVED_AT) or 0)
            if received:
                seen.latencies_ms.append(max(0, message.timestamp - received))
            seen.last_ms = max(seen.last_ms, message.timestamp)


def _header(message: Any, name: str) -> str:
    return next((value.decode() for key, value in message.headers if key == name), "")


def read_topic(topic: Topic, connect: Callable[..., KafkaConsumer]) -> Iterator[Any]:
    """Every message of a topic from its beginning to its present end, without a consumer group."""
    consumer = connect(enable_auto_commit=False, group_id=None)
    try:
        partitions = [TopicPartition(topic.name, p) for p in consumer.partitions_for_topic(topic.name) or ()]
        if not partitions:
            return
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(p) < ends[p] for p in partitions):
            for batch in consumer.poll(READ_TIMEOUT_MS, max_records=2000).values():
                yield from batch
    finally:
        consumer.close()


def report(seen: Account, **facts: Any) -> dict[str, Any]:
    """The report's JSON. Keys:

    `messages_in` by format and `total`; `clinical_events`, `records` (versions published), `patients`,
    `predictions` (distinct, all kinds), `indeterminate` (those without any scored risk), `fallback`, `superseded`;
    `filtered` and `dead_letters` (messages), with `filtered_reasons` and `dead_letter_reasons`; `lost` and
    `lost_by_step`; `latency_ms` {p50, p95, p99, max} from the acknowledgement at the edge to readable on
    `risk.predictions`; `throughput_per_s` (raw messages over the seconds from the first to the last prediction);
    and what the caller adds: `source`, `brokers`, `triton_version`, `kafka_version`, ...
    """
    lost = seen.lost()
    seconds = max(0.001, (seen.last_ms - seen.first_ms) / 1000)
    total = sum(len(origins) for origins in seen.raw.values())
    statuses = Counter(_status(p) for p in seen.predictions.values())
    return {
        "messages_in": {**{form: len(origins) for form, origins in seen.raw.items()}, "total": total},
        "clinical_events": len(seen.events),
        "records": seen.record_messages,
        "patients": len(seen.patients),
        "predictions": len(seen.predictions),
        "indeterminate": statuses[Status.INDETERMINATE],
        "fallback": statuses[Status.FALLBACK],
        "superseded": statuses[Status.SUPERSEDED],
        "filtered": sum(seen.filtered.values()),
        "filtered_reasons": dict(sorted(seen.filtered.items())),
        "dead_letters": sum(seen.dead.values()),
        "dead_letter_reasons": dict(sorted(seen.dead.items())),
        "lost": sum(lost.values()),
        "lost_by_step": lost,
        "latency_ms": percentiles(seen.latencies_ms),
        "throughput_per_s": round(total / seconds, 1) if total else 0.0,
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **facts,
    }


def _status(prediction: Prediction) -> Status:
    statuses = {risk.status for risk in prediction.risks}
    for status in (Status.SUPERSEDED, Status.FALLBACK, Status.SCORED):
        if status in statuses or (status is Status.SUPERSEDED and prediction.superseded_by):
            return status
    return Status.INDETERMINATE


def percentiles(values: list[int]) -> dict[str, int]:
    """p50, p95, p99 (nearest rank) and the maximum; empty when there are no values."""
    if not values:
        return {}
    ordered = sorted(values)
    ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)] for name, share in ranks.items()}
