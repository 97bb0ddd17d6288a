"""The pace of fetching reaches into aiokafka: this holds it to the installed version, on real Kafka."""

from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from services.bus.connect import aiokafka_producer, connection
from services.bus.pace import FLOWING_BYTES, FLOWING_MS, QUIET_BYTES, QUIET_MS, Pace
from services.bus.settings import Settings
from tests.kafka_fixture import MakeTopic

pytestmark = pytest.mark.kafka


async def test_fetches_grow_while_messages_flow_and_wait_for_one_when_it_is_quiet(
    bus_settings: Settings, make_topic: MakeTopic
) -> None:
    topic = make_topic("pace").name
    asked: list[tuple[int, int]] = []
    consumer = AIOKafkaConsumer(topic, **connection(bus_settings), auto_offset_reset="earliest")
    producer = AIOKafkaProducer(**aiokafka_producer(bus_settings))
    await consumer.start()
    await producer.start()
    try:
        send = consumer._client.send

        async def watched(node: int, request: Any, **named: Any) -> Any:
            if type(request).__name__.startswith("FetchRequest"):
                asked.append((request._min_bytes, request._max_wait_ms))
            return await send(node, request, **named)

        consumer._client.send = watched
        pace = Pace(consumer)
        await producer.send_and_wait(topic, b"x")
        found = await consumer.getmany(timeout_ms=10_000)
        assert sum(map(len, found.values())) == 1
        pace.polled(1)
        assert not await consumer.getmany(timeout_ms=2 * FLOWING_MS)
        assert asked[-1] == (FLOWING_BYTES, FLOWING_MS)
        pace.polled(0)
        while asked[-1] != (QUIET_BYTES, QUIET_MS):
            await consumer.getmany(timeout_ms=FLOWING_MS)
    finally:
        await consumer.stop()
        await producer.stop()
