"""The report of a run: every message accounted for, by reading the topics from their beginning.

What is owed and what ends it is in account.py; every key of the report in docs/report.md.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from services.bus.connect import connection
from services.bus.messages import Message
from services.bus.settings import Settings
from services.bus.topics import Topic
from services.domain.prediction import Prediction, Status
from services.encode.service import IMAGE_MODEL, NOTE_MODEL
from services.local.account import IMAGES, NOTES, TOPICS, Account

READ_TIMEOUT_MS = 1000


def account(settings: Settings) -> Account:
    """Read all topics to their present end. The encoders are those of the model repository."""
    models = {NOTES: NOTE_MODEL, IMAGES: IMAGE_MODEL}
    deployed = frozenset(kind for kind, model in models.items() if (settings.models / model).exists())
    seen, connect = Account(deployed), partial(KafkaConsumer, **connection(settings, "wardstream-report"))
    for topic in TOPICS:
        for record in read_topic(topic, connect):
            seen.take(to_message(record))
    return seen


def to_message(record: Any) -> Message:
    """kafka-python's record as a message."""
    headers = {name: value or b"" for name, value in record.headers}
    value = record.value or b""
    return Message(record.topic, record.partition, record.offset, record.key, value, headers, record.timestamp)


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


def report(seen: Account, unkept: Mapping[str, int] | None = None, **facts: Any) -> dict[str, Any]:
    """The report's JSON; docs/report.md describes the keys, those that the demo adds too.

    `messages_in` by format and `total`; `clinical_events` (distinct), `records` (versions published, repeats
    included), `patients`, `predictions` (distinct, all kinds), `indeterminate` (those without any scored risk),
    `fallback`, `superseded`; `filtered` and `dead_letters`: messages, each once, however often it was delivered;
    `filtered_reasons`: how many messages have each reason (a message may have several), `dead_letter_reasons`;
    `lost`: messages without an end, and `lost_by_step`, who owed it: edge, normalize, assemble, encode, score;
    `unkept`: by format, what the edge acknowledged and the raw topic does not have (the edge's part of `lost`; only
    the sender can know: empty when it is not given); `unreadable`: messages of our own topics that are not ours;
    `latency_ms` {p50, p95, p99, max} from the acknowledgement at the edge to readable on `risk.predictions`;
    `throughput_per_s` (raw messages over the seconds from the first to the last prediction); `finished_at`; and what
    the caller adds.
    """
    lost = {"edge": sum((unkept or {}).values()), **seen.lost()}
    seconds = max(0.001, (seen.last_ms - seen.first_ms) / 1000)
    total = sum(len(places) for places in seen.raw.values())
    statuses = Counter(_status(p) for p in seen.predictions.values())
    filtered = Counter(reason for reasons in seen.filtered.values() for reason in set(reasons))
    dead = Counter(seen.dead.values())
    return {
        "messages_in": {**{form: len(places) for form, places in seen.raw.items()}, "total": total},
        "clinical_events": len(set(seen.events.values())),
        "records": len(seen.versions),
        "patients": len(seen.patients),
        "predictions": len(seen.predictions),
        "indeterminate": statuses[Status.INDETERMINATE],
        "fallback": statuses[Status.FALLBACK],
        "superseded": statuses[Status.SUPERSEDED],
        "filtered": len(seen.filtered),
        "filtered_reasons": dict(sorted(filtered.items())),
        "dead_letters": len(seen.dead),
        "dead_letter_reasons": dict(sorted(dead.items())),
        "lost": sum(lost.values()),
        "lost_by_step": lost,
        "unkept": dict(unkept or {}),
        "unreadable": dict(sorted(seen.unreadable.items())),
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
