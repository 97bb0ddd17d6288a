"""Server-sent events to many browsers: a bounded queue each, a ring buffer for those who come back.

A client that reads too slowly is let go; it reconnects by itself and asks for what it missed by `Last-Event-ID`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

QUEUE = 2000  # events that one client may be behind
RING = 5000  # events kept for those who come back
KEEP_ALIVE_S = 15.0  # below the idle time-outs of common proxies (60 s)


class Evicted(Exception):
    """The client did not read for so long that its queue is full."""


class Stream:
    """Fan-out of events to subscribers. `start` names this process: ids of another one are not ours to replay."""

    def __init__(self, start: str) -> None:
        self._start = start
        self._number = 0
        self._ring: deque[tuple[int, bytes]] = deque(maxlen=RING)
        self._queues: dict[asyncio.Queue[bytes], bool] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def publish(self, kind: str, data: bytes) -> None:
        """Send one event (`data`: one line of JSON) to all; those whose queue is full are marked for eviction."""
        self._number += 1
        frame = b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (self._start.encode(), self._number, kind.encode(), data)
        self._ring.append((self._number, frame))
        for queue in self._queues:
            try:
                queue.put_nowait(frame)
            except asyncio.QueueFull:
                self._queues[queue] = True

    def missed(self, last_event_id: str) -> list[bytes] | None:
        """The events after that id; None when they are not all known any more (the client should load anew)."""
        start, _, number = last_event_id.rpartition("-")
        if start != self._start or not number.isdigit():
            return None
        last = int(number)
        if self._ring and last < self._ring[0][0] - 1:
            return None
        return [frame for at, frame in self._ring if at > last]

    @contextmanager
    def subscribe(self) -> "Iterator[Subscription]":
        """A subscription for the length of a `with` block."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)
        self._queues[queue] = False
        try:
            yield Subscription(self, queue)
        finally:
            del self._queues[queue]

    def evicted(self, queue: asyncio.Queue[bytes]) -> bool:
        return self._queues[queue]


class Subscription:
    """One client's events."""

    def __init__(self, stream: Stream, queue: asyncio.Queue[bytes]) -> None:
        self._stream, self._queue = stream, queue

    async def frames(self) -> AsyncIterator[bytes]:
        """Events as they come, a comment line when none does for KEEP_ALIVE_S; raises Evicted."""
        while True:
            if self._stream.evicted(self._queue):
                raise Evicted
            try:
                yield await asyncio.wait_for(self._queue.get(), KEEP_ALIVE_S)
            except TimeoutError:
                yield b": keep-alive\n\n"
