"""The engine on Faust, guarded (faust_guards.py). The same port and contract as the loop; see docs/engine.md.

One agent takes micro-batches. For each: run the step; publish the outputs and the changed states through the app's
producer and wait until the broker has confirmed every one; write the states to the table's store; only then does
the agent ask for the next batch, which acknowledges this one; Faust commits acknowledged offsets every
`commit_interval`. When anything fails the agent neither raises nor goes on (both would acknowledge): commits are
forbidden and the process ends.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

import faust
from aiokafka.structs import RecordMetadata
from faust.types import TP, EventT

from services.bus import metrics
from services.bus.admin import create_topics
from services.bus.batch import process
from services.bus.changelog import BadTopics, by_partition, changelog_topic, input_partitions
from services.bus.connect import COMPRESSION, MAX_BATCH_BYTES, MAX_REQUEST_BYTES, ssl_context
from services.bus.engine import BatchStep, KeyedStep, is_batch
from services.bus.faust_guards import GuardedConsumer, PartitionStore, StateTable, guard
from services.bus.fold import Folded, fold, map_batch
from services.bus.freeze import FreezeGuard
from services.bus.health import Health
from services.bus.loop_engine import group_of
from services.bus.messages import Message
from services.bus.settings import Settings
from services.bus.topics import LARGE, Topic

log = logging.getLogger(__name__)

WATCH_S = 0.2  # how often a failed agent or a crashed app is looked for
STOP_TIMEOUT_S = 12.0  # for the batch in hand, the last commit and goodbye to the group
NEVER_S = 86_400.0  # a model server may be away for hours; liveness, not the poll interval, finds what is stuck
BUFFER = 512
RAW: dict[str, Any] = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
"""Bytes in, bytes out: a codec that can fail acknowledges what it cannot decode before anybody is asked."""


class EngineFailed(RuntimeError):
    """The engine stopped without committing what it was working on; the cause is attached."""


class FaustEngine:
    """Runs one step until it is stopped."""

    leaves_threads = True  # a failed app cannot be stopped without acknowledging: the process must end at once

    def __init__(self, step: KeyedStep | BatchStep, settings: Settings, health: Health) -> None:
        self._step, self._settings, self._health = step, settings, health
        self._batch_step: BatchStep | None = step if is_batch(step) else None  # type: ignore[assignment]
        self._keyed_step: KeyedStep | None = None if is_batch(step) else step  # type: ignore[assignment]
        self._stopping = asyncio.Event()
        self._freeze = FreezeGuard(settings.session_timeout)
        self._failure: BaseException | None = None
        self._table: StateTable | None = None

    async def run(self) -> None:
        """Return after `stop`; raises EngineFailed when the process should not go on."""
        changelog = await self._prepare_changelog() if self._keyed_step else None
        data_folder(self._step, self._settings).mkdir(parents=True, exist_ok=True)
        self._app = build_app(self._step, self._settings)
        guard(self._app)
        self._app.on_partitions_assigned.connect(self._on_assigned)  # type: ignore[arg-type]
        self._app.on_partitions_revoked.connect(self._on_revoked)  # type: ignore[arg-type]
        if changelog:
            self._table = self._make_table(changelog)
        self._app.agent(self._source(), concurrency=1, name=self._step.name)(self._agent)
        starting = asyncio.create_task(self._app.start())
        ticking = self._freeze.start()
        try:
            await self._watch(starting)
            await self._leave()
        finally:
            ticking.cancel()
            self._health.set_ready(False)

    async def stop(self) -> None:
        """Let `run` finish the batch in hand, commit and return. A batch that waits for longer (the model server is
        away) is given up uncommitted: `run` raises, and the batch comes again."""
        self._stopping.set()

    async def _leave(self) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT_S
        # Faust told to stop while partitions are dealt waits for itself: its main loop no longer answers the consumer's
        # thread, which waits for that answer before it ends.
        while self._app.rebalancing and time.monotonic() < deadline - STOP_TIMEOUT_S / 2:  # noqa: ASYNC110
            await asyncio.sleep(WATCH_S)
        leaving = asyncio.create_task(self._app.stop())
        while not (await asyncio.wait({leaving}, timeout=WATCH_S))[0]:
            if self._failure or time.monotonic() > deadline:
                consumer = self._app.consumer
                assert isinstance(consumer, GuardedConsumer)
                consumer.halt()
                raise EngineFailed("told to stop with a batch in hand: it is not committed") from self._failure
        leaving.result()

    async def _watch(self, starting: "asyncio.Task[Any]") -> None:
        while not self._stopping.is_set():
            if self._table is not None:  # its truth is its length: every key counted
                self._freeze.check()
            if self._failure or self._app.crash_reason:
                raise EngineFailed("stopped without committing") from (self._failure or self._app.crash_reason)
            if starting.done():
                starting.result()
                consumer = self._app.consumer
                assert isinstance(consumer, GuardedConsumer)
                consumer.on_committed = self._on_committed
                self._health.set_ready(not self._app.rebalancing)
            try:
                await asyncio.wait_for(self._stopping.wait(), WATCH_S)
            except TimeoutError:
                continue

    async def _prepare_changelog(self) -> Topic:
        assert self._keyed_step
        partitions = await asyncio.to_thread(input_partitions, self._settings, self._keyed_step.inputs)
        topic = changelog_topic(self._keyed_step, partitions)
        differences = await asyncio.to_thread(create_topics, self._settings, [topic], exact=True)
        if any(one.what == "partitions" for one in differences):
            raise BadTopics(f"{differences[0]}: the inputs were re-partitioned; the state must be rebuilt")
        return topic

    def _make_table(self, changelog: Topic) -> StateTable:
        table = StateTable(
            self._app,
            name=self._step.name,
            key_type=bytes,
            value_type=bytes,
            partitions=changelog.partitions,
            changelog_topic=self._app.topic(changelog.name, partitions=changelog.partitions, internal=True, **RAW),
        )
        self._app.tables.add(table)
        return table

    def _source(self) -> Any:
        return self._app.topic(*(t.name for t in self._step.inputs), **RAW)

    async def _agent(self, stream: Any) -> None:
        limit = self._batch_step.max_batch if self._batch_step else self._settings.micro_batch
        batches: AsyncIterator[Sequence[EventT[Any]]] = stream.take_events(
            limit, within=self._settings.micro_batch_wait
        )
        async for events in batches:
            try:
                await self._process([to_message(event) for event in events])
            except BaseException as error:  # noqa: BLE001 -- whatever leaves this block would acknowledge the batch
                self._fail(error)
                await asyncio.Event().wait()

    def _fail(self, error: BaseException) -> None:
        consumer = self._app.consumer
        assert isinstance(consumer, GuardedConsumer)
        consumer.halt()
        self._failure = error

    async def _process(self, messages: Sequence[Message]) -> None:
        self._health.processed()
        await process(self._step.name, messages, self._call, self._publish)

    async def _call(self, messages: Sequence[Message]) -> Folded:
        if self._batch_step:
            return await map_batch(self._batch_step, messages)
        assert self._keyed_step
        store = self._store()
        self._freeze.check()
        for partition in {message.partition for message in messages}:
            await store.own(self._app.producer, self._changelog(partition))
        return fold(self._keyed_step, messages, lambda m: store.read(m.partition, m.key or b""), LARGE)

    def _store(self) -> PartitionStore:
        assert self._table is not None
        store = self._table.data
        assert isinstance(store, PartitionStore)
        return store

    async def _publish(self, folded: Folded) -> None:
        send = self._app.producer.send
        sent: list[Awaitable[RecordMetadata]] = []
        try:
            for one in folded.outputs:
                key = one.key.encode() if one.key is not None else None
                sent.append(await send(one.topic.name, key, one.value, None, None, one.headers))
            if folded.states:
                self._freeze.check()
            for (partition, key), state in folded.states.items():
                sent.append(await self._store().send(self._app.producer, self._changelog(partition), key, state))
            confirmed = await asyncio.gather(*sent)
        except Exception:
            metrics.SENDS_FAILED.labels(self._step.name).inc()
            raise
        if folded.states:
            self._write(folded, confirmed[len(folded.outputs) :])

    def _write(self, folded: Folded, confirmed: Sequence[RecordMetadata]) -> None:
        for partition, (changed, written) in by_partition(folded.states, confirmed).items():
            self._store().write(self._changelog(partition), changed, written)

    def _changelog(self, partition: int) -> TP:
        assert self._table is not None
        return TP(self._table.changelog_topic_name, partition)

    async def _on_assigned(self, app: Any, *sent: Any, **named: Any) -> None:
        (assigned,), inputs = sent, {topic.name for topic in self._step.inputs}
        metrics.ASSIGNED.labels(self._step.name).set(sum(tp.topic in inputs for tp in assigned))

    async def _on_revoked(self, app: Any, *sent: Any, **named: Any) -> None:
        metrics.REBALANCES.labels(self._step.name).inc()

    def _on_committed(self, offsets: Mapping[TP, int], everything: bool) -> None:
        self._health.committed(everything=everything)
        for tp, offset in offsets.items():
            metrics.COMMITTED.labels(self._step.name, tp.topic, tp.partition).set(offset)
            highwater = self._app.consumer.highwater(tp)
            if highwater is not None:
                metrics.LAG.labels(group_of(self._step), tp.topic, tp.partition).set(highwater - offset)


def build_app(step: KeyedStep | BatchStep, settings: Settings) -> faust.App:
    """The Faust app of one step, set so that nothing is lost (docs/engine.md)."""
    return faust.App(
        group_of(step),
        broker=";".join(f"kafka://{one}" for one in settings.bootstrap.split(",")),
        broker_credentials=_credentials(settings),
        broker_commit_interval=settings.commit_interval,
        broker_session_timeout=settings.session_timeout,
        broker_rebalance_timeout=max(settings.session_timeout, 10.0),
        broker_heartbeat_interval=settings.session_timeout / 6,
        broker_request_timeout=max(40.0, settings.session_timeout + 5),
        broker_max_poll_interval=NEVER_S,
        processing_guarantee="at_least_once",
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=f"{step.name}-{settings.instance}" if settings.instance else None,
        consumer_max_fetch_size=1 << 20,
        producer_compression_type=COMPRESSION,
        producer_max_batch_size=MAX_BATCH_BYTES,
        producer_max_request_size=MAX_REQUEST_BYTES,
        stream_buffer_maxsize=BUFFER,
        stream_wait_empty=True,
        store="rocksdb://",
        datadir=str(data_folder(step, settings)),
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        web_tables_enabled=False,
        autodiscover=False,
    )


def data_folder(step: KeyedStep | BatchStep, settings: Settings) -> Path:
    """Where a process keeps its tables: its own folder, since RocksDB is locked by the process that has it open."""
    return settings.home / "tables" / "faust" / step.name / (settings.instance or "single")


def _credentials(settings: Settings) -> Any:
    if settings.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password,
            mechanism=settings.sasl_mechanism,
            ssl_context=ssl_context(settings) if "SSL" in settings.security_protocol.split("_") else None,
        )
    return faust.SSLCredentials(ssl_context(settings)) if settings.security_protocol == "SSL" else None


def to_message(event: EventT[Any]) -> Message:
    """A Faust event as a message; a tombstone has empty bytes."""
    one = event.message
    headers = one.headers.items() if isinstance(one.headers, Mapping) else (one.headers or ())
    return Message(
        one.topic,
        one.partition,
        one.offset,
        one.key,
        one.value or b"",
        dict(headers),
        round(one.timestamp * 1000),
    )
