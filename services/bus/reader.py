"""Following topics without a consumer group: every reader sees every message, and nothing is committed.

For what keeps its state in memory and rebuilds it at each start: the monitor and the page.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from services.bus import connect
from services.bus.messages import Message
from services.bus.settings import Settings
from services.bus.topics import Topic

POLL_MS = 500  # longest wait for a message: how late `stop` may be noticed
MAX_MESSAGES = 1000
MAX_PARTITION_BYTES = 8 << 20


class Reader:
    """Messages of some topics from a moment on, in batches; in order within a partition."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def batch(self) -> list[Message]:
        """The next messages; empty after POLL_MS without any."""
        batches = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_MESSAGES)
        return [_message(one) for part in batches.values() for one in part]

    async def caught_up(self) -> bool:
        """Whether all that was there when asked has been read."""
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        return all([await self._consumer.position(partition) >= end for partition, end in ends.items()])


@asynccontextmanager
async def follow(settings: Settings, topics: Sequence[Topic], look_back_s: float, name: str) -> AsyncIterator[Reader]:
    """Read `topics` from `look_back_s` seconds ago (broker time) to the present and on.

    Raises RuntimeError naming a topic that does not exist, aiokafka.errors.KafkaError when no broker answers.
    """
    consumer = AIOKafkaConsumer(
        **connect.aiokafka(settings, name), enable_auto_commit=False, max_partition_fetch_bytes=MAX_PARTITION_BYTES
    )
    await consumer.start()
    try:
        await _seek(consumer, topics, round((time.time() - look_back_s) * 1000))
        yield Reader(consumer)
    finally:
        await consumer.stop()


async def _seek(consumer: AIOKafkaConsumer, topics: Sequence[Topic], since_ms: int) -> None:
    known = await consumer.topics()
    for topic in topics:
        if topic.name not in known:
            raise RuntimeError(f"topic {topic.name} does not exist: run `wardstream topics` first")
    partitions = [
        TopicPartition(t.name, n) for t in topics for n in sorted(consumer.partitions_for_topic(t.name) or ())
    ]
    consumer.assign(partitions)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
    for partition in partitions:
        at = found.get(partition)
        if at is None:
            await consumer.seek_to_end(partition)
        else:
            consumer.seek(partition, at.offset)


def _message(one: ConsumerRecord) -> Message:
    return Message(one.topic, one.partition, one.offset, one.key, one.value or b"", dict(one.headers), one.timestamp)
