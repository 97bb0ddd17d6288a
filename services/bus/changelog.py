"""A keyed step's state: a compacted changelog topic, which is the truth, and a local store for each partition."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from services.bus.admin import create_topics, end_offsets
from services.bus.connect import connection
from services.bus.engine import KeyedStep
from services.bus.messages import Message
from services.bus.settings import Settings
from services.bus.state_store import RocksStore
from services.bus.topics import LARGE, Topic, changelog_name

log = logging.getLogger(__name__)

RECOVERY_BATCH = 500
SEGMENT_BYTES = 64 << 20  # small segments are compacted early, so that recovery reads little more than the keys
Slot = tuple[int, bytes]


class BadTopics(RuntimeError):
    """The input topics are absent or not co-partitioned; the text says which."""


def changelog_topic(step: KeyedStep, partitions: int) -> Topic:
    """The changelog of a step's state: one entry for each changed key of a batch, keyed like its input."""
    return Topic(
        changelog_name(step.name),
        "patient key",
        "state",
        f"State of {step.name}, internal",
        public=False,
        partitions=partitions,
        compact=True,
        max_bytes=LARGE,
        config={"segment.bytes": str(SEGMENT_BYTES), "min.cleanable.dirty.ratio": "0.2"},
    )


def input_partitions(settings: Settings, topics: Sequence[Topic]) -> int:
    """The number of partitions that all inputs of a keyed step have; raises BadTopics where they differ."""
    counts: dict[str, int] = defaultdict(int)
    for name, _ in end_offsets(settings, [topic.name for topic in topics]):
        counts[name] += 1
    absent = [topic.name for topic in topics if topic.name not in counts]
    if absent:
        raise BadTopics(f"topics are absent: {', '.join(absent)}; make them with `wardstream topics --create`")
    if len(set(counts.values())) != 1:
        raise BadTopics(f"topics that share a state need equal numbers of partitions: {dict(counts)}")
    return next(iter(counts.values()))


class Changelog:
    """The states of the partitions that this process owns. `read` answers from the local stores."""

    def __init__(self, step: Any, settings: Settings) -> None:
        self._step: KeyedStep = step
        self._settings = settings
        self._folder = settings.home / "tables" / step.name / (settings.instance or "single")
        self._stores: dict[int, RocksStore] = {}
        self._behind: set[int] = set()  # taken, but not read up to the end of the changelog yet

    async def prepare(self) -> None:
        """Check the inputs and make the changelog topic; raises BadTopics."""
        partitions = await asyncio.to_thread(input_partitions, self._settings, self._step.inputs)
        self.topic = changelog_topic(self._step, partitions)
        differences = await asyncio.to_thread(create_topics, self._settings, [self.topic], exact=True)
        if any(one.what == "partitions" for one in differences):
            raise BadTopics(f"{differences[0]}: the inputs were re-partitioned; the state must be rebuilt")

    def take(self, partitions: Iterable[int]) -> None:
        """Own these partitions; their stores open with the first recovery."""
        self._behind = set(partitions)

    def give_up(self) -> None:
        """Close every store: the partitions may go to another process."""
        for store in self._stores.values():
            store.close()
        self._stores.clear()
        self._behind.clear()

    close = give_up

    def read(self, message: Message) -> bytes | None:
        """The stored state of a message's key."""
        assert message.key is not None
        return self._stores[message.partition].get(message.key)

    async def recovered(self, wanted: set[int]) -> None:
        """Return when the stores of these partitions have everything that their changelog has."""
        behind = self._behind & wanted
        if not behind:
            return
        ends = await asyncio.to_thread(end_offsets, self._settings, [self.topic.name])
        todo: dict[int, int] = {}
        for partition in behind:
            store = self._stores.setdefault(partition, RocksStore(self._folder / str(partition)))
            end = ends[self.topic.name, partition]
            if store.checkpoint() > end:
                log.warning("the changelog of %s/%d began anew: its local state goes", self._step.name, partition)
                store.clear()
            if store.checkpoint() < end:
                todo[partition] = end
        if todo:
            await self._read_up_to(todo)
        self._behind -= behind

    async def _read_up_to(self, ends: Mapping[int, int]) -> None:
        consumer = AIOKafkaConsumer(**connection(self._settings, "wardstream-recovery"), enable_auto_commit=False)
        await consumer.start()
        try:
            tps = {TopicPartition(self.topic.name, partition) for partition in ends}
            consumer.assign(tps)
            for tp in tps:
                consumer.seek(tp, self._stores[tp.partition].checkpoint())
            left = set(tps)
            while left:
                for tp, records in (await consumer.getmany(timeout_ms=200, max_records=RECOVERY_BATCH)).items():
                    if records:
                        states = {record.key: record.value for record in records}
                        self._stores[tp.partition].apply(states, records[-1].offset + 1)
                # The position passes offsets that hold no record (compacted away), the records alone do not.
                for tp in list(left):
                    if await consumer.position(tp) >= ends[tp.partition]:
                        left.discard(tp)
        finally:
            await consumer.stop()

    async def send(self, producer: AIOKafkaProducer, states: Mapping[Slot, bytes | None]) -> list[Awaitable[Any]]:
        """Send the changed states, each to the partition of its key's input; the futures confirm them."""
        return [
            await producer.send(self.topic.name, state, key, partition=partition)
            for (partition, key), state in states.items()
        ]

    def store(self, states: Mapping[Slot, bytes | None], confirmed: Sequence[Any]) -> None:
        """Write confirmed states to the local stores; `confirmed` are their record metadata in the same order."""
        grouped: dict[int, dict[bytes, bytes | None]] = defaultdict(dict)
        offsets: dict[int, int] = {}
        for ((partition, key), state), metadata in zip(states.items(), confirmed, strict=True):
            grouped[partition][key] = state
            offsets[partition] = max(offsets.get(partition, 0), metadata.offset + 1)
        for partition, changed in grouped.items():
            self._stores[partition].apply(changed, offsets[partition])
