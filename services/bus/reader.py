"""Following topics without a consumer group: every reader sees every message, and nothing is committed.

For what keeps its state in memory and rebuilds it at each start: the monitor and the page.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from services.bus import admin, connect
from services.bus.messages import Message
from services.bus.pace import Pace
from services.bus.settings import Settings
from services.bus.topics import Topic

POLL_MS = 500  # longest wait for a message: how late `stop` may be noticed
MAX_MESSAGES = 1000
MAX_PARTITION_BYTES = 8 << 20


class Reader:
    """Messages of some topics from a moment on, in batches; in order within a partition."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._pace = Pace(consumer)

    async def batch(self) -> list[Message]:
        """The next messages; empty after POLL_MS without any."""
        batches = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_MESSAGES)
        messages = [_message(one) for part in batches.values() for one in part]
        self._pace.polled(len(messages))
        return messages

    async def ends(self) -> dict[TopicPartition, int]:
        """Where each partition ends now."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(self._consumer.assignment())
        return ends

    async def reached(self, ends: dict[TopicPartition, int]) -> bool:
        """Whether everything before these offsets has been read."""
        return all([await self._consumer.position(partition) >= end for partition, end in ends.items()])


@asynccontextmanager
async def follow(settings: Settings, topics: Sequence[Topic], look_back_s: float, name: str) -> AsyncIterator[Reader]:
    """Read `topics` from `look_back_s` seconds ago (broker time) to the present and on.

    Raises RuntimeError naming a topic that does not exist, aiokafka.errors.KafkaError when no broker answers.
    """
    consumer = AIOKafkaConsumer(
        **connect.connection(settings, name), enable_auto_commit=False, max_partition_fetch_bytes=MAX_PARTITION_BYTES
    )
    await consumer.start()
    try:
        partitions = await asyncio.to_thread(_partitions, settings, topics)
        await _seek(consumer, partitions, round((time.time() - look_back_s) * 1000))
        yield Reader(consumer)
    finally:
        await consumer.stop()


async def _seek(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], since_ms: int) -> None:
    consumer.assign(partitions)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
    for partition in partitions:
        at = found.get(partition)
        if at is None:
            await consumer.seek_to_end(partition)
        else:
            consumer.seek(partition, at.offset)


def _partitions(settings: Settings, topics: Sequence[Topic]) -> list[TopicPartition]:
    absent = [one.topic for one in admin.verify_topics(settings, topics) if one.what == "absent"]
    if absent:
        raise RuntimeError(f"topic {absent[0]} does not exist: run `wardstream topics` first")
    return [TopicPartition(*pair) for pair in sorted(admin.end_offsets(settings, [topic.name for topic in topics]))]


def _message(one: ConsumerRecord) -> Message:
    return Message(one.topic, one.partition, one.offset, one.key, one.value or b"", dict(one.headers), one.timestamp)
