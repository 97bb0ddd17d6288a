"""What the contract suite needs from any engine: topics, workers that can be stopped and killed, and what came out."""

import asyncio
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Protocol

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from services.bus.admin import create_topics, end_offsets, lag
from services.bus.connect import connection, kafka_python_producer
from services.bus.memory import MemoryBus, MemoryEngine
from services.bus.messages import Message, Output
from services.bus.ownership import CLAIM_KEY, mark
from services.bus.settings import Settings
from services.bus.topics import DEAD_LETTERS, Topic, changelog_name
from tests.contract.engine import worker
from tests.contract.engine.steps import Collect, Tell

PATIENCE_S = 30.0


class Worker(Protocol):
    """A started worker."""

    async def stop(self) -> int: ...

    async def kill(self) -> None: ...

    async def ended(self) -> int: ...


class Harness(Protocol):
    """An engine and its bus."""

    survives_disk_loss: bool

    def topic(self, stem: str, partitions: int = 4, max_bytes: int = 1 << 20) -> Topic: ...

    def publish(self, topic: Topic, items: Sequence[tuple[str, bytes]]) -> None: ...

    async def start(self, step: dict[str, Any], dead_letters: Topic = DEAD_LETTERS, **settings: Any) -> Worker: ...

    def lag(self, name: str, topics: Sequence[Topic]) -> int: ...

    def count(self, topic: Topic) -> int: ...

    def messages(self, topic: Topic) -> list[Message]: ...

    def states(self, name: str, partitions: int) -> dict[tuple[int, bytes], bytes]: ...

    def lose_disk(self) -> None: ...


async def until(what: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Return when it is so; AssertionError when it does not become so."""
    deadline = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)


class MemoryWorker:
    """An engine's task."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self._task = asyncio.create_task(engine.run())

    async def stop(self) -> int:
        await self._engine.stop()
        return await self.ended()

    async def kill(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def ended(self) -> int:
        try:
            await self._task
        except Exception:  # noqa: BLE001 -- a process would end with status 1 whatever it raised
            return 1
        return 0


class MemoryHarness:
    """The engine in memory."""

    survives_disk_loss = True

    def __init__(self) -> None:
        self.bus = MemoryBus()

    def topic(self, stem: str, partitions: int = 4, max_bytes: int = 1 << 20) -> Topic:
        return Topic(f"{stem}-{uuid.uuid4().hex[:8]}", "key", "bytes", "", partitions=partitions, max_bytes=max_bytes)

    def publish(self, topic: Topic, items: Sequence[tuple[str, bytes]]) -> None:
        for key, value in items:
            self.bus.publish(Output(topic, key, value))

    async def start(self, step: dict[str, Any], dead_letters: Topic = DEAD_LETTERS, **settings: Any) -> Worker:
        self.bus.refuse(DEAD_LETTERS, dead_letters is not DEAD_LETTERS)
        chosen = dict(step)
        kind = {"keyed": Collect, "batch": Tell}[chosen.pop("kind")]
        return MemoryWorker(MemoryEngine(self.bus, kind(**chosen), batch=8))

    def lag(self, name: str, topics: Sequence[Topic]) -> int:
        return self.bus.lag(name, topics)

    def count(self, topic: Topic) -> int:
        return len(self.bus.messages(topic))

    def messages(self, topic: Topic) -> list[Message]:
        return self.bus.messages(topic)

    def states(self, name: str, partitions: int) -> dict[tuple[int, bytes], bytes]:
        return dict(self.bus.groups[name].changelog)

    def lose_disk(self) -> None:
        """It has none."""


class ProcessWorker:
    """A worker process, forked from a server that has everything imported."""

    def __init__(self, process: ForkServerProcess, log: Path) -> None:
        self._process, self._log = process, log

    async def stop(self) -> int:
        self._process.terminate()
        return await self.ended()

    async def kill(self) -> None:
        self._process.kill()
        await self.ended()

    def freeze(self) -> None:
        """Stop it where it is, without its knowing."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self._pid, signal.SIGCONT)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    @property
    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def _pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    async def ended(self) -> int:
        await asyncio.to_thread(self._process.join, PATIENCE_S)
        assert self._process.exitcode is not None, f"the worker does not end; see {self._log}"
        return self._process.exitcode


class KafkaHarness:
    """An engine on the real broker, each worker a process."""

    survives_disk_loss = True

    def __init__(self, settings: Settings, engine: str, folder: Path) -> None:
        # A worker that was killed must be missed within a test's patience.
        self.settings = dataclasses.replace(
            settings, engine=engine, session_timeout=6.0, metrics_host="127.0.0.1", metrics_port=0
        )
        self._folder = folder
        self._disk = 0
        self._workers: list[ForkServerProcess] = []
        self.may_fail: set[int] = set()  # numbers of workers that a test expects to end badly
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.contract.engine.preload"])
        self._producer = KafkaProducer(**kafka_python_producer(settings))
        create_topics(settings, [DEAD_LETTERS])

    def close(self) -> None:
        """End what is left of the workers."""
        for process in self._workers:
            if process.is_alive():
                process.kill()
            process.join()
        self._producer.close()

    def topic(self, stem: str, partitions: int = 4, max_bytes: int = 1 << 20) -> Topic:
        name = f"{stem}-{uuid.uuid4().hex[:8]}"
        topic = Topic(name, "key", "bytes", "of a test", partitions=partitions, max_bytes=max_bytes)
        create_topics(self.settings, [topic])
        return topic

    def publish(self, topic: Topic, items: Sequence[tuple[str, bytes]]) -> None:
        futures = [self._producer.send(topic.name, key=key.encode(), value=value) for key, value in items]
        for future in futures:
            future.get(timeout=30)

    async def start(self, step: dict[str, Any], dead_letters: Topic = DEAD_LETTERS, **settings: Any) -> ProcessWorker:
        instance = settings.get("instance", "")
        home = self._folder / f"disk{self._disk}-{instance or uuid.uuid4().hex[:6]}"
        chosen = dataclasses.replace(self.settings, home=home, **settings)
        log = self._folder / f"worker{len(self._workers)}.log"
        process = self._context.Process(target=worker.run, args=(dict(step), chosen, dead_letters, log))
        process.start()
        self._workers.append(process)
        return ProcessWorker(process, log)

    def lag(self, name: str, topics: Sequence[Topic]) -> int:
        return sum(one.lag for one in lag(self.settings, f"wardstream-{name}", [t.name for t in topics]))

    def count(self, topic: Topic) -> int:
        for number, process in enumerate(self._workers):
            log = self._folder / f"worker{number}.log"
            fine = process.exitcode in (None, 0, -9) or number in self.may_fail
            assert fine, log.read_text()[-2000:]
        return sum(end_offsets(self.settings, [topic.name]).values())

    def messages(self, topic: Topic) -> list[Message]:
        return self._read(topic.name)

    def states(self, name: str, partitions: int) -> dict[tuple[int, bytes], bytes]:
        latest: dict[tuple[int, bytes], bytes] = {}
        for message in self._read(changelog_name(name)):
            assert message.key is not None
            if message.key != CLAIM_KEY:
                latest[message.partition, message.key] = message.value
        return latest

    def write_late(self, name: str, state: bytes) -> int:
        """Write this state of every key, as a worker would that had the partitions first; answers how many keys."""
        first: dict[int, int] = {}
        for message in self._read(changelog_name(name)):
            if message.key == CLAIM_KEY:
                first.setdefault(message.partition, message.offset)
        slots = list(self.states(name, 0))
        for partition, key in slots:
            headers = [*mark(first[partition]).items()]
            self._producer.send(changelog_name(name), state, key, partition=partition, headers=headers).get(timeout=30)
        return len(slots)

    def lose_disk(self) -> None:
        """Workers started from now on have an empty disk."""
        self._disk += 1

    def _read(self, topic: str) -> list[Message]:
        ends = {TopicPartition(*slot): end for slot, end in end_offsets(self.settings, [topic]).items() if end}
        if not ends:
            return []
        consumer = KafkaConsumer(**connection(self.settings), enable_auto_commit=False)
        found: list[Message] = []
        try:
            consumer.assign(list(ends))
            consumer.seek_to_beginning()
            while any(consumer.position(tp) < end for tp, end in ends.items()):
                for records in consumer.poll(timeout_ms=500).values():
                    found += [
                        Message(r.topic, r.partition, r.offset, r.key, r.value or b"", dict(r.headers), r.timestamp)
                        for r in records
                    ]
        finally:
            consumer.close()
        return sorted(found, key=lambda m: (m.partition, m.offset))
