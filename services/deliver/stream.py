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
CHUNK = 200  # events written at once to a client that is behind


class Evicted(Exception):
    """The client did not read for so long that its queue is full."""


class Stream:
    """Fan-out of events to subscribers. `start` names this process: ids of another one are not ours to replay."""

    def __init__(self, start: str) -> None:
        self._start = start
        self._number = 0
        self._skipped = 0  # the number up to which events were not made
        self._ring: deque[tuple[int, bytes]] = deque(maxlen=RING)
        self._subscriptions: set[Subscription] = set()
        self.closed = False

    def __len__(self) -> int:
        return len(self._subscriptions)

    def publish(self, kind: str, data: bytes) -> None:
        """Send one event (`data`: one line of JSON) to all; those whose queue is full are marked for eviction."""
        self._number += 1
        frame = b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (self._start.encode(), self._number, kind.encode(), data)
        self._ring.append((self._number, frame))
        for subscription in self._subscriptions:
            subscription.offer(frame)

    def skip(self) -> None:
        """Something happened that nobody is told of: who comes back from before it loads anew."""
        self._number += 1
        self._skipped = self._number
        self._ring.clear()

    def missed(self, last_event_id: str) -> list[bytes] | None:
        """The events after that id; None when they are not all known any more (the client should load anew)."""
        start, _, number = last_event_id.rpartition("-")
        if start != self._start or not (number.isascii() and number.isdigit()):
            return None
        last = int(number)
        if not self._skipped <= last <= self._number or (self._ring and last < self._ring[0][0] - 1):
            return None
        return [frame for at, frame in self._ring if at > last]

    @contextmanager
    def subscribe(self) -> "Iterator[Subscription]":
        """A subscription for the length of a `with` block."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End every subscription: the process stops."""
        self.closed = True
        for subscription in self._subscriptions:
            subscription.end()


class Subscription:
    """One client's events."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)
        self._evicted = self._ended = False

    def offer(self, frame: bytes) -> None:
        """Queue a frame; marks the subscription for eviction when it is too far behind."""
        try:
            self._queue.put_nowait(frame)
        except asyncio.QueueFull:
            self._evicted = True

    def end(self) -> None:
        """No more events: wakes a waiting reader."""
        self._ended = True
        self.offer(b"")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Events as they come, several at once to who is behind; a comment when none comes for KEEP_ALIVE_S.

        Raises Evicted.
        """
        while not self._ended:
            if self._evicted:
                raise Evicted
            try:
                frames = [await asyncio.wait_for(self._queue.get(), KEEP_ALIVE_S)]
            except TimeoutError:
                frames = [b": keep-alive\n\n"]
            while not self._queue.empty() and len(frames) < CHUNK:
                frames.append(self._queue.get_nowait())
            yield b"".join(frames)
