"""Bounded memory and order: an allowance of bytes, a lock for each key, and turns that many take together."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """A first-come-first-served allowance of bytes."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait until `size` bytes are free. A size above the total is let through alone."""
        size = min(size, self.total)
        if not self._waiting and self.used + size <= self.total:
            self.used += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)
            else:
                turn.cancel()
                self._admit()
            raise

    def give(self, size: int) -> None:
        """Return what was taken."""
        self.used -= min(size, self.total)
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.done():
                if self.used + size > self.total:
                    return
                self.used += size
                turn.set_result(None)
            self._waiting.popleft()


class KeyedLocks:
    """One first-come-first-served lock per key; a lock exists only while somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, key: str | None) -> AsyncIterator[None]:
        """Hold the key's lock; None locks nothing."""
        if key is None:
            yield
            return
        lock, users = self._locks.get(key) or (asyncio.Lock(), 0)
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            users = self._locks[key][1] - 1
            if users:
                self._locks[key] = (lock, users)
            else:
                del self._locks[key]


class Turns:
    """Lets many do together what is dear to do once: each waits for the next turn, and all who wait take it at once.

    A lone sender that waits for its answer is held up by `EACH_S`; the more came last time, the longer the next turn
    lets others join, up to `LONGEST_S`.
    """

    EACH_S = 0.002
    LONGEST_S = 0.02

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._taken = 0  # by how many the last turn was taken

    async def next(self) -> None:
        """Return with the next turn. Those who asked first go first."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_later(min(self.EACH_S * self._taken, self.LONGEST_S), self._take)
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _take(self) -> None:
        turns, self._waiting = self._waiting, []
        self._taken = len(turns)
        for turn in turns:
            if not turn.done():
                turn.set_result(None)
