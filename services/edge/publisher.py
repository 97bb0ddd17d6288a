"""Publishing what arrived: a message counts as kept when all in-sync replicas have it, and never before.

aiokafka's producer is used with three guards, each for something seen in its code (0.14):
  - with idempotence it never gives up on a batch, so the wait is bounded here (`delivery_timeout`) and the bytes of
    whatever is still in its buffers stay counted against `max_in_flight_bytes` until they are settled;
  - after one batch has failed for good, the sequence of its partition has a gap and every later batch fails too,
    so the producer is replaced by a new one with a new producer id;
  - its partitioner takes partitions in the order of a set: they are sorted first, so that a key always lands where
    Kafka's own default partitioner (murmur2) puts it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from services.bus.connect import aiokafka_producer
from services.bus.settings import Settings
from services.bus.topics import Topic
from services.edge.flow import ByteBudget, KeyedLocks, Turns

log = logging.getLogger(__name__)

DELIVERY_TIMEOUT_S = 10.0
"""Longest wait for an acknowledgement. Below the 30 s after which most HL7 senders give up on theirs."""
MAX_IN_FLIGHT_BYTES = 64 << 20
"""Bytes handed to the producer and not yet settled; the next publish waits. The producer holds about as much again."""
RECONNECT_S = 0.5
STOP_TIMEOUT_S = 3.0
"""For what is still in flight when the process stops: nobody waits for its acknowledgement any more."""


class PublishFailed(Exception):
    """The broker has not acknowledged. The text names the cause and nothing of the message.

    `pending` is set where the message may still be acknowledged later (the wait was given up, not the message):
    awaiting it tells how it ends. A repeat of the same message can wait for it instead of publishing twice.
    """

    def __init__(self, cause: str, pending: "asyncio.Future[Any] | None" = None) -> None:
        super().__init__(cause)
        self.pending = pending


class TooLarge(PublishFailed):
    """The message can never be published: it is larger than its topic takes."""


class Publisher(Protocol):
    """What the edge publishes through."""

    async def publish(self, topic: Topic, key: str | None, value: bytes, headers: dict[str, bytes]) -> None:
        """Return when the message is kept (acks=all). Messages of one key keep the order in which they were given.

        Raises PublishFailed when it was not acknowledged in time or at all, TooLarge when it never can be.
        """


_murmur2 = DefaultPartitioner()


def partition_of(key: bytes | None, partitions: list[int], available: list[int]) -> int:
    """Kafka's default partition of a key (murmur2, positive, modulo), whatever order the partitions come in."""
    return int(_murmur2(key, sorted(partitions), available))


class KafkaPublisher:
    """Publishes to Kafka: acks=all, idempotent, in order per key, pipelined, with bounded memory.

    `start` does not need the cluster: until it is reachable `publish` raises PublishFailed after `delivery_timeout`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        delivery_timeout: float = DELIVERY_TIMEOUT_S,
        max_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES,
        client_id: str = "wardstream-edge",
        make_producer: Callable[..., AIOKafkaProducer] = AIOKafkaProducer,
    ) -> None:
        self._arguments = aiokafka_producer(settings, client_id) | {
            "request_timeout_ms": max(1000, int(delivery_timeout * 1000)),
            "partitioner": partition_of,
        }
        self._make = make_producer
        self._timeout = delivery_timeout
        self._budget = ByteBudget(max_in_flight_bytes)
        self._order = KeyedLocks()
        self._turns = Turns()
        self._producer: AIOKafkaProducer | None = None
        self._connected = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    @property
    def connected(self) -> bool:
        """True while there is a producer that has reached the cluster."""
        return self._connected.is_set()

    @property
    def in_flight_bytes(self) -> int:
        """Bytes handed to the producer and not yet settled."""
        return self._budget.used

    async def start(self) -> None:
        """Begin to connect, in the background. Raises what a producer raises for settings that it cannot use."""
        self._spawn(self._connect(self._make(**self._arguments)))

    async def stop(self) -> None:
        """Wait for what is in flight, not longer than STOP_TIMEOUT_S, and close."""
        self._stopped = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if (producer := self._producer) is not None:
            self._connected.clear()
            self._producer = None
            await _close(producer, STOP_TIMEOUT_S)

    async def publish(self, topic: Topic, key: str | None, value: bytes, headers: dict[str, bytes]) -> None:
        """See `Publisher.publish`."""
        size = len(value) + len(key or "") + sum(len(k) + len(v) for k, v in headers.items())
        if size > topic.max_bytes:
            raise TooLarge(f"larger than {topic.name} takes ({topic.max_bytes} bytes)")
        sent: asyncio.Future[Any] | None = None
        try:
            async with asyncio.timeout(self._timeout):
                sent = await self._send(topic, key, value, headers, size)
                await asyncio.shield(sent)
        except TimeoutError as error:
            raise PublishFailed("not acknowledged in time", sent) from error
        except KafkaError as error:
            raise PublishFailed(type(error).__name__) from None

    async def _send(
        self, topic: Topic, key: str | None, value: bytes, headers: dict[str, bytes], size: int
    ) -> "asyncio.Future[Any]":
        """Hand the message to the producer; the key's order is fixed when this returns."""
        async with self._order.hold(key and f"{topic.name} {key}"):
            await self._budget.take(size)
            try:
                producer = await self._reached()
                await self._turns.next()
                sent: asyncio.Future[Any] = await producer.send(
                    topic.name, value, key.encode() if key else None, headers=list(headers.items())
                )
            except BaseException as error:
                self._budget.give(size)
                if isinstance(error, KafkaError) and not error.retriable:
                    self._replace(producer)
                raise
        sent.add_done_callback(lambda done: self._settled(done, producer, size))
        return sent

    async def _reached(self) -> AIOKafkaProducer:
        while (producer := self._producer) is None:
            await self._connected.wait()
        return producer

    def _settled(self, sent: "asyncio.Future[Any]", producer: AIOKafkaProducer, size: int) -> None:
        self._budget.give(size)
        if not sent.cancelled() and sent.exception() is not None:
            self._replace(producer)

    def _replace(self, producer: AIOKafkaProducer) -> None:
        """Put a new producer in the place of one that has failed; what it still holds fails with it."""
        if self._producer is not producer or self._stopped:
            return
        log.warning("the producer failed and is replaced")
        self._producer = None
        self._connected.clear()
        self._spawn(_close(producer, 0.0))
        self._spawn(self._connect(self._make(**self._arguments)))

    async def _connect(self, producer: AIOKafkaProducer) -> None:
        told = False
        while True:
            try:
                async with asyncio.timeout(self._timeout):
                    await producer.start()
            except (KafkaError, OSError, TimeoutError) as error:
                await _close(producer, 0.0)
                if not told:
                    log.warning("Kafka is not reachable (%s); trying on", type(error).__name__)
                    told = True
                await asyncio.sleep(RECONNECT_S)
                producer = self._make(**self._arguments)
            except asyncio.CancelledError:
                await _close(producer, 0.0)
                raise
            else:
                self._producer = producer
                self._connected.set()
                log.info("Kafka is reached")
                return

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _close(producer: AIOKafkaProducer, timeout: float) -> None:
    """Flush for `timeout` seconds at most and close; what is left unsent fails with KafkaError."""
    with suppress(TimeoutError, KafkaError, OSError):
        if timeout:
            async with asyncio.timeout(timeout):
                await producer.flush()
    producer._message_accumulator.fail_all(KafkaError())
    with suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(max(timeout, 2.0)):
            await producer.stop()


@dataclass(frozen=True, slots=True)
class Published:
    """One message that a MemoryPublisher keeps."""

    topic: str
    key: str | None
    value: bytes = field(repr=False)
    headers: dict[str, bytes] = field(repr=False)


class MemoryPublisher:
    """A publisher for tests: keeps messages in a list, and fails or stalls as told.

    `fail_next(n, error)` makes the next n publishes fail; `away = True` makes all fail; while `gate` is not set,
    publishes wait for it before they are kept (an acknowledgement that is slow to come).
    """

    def __init__(self) -> None:
        self.messages: list[Published] = []
        self.attempts = 0
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self._order = KeyedLocks()
        self._failures: deque[Exception] = deque()

    def fail_next(self, count: int = 1, error: Exception | None = None) -> None:
        """Let the next `count` publishes fail with `error` (PublishFailed by default)."""
        self._failures.extend([error or PublishFailed("told to fail")] * count)

    def on(self, topic: Topic) -> list[Published]:
        """What was published on a topic, in order."""
        return [m for m in self.messages if m.topic == topic.name]

    async def publish(self, topic: Topic, key: str | None, value: bytes, headers: dict[str, bytes]) -> None:
        """See `Publisher.publish`."""
        self.attempts += 1
        if len(value) > topic.max_bytes:
            raise TooLarge(f"larger than {topic.name} takes")
        async with self._order.hold(key):
            await self.gate.wait()
            if self._failures:
                raise self._failures.popleft()
            if self.away:
                raise PublishFailed("away")
            self.messages.append(Published(topic.name, key, value, dict(headers)))
