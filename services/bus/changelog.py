"""A keyed step's state: a compacted changelog topic, which is the truth, and a local store for each partition."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from services.bus import metrics
from services.bus.admin import create_topics, end_offsets
from services.bus.connect import connection
from services.bus.engine import KeyedStep
from services.bus.messages import Message
from services.bus.ownership import CLAIM_KEY, NotAlone, Reading, check_alone, claimant, mark
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


def by_partition(
    states: Mapping[Slot, bytes | None], confirmed: Sequence[Any]
) -> dict[int, tuple[dict[bytes, bytes | None], list[Any]]]:
    """For each partition its changed states, and the metadata of their records, which come in the same order."""
    found: dict[int, tuple[dict[bytes, bytes | None], list[Any]]] = defaultdict(lambda: ({}, []))
    for ((partition, key), state), metadata in zip(states.items(), confirmed, strict=True):
        changed, written = found[partition]
        changed[key] = state
        written.append(metadata)
    return found


class Changelog:
    """The states of the partitions that this process owns. `read` answers from the local stores."""

    def __init__(self, step: Any, settings: Settings) -> None:
        self._step: KeyedStep = step
        self._settings = settings
        self._folder = settings.home / "tables" / step.name / (settings.instance or "single")
        self._stores: dict[int, RocksStore] = {}
        self._claims: dict[int, int] = {}
        self._behind: set[int] = set()  # taken, but not claimed and read yet

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
        self._claims.clear()
        self._behind.clear()

    close = give_up

    def read(self, message: Message) -> bytes | None:
        """The stored state of a message's key."""
        assert message.key is not None
        return self._stores[message.partition].get(message.key)

    async def recovered(self, wanted: set[int], producer: AIOKafkaProducer) -> None:
        """Return when these partitions are claimed and their stores have everything that counts in their changelog."""
        behind = self._behind & wanted
        if not behind:
            return
        sent = {p: await producer.send(self.topic.name, claimant(), CLAIM_KEY, partition=p) for p in behind}
        for partition, confirmed in sent.items():
            claim = self._claims[partition] = (await confirmed).offset
            store = self._stores.setdefault(partition, RocksStore(self._folder / str(partition)))
            if store.checkpoint() > claim:
                log.warning("the changelog of %s/%d began anew: its local state goes", self._step.name, partition)
                store.clear()
        readings = {p: Reading.resumed(self._stores[p].get(CLAIM_KEY), self._stores[p].checkpoint()) for p in behind}
        if todo := {p: reading for p, reading in readings.items() if reading.end < self._claims[p]}:
            await self._read_up_to_claims(todo)
        for partition in readings.keys() - todo.keys():  # the claim follows on what the local store has
            readings[partition].counts(self._claims[partition], CLAIM_KEY, None)
        await self._mend(producer, readings)
        self._behind -= behind

    async def _read_up_to_claims(self, readings: Mapping[int, Reading]) -> None:
        consumer = AIOKafkaConsumer(**connection(self._settings, "wardstream-recovery"), enable_auto_commit=False)
        await consumer.start()
        try:
            tps = {TopicPartition(self.topic.name, partition) for partition in readings}
            consumer.assign(tps)
            for tp in tps:
                consumer.seek(tp, readings[tp.partition].end)
            left = set(tps)
            while left:
                for tp, records in (await consumer.getmany(timeout_ms=200, max_records=RECOVERY_BATCH)).items():
                    if records:
                        self._apply(readings[tp.partition], tp.partition, records)
                left = {tp for tp in left if await consumer.position(tp) <= self._claims[tp.partition]}
        finally:
            await consumer.stop()

    def _apply(self, reading: Reading, partition: int, records: Sequence[Any]) -> None:
        states = {r.key: r.value for r in records if reading.counts(r.offset, r.key, r.headers)}
        self._stores[partition].apply(states | reading.note, reading.checkpoint)

    async def _mend(self, producer: AIOKafkaProducer, readings: Mapping[int, Reading]) -> None:
        """Have the last word on each key that somebody else overwrote."""
        for partition, reading in readings.items():
            store, claim = self._stores[partition], self._claims[partition]
            if reading.claim != claim:
                raise NotAlone(f"{self.topic.name}/{partition}: claimed by another process")
            right = {(partition, key): store.get(key) for key in reading.overwritten}
            confirmed = await asyncio.gather(*await self.send(producer, right))
            end = check_alone(self.topic.name, partition, claim + 1, confirmed)
            store.apply({key: state for (_, key), state in right.items()} | reading.note, end)
            if right:
                metrics.STATES_MENDED.labels(self._step.name).inc(len(right))
                log.warning("%s/%d: %d states mended", self.topic.name, partition, len(right))

    async def send(self, producer: AIOKafkaProducer, states: Mapping[Slot, bytes | None]) -> list[Awaitable[Any]]:
        """Send the changed states, each to the partition of its key's input; the futures confirm them."""
        return [
            await producer.send(
                self.topic.name, state, key, partition=partition, headers=[*mark(self._claims[partition]).items()]
            )
            for (partition, key), state in states.items()
        ]

    def store(self, states: Mapping[Slot, bytes | None], confirmed: Sequence[Any]) -> None:
        """Write confirmed states to the local stores; `confirmed` are their record metadata in the same order.

        Raises NotAlone when another process wrote to the changelog meanwhile.
        """
        for partition, (changed, written) in by_partition(states, confirmed).items():
            store = self._stores[partition]
            store.apply(changed, check_alone(self.topic.name, partition, store.checkpoint(), written))
