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
from aiokafka import AIOKafkaProducer

from services.bus import admin, connect, health
from services.bus import metrics as registry
from services.bus.messages import MetricEvent
from services.bus.reader import follow
from services.bus.settings import Settings
from services.bus.topics import (
    CLINICAL_EVENTS,
    DEAD_LETTERS,
    FILTERED_MESSAGES,
    MONITORING_METRICS,
    RISK_PREDICTIONS,
    RISK_SHADOW,
    STEP_INPUTS,
    consumer_group,
)
from services.monitor.collector import Collector
from services.monitor.references import load_references

log = logging.getLogger(__name__)

TOPICS = (RISK_PREDICTIONS, RISK_SHADOW, CLINICAL_EVENTS, DEAD_LETTERS, FILTERED_MESSAGES)
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
    producer = AIOKafkaProducer(**connect.aiokafka_producer(settings, "wardstream-monitor"))
    await producer.start()
    try:
        async with follow(settings, TOPICS, settings.monitor_look_back, "wardstream-monitor") as reader:
            collector = Collector(*load_references(settings.models))
            state.set_ready(True)
            publishing = asyncio.create_task(_publish(settings, collector, producer, stopping))
            while not stopping.is_set() and not publishing.done():
                for message in await reader.batch():
                    collector.take(message)
            stopping.set()
            await publishing
    finally:
        await asyncio.gather(producer.stop(), server.cleanup(), return_exceptions=True)


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
            step: sum(part.lag for part in admin.lag(settings, consumer_group(step), [topic.name for topic in topics]))
            for step, topics in STEP_INPUTS.items()
        }
    except Exception as error:  # noqa: BLE001 -- lag is one figure among many: the others go on
        log.warning("cannot read the groups' lag: %s", type(error).__name__)
        return {}
