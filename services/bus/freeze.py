"""A process that was frozen for longer than its session stops at once: its partitions belong to others by then.

A worker that is stopped (SIGSTOP, a paused virtual machine, swapping) wakes in the middle of what it was doing, before
it can learn that the group went on without it. An engine asks before each write whether the clock jumped, so that
others' outputs are seldom repeated. A freeze between that question and the socket does no harm either: a state that
is written too late does not count (ownership.py).
"""

import asyncio
import time
from collections.abc import Callable

PART_OF_SESSION = 0.8
TICKS = 20  # in that time


class Frozen(RuntimeError):
    """This process stood still for so long that its partitions may have gone to others."""


class FreezeGuard:
    """Notices that no task ran for most of a session."""

    def __init__(self, session_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = session_s * PART_OF_SESSION
        self._clock = clock
        self._seen = clock()

    def check(self) -> None:
        """Raise Frozen when the last tick is too long ago."""
        stood = self._clock() - self._seen
        if stood > self._limit_s:
            raise Frozen(f"this process stood still for {stood:.1f} s")

    def tick(self) -> None:
        """Note that tasks run; raises Frozen when they did not for too long."""
        self.check()
        self._seen = self._clock()

    def start(self) -> "asyncio.Task[None]":
        """Tick from now on, in a task that the caller cancels; it ends with Frozen."""
        self._seen = self._clock()
        return asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self.tick()
            await asyncio.sleep(self._limit_s / TICKS)
