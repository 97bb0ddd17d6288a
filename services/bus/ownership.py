"""Whose states count: the changelog itself says which process owns a partition.

A process that takes a partition appends a claim to the partition's changelog, knows all that stands before it, and
marks each state that it writes with that claim's offset. The broker gives offsets in order, so claims are numbered for
free. A reader believes a state when no later claim stands before it: what a worker writes that stood still (SIGSTOP, a
paused virtual machine, a slow socket) until its partitions were somebody else's stands behind the other's claim.

A sole writer's states get consecutive offsets. One that finds a gap is not alone: its states may stand behind a
claim, or a latecomer's state may be the last word on a key. It ends without acknowledging what it wrote, and its next
start claims, reads, and repeats the right state of each key on which a latecomer had the last word (else compaction
would keep the latecomer's). So a batch is acknowledged only when its states count for every reader to come.

This is what a producer's epoch gives in Kafka's transactions, without a transaction for each batch.
"""

import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any

CLAIM_KEY = b"\x00owner"  # no patient key begins with a NUL
CLAIM_HEADER = "claim"
NO_CLAIM = -1

Headers = Mapping[str, bytes] | Iterable[tuple[str, bytes]] | None


class NotAlone(RuntimeError):
    """Another process writes to a changelog that this one believes to own."""


class Reading:
    """One partition's changelog on its way through a reader: which records count, and what must be mended."""

    def __init__(self, claim: int = NO_CLAIM, start: int = 0) -> None:
        """`claim` is the newest among the records before `start`, where it begins to read."""
        self.claim = claim
        self.end = start  # the offset after the last record that was read
        self.overwritten: set[bytes] = set()
        """Keys on which a record that does not count has the last word."""
        self._first_bad: int | None = None

    @classmethod
    def resumed(cls, noted: bytes | None, start: int) -> "Reading":
        """From where a local store ends, with what it has under CLAIM_KEY."""
        return cls(NO_CLAIM if noted is None else int(noted), start)

    @property
    def note(self) -> dict[bytes, bytes]:
        """What a local store keeps of the newest claim, for `resumed`."""
        return {CLAIM_KEY: str(self.claim).encode()}

    @property
    def checkpoint(self) -> int:
        """Where a reader that ends before the mending must begin again."""
        return self.end if self._first_bad is None else self._first_bad

    def counts(self, offset: int, key: bytes, headers: Headers) -> bool:
        """Whether this record, the next one, is a state to believe."""
        self.end = offset + 1
        if key == CLAIM_KEY:
            self.claim = max(self.claim, offset)
            return False
        claim = claim_in(headers)
        if claim < self.claim:
            self.overwritten.add(key)
            self._first_bad = offset if self._first_bad is None else self._first_bad
            return False
        self.claim = claim  # a later claim than any seen: compaction took the claim's own record away
        self.overwritten.discard(key)
        return True


def claim_in(headers: Headers) -> int:
    """The claim that a state is marked with; NO_CLAIM for one from before there were claims."""
    found = dict(headers or {}).get(CLAIM_HEADER)
    return NO_CLAIM if found is None else int(found)


def mark(claim: int) -> dict[str, bytes]:
    """The headers of a state that is written under this claim."""
    return {CLAIM_HEADER: str(claim).encode()}


def claimant() -> bytes:
    """A claim's value, for whoever looks into the topic: the host and process."""
    return f"{socket.gethostname()}/{os.getpid()}".encode()


def check_alone(topic: str, partition: int, expected: int, written: Iterable[Any]) -> int:
    """The offset after these confirmed records of a partition; raises NotAlone unless they follow on `expected`."""
    offsets = sorted(one.offset for one in written)
    if offsets != list(range(expected, expected + len(offsets))):
        raise NotAlone(f"{topic}/{partition}: written at {offsets[0]} to {offsets[-1]}, expected from {expected}")
    return expected + len(offsets)
