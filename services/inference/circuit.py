"""A circuit breaker: after failures nobody is asked for a while, then one probe decides."""

from collections.abc import Callable
from enum import StrEnum


class State(StrEnum):
    CLOSED = "closed"  # all is well
    OPEN = "open"  # do not ask before `retry_at`
    HALF_OPEN = "half_open"  # one probe may go; its outcome decides


class Circuit:
    """Opens after `failures` failures in a row; each failed probe doubles the wait, up to `longest_s`.

    `clock` gives seconds and never goes back (time.monotonic). No I/O and no sleeping here.
    """

    def __init__(
        self, clock: Callable[[], float], *, failures: int = 3, wait_s: float = 0.25, longest_s: float = 5.0
    ) -> None:
        self._clock = clock
        self._limit = failures
        self._first_wait = wait_s
        self._longest = longest_s
        self._failed = 0
        self._wait = wait_s
        self._opened_at: float | None = None
        self._since: float | None = None

    @property
    def state(self) -> State:
        if self._opened_at is None:
            return State.CLOSED
        return State.OPEN if self.wait_s > 0 else State.HALF_OPEN

    @property
    def wait_s(self) -> float:
        """Seconds until a probe may go; 0 when it may go now."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._wait - (self._clock() - self._opened_at))

    @property
    def open_for_s(self) -> float:
        """How long the circuit has been open without a success; 0 when it is closed."""
        return 0.0 if self._since is None else self._clock() - self._since

    def success(self) -> None:
        """An inference was answered: closed, and the memory of failures is gone."""
        self._failed, self._wait = 0, self._first_wait
        self._opened_at = self._since = None

    def failure(self) -> None:
        """An inference was not answered."""
        self._failed += 1
        if self._opened_at is not None:
            if self.state is State.HALF_OPEN:
                self._wait = min(self._longest, self._wait * 2)
                self._opened_at = self._clock()
        elif self._failed >= self._limit:
            self._opened_at = self._clock()
            self._since = self._opened_at
