"""The engine as a small loop on aiokafka: WARDSTREAM_ENGINE=loop. The same port and contract as the Faust engine.

One batch at a time:
  1. take what the broker has, up to `micro_batch` messages;
  2. run the step;
  3. publish the outputs and, for a keyed step, the changed states to the changelog topic; wait until the broker has
     confirmed every one of them. A refused or lost one stops the process without a commit, and so does another
     process that wrote to the changelog meanwhile (ownership.py);
  4. write the states to the local store with the changelog offset up to which it is complete;
  5. remember the offsets as done; they are committed every `commit_interval`, before partitions are given up and at
     the end. Never before step 3.
A crash anywhere repeats from the last commit, on a state that is at least as new.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord

from services.bus import metrics
from services.bus.batch import process
from services.bus.changelog import Changelog
from services.bus.connect import MAX_FETCH_BYTES, aiokafka_producer, connection
from services.bus.engine import BatchStep, KeyedStep, is_batch
from services.bus.fold import Folded, fold, map_batch
from services.bus.freeze import FreezeGuard
from services.bus.health import Health
from services.bus.messages import Message
from services.bus.pace import Pace
from services.bus.settings import Settings
from services.bus.topics import LARGE

log = logging.getLogger(__name__)

IDLE_POLL_MS = 200
KEEP_ALIVE_S = 1.0  # a step that waits (the model server is away) must not look like a dead consumer
STOP_TIMEOUT_S = 15.0  # for the batch in hand; it is abandoned, uncommitted, when it waits longer
MAX_POLL_INTERVAL_MS = 300_000
STOP_GRACE_S = 10.0  # for the batch in hand when the process is told to stop


class LoopEngine:
    """Runs one step until it is stopped. See the module for the order of things."""

    def __init__(self, step: KeyedStep | BatchStep, settings: Settings, health: Health) -> None:
        self._step, self._settings, self._health = step, settings, health
        self._batch_step: BatchStep | None = step if is_batch(step) else None  # type: ignore[assignment]
        self._keyed_step: KeyedStep | None = None if is_batch(step) else step  # type: ignore[assignment]
        self._changelog = Changelog(step, settings) if self._keyed_step else None
        self._stopping = asyncio.Event()
        self._freeze = FreezeGuard(settings.session_timeout)
        self._dealing = False  # partitions are being dealt anew: what is taken now will be taken again
        self._current: asyncio.Task[None] | None = None
        self._done: dict[TopicPartition, int] = {}
        self._committed_at = time.monotonic()

    async def run(self) -> None:
        """Return after `stop`; raises when the process should not go on."""
        if self._changelog:
            await self._changelog.prepare()
        ticking = self._freeze.start()
        self._producer = AIOKafkaProducer(**aiokafka_producer(self._settings, f"wardstream-{self._step.name}"))
        self._consumer = AIOKafkaConsumer(**consumer_arguments(self._step, self._settings))
        await self._producer.start()
        try:
            await self._consumer.start()
            try:
                self._consumer.subscribe([t.name for t in self._step.inputs], listener=_Listener(self))
                await self._loop()
                await self._commit()
            finally:
                self._health.set_ready(False)
                await self._consumer.stop()
        finally:
            ticking.cancel()
            if self._changelog:
                self._changelog.close()
            await self._producer.stop()

    async def stop(self) -> None:
        """Let `run` finish the batch in hand, commit and return."""
        self._stopping.set()

    async def _loop(self) -> None:
        limit = self._batch_step.max_batch if self._batch_step else self._settings.micro_batch
        pace = Pace(self._consumer)
        while not self._stopping.is_set():
            if self._changelog:
                self._freeze.check()
            records = await self._consumer.getmany(timeout_ms=IDLE_POLL_MS, max_records=limit)
            messages = [to_message(one) for batch in records.values() for one in batch]
            pace.polled(len(messages))
            # No other task runs between the consumer's taking and this line, and after a deal every position starts
            # at the commit again: only what is taken during the deal must be let go.
            if messages and not self._dealing:
                self._current = asyncio.create_task(self._process(messages))
                await self._await_current()
            if time.monotonic() - self._committed_at >= self._settings.commit_interval:
                await self._commit()

    async def _await_current(self) -> None:
        """Wait for the batch, polling without taking anything so that the group goes on counting us in."""
        assert self._current is not None
        began = time.monotonic()
        paused: list[TopicPartition] = []
        stopped_at: float | None = None
        while not (await asyncio.wait({self._current}, timeout=KEEP_ALIVE_S))[0]:
            if self._stopping.is_set():
                stopped_at = stopped_at or time.monotonic()
                if time.monotonic() - stopped_at > STOP_GRACE_S:
                    self._current.cancel()  # it waits (the model server is away); uncommitted, it comes again
                    await asyncio.wait({self._current})
                    return
            paused = list(self._consumer.assignment())
            self._consumer.pause(*paused)
            await self._consumer.getmany(timeout_ms=0)
            if self._stopping.is_set() and time.monotonic() - began > STOP_TIMEOUT_S:
                self._current.cancel()
        still = self._consumer.assignment()
        self._consumer.resume(*(tp for tp in paused if tp in still))
        if not self._current.cancelled():
            self._current.result()  # raises what the batch raised

    async def _process(self, messages: Sequence[Message]) -> None:
        self._health.processed()  # a step that waits on purpose tells `health.paused` itself
        await process(self._step.name, messages, self._call, self._publish)
        for message in messages:
            self._done[TopicPartition(message.topic, message.partition)] = message.offset + 1

    async def _call(self, messages: Sequence[Message]) -> Folded:
        if self._batch_step:
            return await map_batch(self._batch_step, messages)
        assert self._keyed_step is not None
        assert self._changelog is not None
        self._freeze.check()
        await self._changelog.recovered({message.partition for message in messages}, self._producer)
        return fold(self._keyed_step, messages, self._changelog.read, LARGE)

    async def _publish(self, folded: Folded) -> None:
        sent: list[Awaitable[Any]] = []
        try:
            for one in folded.outputs:
                key = one.key.encode() if one.key is not None else None
                sent.append(await self._producer.send(one.topic.name, one.value, key, headers=[*one.headers.items()]))
            if self._changelog:
                self._freeze.check()
                sent += await self._changelog.send(self._producer, folded.states)
            confirmed = await asyncio.gather(*sent)
        except (KafkaError, ValueError):
            metrics.SENDS_FAILED.labels(self._step.name).inc()
            raise
        if self._changelog:
            self._changelog.store(folded.states, confirmed[len(folded.outputs) :])

    async def _commit(self) -> None:
        self._committed_at = time.monotonic()
        offsets, self._done = self._done, {}
        if not offsets:
            return
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            # The partitions went to another member meanwhile, who repeats from the last commit.
            log.warning("commit refused: %s", type(error).__name__)
            return
        self._health.committed(everything=not self._done)
        for tp, offset in offsets.items():
            metrics.COMMITTED.labels(self._step.name, tp.topic, tp.partition).set(offset)
            highwater = self._consumer.highwater(tp) if tp in self._consumer.assignment() else None
            if highwater is not None:
                metrics.LAG.labels(group_of(self._step), tp.topic, tp.partition).set(highwater - offset)

    async def revoked(self) -> None:
        """Before partitions go: finish the batch in hand, or abandon it when it waits too long; commit what is done."""
        self._dealing = True
        metrics.REBALANCES.labels(self._step.name).inc()
        current = self._current
        if current is not None and not current.done():
            grace = self._settings.session_timeout / 2
            if not (await asyncio.wait({current}, timeout=grace))[0]:
                current.cancel()
                await asyncio.wait({current})
        await self._commit()
        if self._changelog:
            self._changelog.give_up()

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """After the partitions were dealt: their states are read from the changelog before their first message."""
        mine = set(partitions)
        metrics.ASSIGNED.labels(self._step.name).set(len(mine))
        if self._changelog:
            self._changelog.take({tp.partition for tp in mine})
        self._dealing = False
        self._health.set_ready(True)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, engine: LoopEngine) -> None:
        self._engine = engine

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._engine.revoked()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._engine.assigned(assigned)


def group_of(step: KeyedStep | BatchStep) -> str:
    """The consumer group of a step: constant, so that a restart goes on where it stopped."""
    return f"wardstream-{step.name}"


def consumer_arguments(step: KeyedStep | BatchStep, settings: Settings) -> dict[str, Any]:
    """Arguments of a step's consumer. Range assignment gives equal partition numbers of all inputs to one member."""
    return connection(settings, group_of(step)) | {
        "group_id": group_of(step),
        "group_instance_id": f"{step.name}-{settings.instance}" if settings.instance else None,
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "partition_assignment_strategy": (RangePartitionAssignor,),
        "session_timeout_ms": int(settings.session_timeout * 1000),
        "heartbeat_interval_ms": int(settings.session_timeout * 1000 / 6),
        "rebalance_timeout_ms": int(settings.session_timeout * 1000),
        "max_poll_interval_ms": MAX_POLL_INTERVAL_MS,
        "fetch_max_bytes": MAX_FETCH_BYTES,
    }


def to_message(record: "ConsumerRecord[bytes | None, bytes | None]") -> Message:
    """A consumed record as a message; a tombstone has empty bytes."""
    return Message(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value or b"",
        dict(record.headers),
        record.timestamp,
    )
