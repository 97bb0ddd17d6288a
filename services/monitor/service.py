"""The monitor service: `wardstream run monitor`.

It reads without a consumer group, from `monitor_look_back` ago to the present and on, so that a restart sees the same
stays again and nothing has to be stored. One instance runs; a second one would publish the same figures.
"""

import asyncio
import contextlib
import logging
import signal
import time

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from services.bus import admin, connect, health
from services.bus import metrics as registry
from services.bus.messages import Message, MetricEvent
from services.bus.settings import CHECKOUT, Settings
from services.bus.topics import (
    CLINICAL_EVENTS,
    DEAD_LETTERS,
    DICOM_RAW,
    FHIR_RAW,
    FILTERED_MESSAGES,
    HL7_RAW,
    MONITORING_METRICS,
    PATIENT_RECORDS,
    RECORD_UPDATES,
    RISK_PREDICTIONS,
)
from services.monitor.collector import Collector
from services.monitor.references import load_references

log = logging.getLogger(__name__)

TOPICS = (RISK_PREDICTIONS, CLINICAL_EVENTS, DEAD_LETTERS, FILTERED_MESSAGES)
GROUPS = {
    "normalize": (HL7_RAW, FHIR_RAW, DICOM_RAW),
    "assemble": (CLINICAL_EVENTS, RECORD_UPDATES),
    "encode": (CLINICAL_EVENTS,),
    "score": (PATIENT_RECORDS,),
}
POLL_MS = 500

_ENCODER = msgspec.json.Encoder(order="deterministic")


def run(settings: Settings) -> None:
    """Run until SIGTERM."""
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stopping = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stopping.set)
    state = health.Health(settings.stall_after)
    server = await health.serve(settings, "monitor", state)
    consumer = AIOKafkaConsumer(
        **connect.aiokafka(settings, "wardstream-monitor"), enable_auto_commit=False, max_partition_fetch_bytes=8 << 20
    )
    producer = AIOKafkaProducer(**connect.aiokafka_producer(settings, "wardstream-monitor"))
    await asyncio.gather(consumer.start(), producer.start())
    try:
        await _from_look_back(consumer, settings.monitor_look_back)
        collector = Collector(*load_references(CHECKOUT / "model_repository"))
        state.set_ready(True)
        publishing = asyncio.create_task(_publish(settings, collector, producer, stopping))
        while not stopping.is_set() and not publishing.done():
            await _take(consumer, collector)
        stopping.set()
        await publishing
    finally:
        await asyncio.gather(consumer.stop(), producer.stop(), server.cleanup(), return_exceptions=True)


async def _from_look_back(consumer: AIOKafkaConsumer, look_back_s: float) -> None:
    partitions = [
        TopicPartition(topic.name, number)
        for topic in TOPICS
        for number in sorted(consumer.partitions_for_topic(topic.name) or await _known(consumer, topic.name))
    ]
    consumer.assign(partitions)
    since = round((time.time() - look_back_s) * 1000)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
    for partition in partitions:
        at = found.get(partition)
        if at is None:
            await consumer.seek_to_end(partition)
        else:
            consumer.seek(partition, at.offset)


async def _known(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.fetch_all_metadata()
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise RuntimeError(f"topic {topic} does not exist: run `wardstream topics` first")
    return set(numbers)


async def _take(consumer: AIOKafkaConsumer, collector: Collector) -> None:
    for batch in (await consumer.getmany(timeout_ms=POLL_MS, max_records=1000)).values():
        for one in batch:
            collector.take(
                Message(one.topic, one.partition, one.offset, one.key, one.value, dict(one.headers), one.timestamp)
            )
        await asyncio.sleep(0)


async def _publish(
    settings: Settings, collector: Collector, producer: AIOKafkaProducer, stopping: asyncio.Event
) -> None:
    gauges = registry.by_name()
    while not stopping.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), settings.monitor_interval)
        lags = await asyncio.to_thread(_lags, settings)
        figures = collector.figures(round(time.time() * 1000), lags)
        for figure in figures:
            gauge = gauges[figure.name]
            (gauge.labels(**figure.labels) if figure.labels else gauge).set(figure.value)
        sends = [await producer.send(MONITORING_METRICS.name, **_record(figure)) for figure in figures]
        await asyncio.gather(*sends)


def _record(figure: MetricEvent) -> dict[str, bytes]:
    return {"key": figure.name.encode(), "value": _ENCODER.encode(figure)}


def _lags(settings: Settings) -> dict[str, int]:
    try:
        return {
            group: sum(part.lag for part in admin.lag(settings, group, [topic.name for topic in topics]))
            for group, topics in GROUPS.items()
        }
    except Exception as error:  # noqa: BLE001 -- lag is one figure among many: the others go on
        log.warning("cannot read the groups' lag: %s", type(error).__name__)
        return {}
