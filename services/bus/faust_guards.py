"""Where Faust 0.15.3 loses or repeats events, and what mends each: subclasses put in place of Faust's own parts.

Each guard names the code it was written against; another version of Faust is refused until somebody has read it again.
`docs/engine.md` has the whole list, `tests/contract/engine` shows that it holds.

| | what stock Faust does | here |
|---|---|---|
| L1 | `Recovery.on_recovery_completed` resumes the partitions while the flow is active, then clears queues that already hold events; the jump is committed over | `GuardedRecovery` stops the flow and clears first |
| L2, L3 | an exception in an agent, or inside `take()`, acknowledges what it was working on | the agent's body never raises and never returns after a failure (faust_engine.py) |
| L4, L5 | a single unacknowledged event is committed over; `noack()` blocks shutdown | one agent, `concurrency=1`, no `noack()` |
| L6 | a commit does not wait for sends, and failed sends are only logged | every send is confirmed before the batch is acknowledged; `GuardedConsumer.halt` forbids commits after a failure |
| D1 | a revocation drops the acknowledged offsets before the final commit | `GuardedConsumer.on_partitions_revoked` commits first |
| - | a fetch is answered with one message as soon as there is one | `PacedThread` (pace.py) |
| - | the producer is neither idempotent nor told to wait for all replicas | `SafeProducer` |
| - | a table's write under `take()` goes to the partition of the batch's last event | `PartitionStore`: every write names its partition |
| Z1 | a worker that was evicted in the middle of a write spoils the table of the partition's new owner | `PartitionStore` believes what counts and claims a partition before it first writes (ownership.py) |
"""  # noqa: E501

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import faust
from faust.stores.rocksdb import RocksDBOptions
from faust.stores.rocksdb import Store as RocksStore
from faust.tables.recovery import Recovery
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Producer
from faust.types import TP, EventT
from rocksdict import Options, WriteBatch

from services.bus import metrics
from services.bus.ownership import CLAIM_KEY, Reading, check_alone, claimant, mark
from services.bus.pace import Pace
from services.bus.state_store import options

log = logging.getLogger(__name__)

WRITTEN_AGAINST = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1"}


class WrongFaust(RuntimeError):
    """The installed Faust is not the one that the guards were written against."""


def check_versions() -> None:
    """Raise WrongFaust for any other version."""
    for package, wanted in WRITTEN_AGAINST.items():
        if (found := version(package)) != wanted:
            raise WrongFaust(
                f"{package} {found} is installed; the guards are written against {wanted}. Read them again, run "
                "tests/contract/engine and benchmarks/engine_storm.py, then change WRITTEN_AGAINST"
            )


class GuardedRecovery(Recovery):
    """L1: nothing flows while the partitions are resumed and sought (faust/tables/recovery.py:624)."""

    async def _build_highwaters(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        for tp in tps:
            store = self.tp_to_table[tp].data  # type: ignore[attr-defined]
            assert isinstance(store, PartitionStore)
            store.begin_to_read(tp.partition)
        await super()._build_highwaters(consumer, tps, destination, title)

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Stop the flow and empty the queues before the partitions are resumed, not after."""
        self.app.consumer.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()
        await super().on_recovery_completed(generation_id)


class PacedThread(AIOKafkaConsumerThread):
    """Few large fetches while messages flow (faust/transport/drivers/aiokafka.py:1088)."""

    async def _fetch_records(self, consumer: Any, *arguments: Any, **named: Any) -> Any:
        records = await super()._fetch_records(consumer, *arguments, **named)
        if records or self.consumer.flow_active:
            Pace(consumer).polled(len(records))
        return records


class GuardedConsumer(Consumer):
    """D1 and L6 (faust/transport/consumer.py:642, 785)."""

    halted = False
    on_committed: Callable[[Mapping[TP, int], bool], None] | None = None

    def _new_consumer_thread(self) -> PacedThread:
        return PacedThread(self, loop=self.loop, beacon=self.beacon)

    def halt(self) -> None:
        """Commit nothing any more: a batch failed, and whatever acknowledges it now is wrong."""
        self.halted = True

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the batch in hand finish and commit it while its partitions are still ours."""
        if not self.halted and not self.app.should_stop:
            self.stop_flow()
            self.app.flow_control.suspend()
            self.pause_partitions(self.assignment())
            self.app.flow_control.clear()
            await self.wait_empty()
        await super().on_partitions_revoked(revoked)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        if self.halted:
            return False
        done = await super()._commit_offsets(offsets, start_new_transaction)
        if done and self.on_committed:
            self.on_committed(offsets, not any(self._acked.values()) and not self._unacked_messages)
        return bool(done)


class SafeProducer(Producer):
    """Idempotent, all in-sync replicas: Faust sets both for exactly_once alone."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class StoreOptions(RocksDBOptions):
    """The loop's RocksDB options. Faust's own are a filter of three bits a key (a read among 100,000 patients took 71
    microseconds, and 25 with these) and a cache of 2 GiB for each partition."""

    def as_options(self) -> Options:
        return options()


class PartitionStore(RocksStore):
    """Faust's RocksDB store, read and written by partition instead of by 'the current event'."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.rocksdb_options = StoreOptions()
        self._claims: dict[int, int] = {}
        self._readings: dict[int, Reading] = {}

    def read(self, partition: int, key: bytes) -> bytes | None:
        """The state of a key of a partition."""
        found: bytes | None = self._db_for_partition(partition).get(key)
        return found

    def begin_to_read(self, partition: int) -> None:
        """The partition was dealt to us: what its changelog says follows, from where the local store ends."""
        self._claims.pop(partition, None)
        last = self.read(partition, self.offset_key)
        start = 0 if last is None else int(last) + 1
        self._readings[partition] = Reading.resumed(self.read(partition, CLAIM_KEY), start)

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]], to_key: Any, to_value: Any) -> None:
        """Write what counts of these records of the changelog."""
        states: dict[int, dict[bytes, bytes | None]] = defaultdict(dict)
        for message in (event.message for event in batch):
            assert message.key is not None
            counts = self._readings[message.partition].counts(message.offset, message.key, message.headers)
            states[message.partition].update({message.key: message.value} if counts else {})
        for partition, changed in states.items():
            reading = self._readings[partition]
            self._put(partition, changed | reading.note, reading.checkpoint)

    async def own(self, producer: Any, tp: TP) -> None:
        """Before the first write since the partition was dealt: claim it, and have the last word on each key that
        somebody else overwrote. Raises NotAlone when the claim does not follow on what was read."""
        if tp.partition in self._claims:
            return
        reading = self._readings[tp.partition]
        claim = await producer.send_and_wait(tp.topic, CLAIM_KEY, claimant(), tp.partition, None, None)
        check_alone(tp.topic, tp.partition, reading.end, [claim])
        reading.counts(claim.offset, CLAIM_KEY, None)
        self._claims[tp.partition] = claim.offset
        right = {key: self.read(tp.partition, key) for key in reading.overwritten}
        confirmed = await asyncio.gather(*[await self.send(producer, tp, key, state) for key, state in right.items()])
        end = check_alone(tp.topic, tp.partition, reading.end, confirmed)
        self._put(tp.partition, right | reading.note, end)
        if right:
            metrics.STATES_MENDED.labels(self.table_name).inc(len(right))
            log.warning("%s/%d: %d states mended", tp.topic, tp.partition, len(right))

    async def send(self, producer: Any, tp: TP, key: bytes, state: bytes | None) -> Any:
        """Send a state to the changelog under our claim; the future that is returned confirms it."""
        return await producer.send(tp.topic, key, state, tp.partition, None, mark(self._claims[tp.partition]))

    def write(self, tp: TP, states: Mapping[bytes, bytes | None], confirmed: Sequence[Any]) -> None:
        """States that the changelog has confirmed, and up to where it is complete, in one write.

        Stock Faust writes the state before it is confirmed. A crash between the two would leave a state that the
        changelog lacks and that a replay, finding nothing changed, would not send again. Raises NotAlone when another
        process wrote to the changelog meanwhile.
        """
        last = self.persisted_offset(tp)
        assert last is not None
        self._put(tp.partition, states, check_alone(tp.topic, tp.partition, last + 1, confirmed))

    def _put(self, partition: int, states: Mapping[bytes, bytes | None], end: int) -> None:
        """These states and the next offset to read; Faust keeps the last one that was read."""
        batch = WriteBatch(raw_mode=True)
        for key, state in states.items():
            if state is None:
                batch.delete(key)
            else:
                batch.put(key, state)
        batch.put(self.offset_key, str(end - 1).encode())
        self._db_for_partition(partition).write(batch)


class StateTable(faust.Table[bytes, bytes]):
    """A table on a PartitionStore."""

    def _new_store(self) -> PartitionStore:
        return PartitionStore(
            self._store or self.app.conf.store,
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            value_type=self.value_type,
            loop=self.loop,
            options=self.options,
        )


def guard(app: faust.App) -> None:
    """Put the guarded parts in place; before the app starts."""
    check_versions()
    app.transport.Consumer = GuardedConsumer  # type: ignore[misc]
    app.transport.Producer = SafeProducer  # type: ignore[misc]
    app.tables._recovery = GuardedRecovery(app, app.tables, beacon=app.tables.beacon, loop=app.loop)  # type: ignore[attr-defined]
