"""Drift of the inputs and scores against the training data: the population stability index.

PSI = sum over bins of (a - e) * ln(a / e), with a and e the shares now and in training (Siddiqi 2006, Credit Risk
Scorecards). The usual reading: below 0.1 stable, above 0.25 shifted.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from math import log

import msgspec

MIN_COUNT = 100
"""Below so many values the index is mostly noise: none is given."""

WINDOW = 5000
"""Newest values that are compared, for each variable."""

FLOOR = 1e-4
"""Share given to an empty bin, so that the logarithm exists."""


class Reference(msgspec.Struct, frozen=True):
    """A training distribution: inner bin edges (ascending, n), and the shares of the n + 1 bins."""

    edges: list[float]
    shares: list[float]

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.edges) + 1 or list(self.edges) != sorted(self.edges):
            raise ValueError("a reference needs ascending edges and one share more than edges")


class Drift:
    """The newest values of one variable against its reference."""

    def __init__(self, reference: Reference, window: int = WINDOW) -> None:
        self._reference = reference
        self._bins: deque[int] = deque(maxlen=window)

    def add(self, value: float) -> None:
        self._bins.append(bisect_right(self._reference.edges, value))

    def __len__(self) -> int:
        return len(self._bins)

    def psi(self) -> float | None:
        """The index over the window; None with fewer than MIN_COUNT values."""
        if len(self._bins) < MIN_COUNT:
            return None
        counts = [0] * len(self._reference.shares)
        for place in self._bins:
            counts[place] += 1
        return psi(self._reference.shares, [count / len(self._bins) for count in counts])


def psi(expected: Sequence[float], actual: Sequence[float]) -> float:
    """Population stability index of two distributions over the same bins; 0 when equal, never negative."""
    pairs = [(max(e, FLOOR), max(a, FLOOR)) for e, a in zip(expected, actual, strict=True)]
    return sum((a - e) * log(a / e) for e, a in pairs)
