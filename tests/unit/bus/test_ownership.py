"""What was acknowledged stays, whoever else writes to the changelog, whenever its owners change and it is compacted."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.bus.ownership import CLAIM_HEADER, CLAIM_KEY, NO_CLAIM, NotAlone, Reading, check_alone, claim_in, mark

KEYS = (b"a", b"b")
State = frozenset[int]


class Log:
    """A changelog partition: records by offset, some compacted away."""

    def __init__(self) -> None:
        self.records: dict[int, tuple[bytes, State, dict[str, bytes]]] = {}
        self.end = 0

    def append(self, key: bytes, state: State, headers: dict[str, bytes]) -> int:
        self.records[self.end] = key, state, headers
        self.end += 1
        return self.end - 1

    def compact(self, end: int) -> None:
        """Keep the last record of each key among those before `end`."""
        last = {self.records[o][0]: o for o in sorted(self.records) if o < end}
        self.records = {o: r for o, r in self.records.items() if o >= end or last[r[0]] == o}


class Worker:
    """A process as the engines do it; its disk outlives it."""

    def __init__(self, log: Log) -> None:
        self.log, self.store, self.checkpoint, self.known = log, dict[bytes, State](), 0, NO_CLAIM
        self.claim, self.reading, self.alive = NO_CLAIM, Reading(), False

    def take(self) -> None:
        """Read what there is; the claim follows with the first write."""
        self.claim, self.reading, self.alive = NO_CLAIM, Reading(self.known, self.checkpoint), True
        for offset in sorted(o for o in self.log.records if o >= self.checkpoint):
            key, state, headers = self.log.records[offset]
            if self.reading.counts(offset, key, headers):
                self.store[key] = state
        self.checkpoint, self.known = self.reading.checkpoint, self.reading.claim

    def own(self) -> None:
        offset = self.log.append(CLAIM_KEY, frozenset(), {})
        end = check_alone("log", 0, self.reading.end, [SimpleNamespace(offset=offset)])
        self.claim = offset
        for key in sorted(self.reading.overwritten):
            self.log.append(key, self.store.get(key, frozenset()), mark(self.claim))
        self.checkpoint, self.known = end + len(self.reading.overwritten), self.claim

    def write(self, key: bytes, number: int) -> bool:
        """Whether it may acknowledge the message."""
        try:
            if self.claim == NO_CLAIM:
                self.own()
            state = self.store.get(key, frozenset()) | {number}
            offset = self.log.append(key, state, mark(self.claim))
            self.checkpoint = check_alone("log", 0, self.checkpoint, [SimpleNamespace(offset=offset)])
        except NotAlone:
            self.alive = False
            return False
        self.store[key] = state
        return True


STEPS = st.one_of(
    st.tuples(st.just("take"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("write"), st.integers(0, 2), st.sampled_from(KEYS)),
    st.tuples(st.just("write"), st.integers(0, 2), st.sampled_from(KEYS)),
    st.tuples(st.just("compact"), st.none(), st.none()),
)


@settings(max_examples=1000)
@given(st.lists(STEPS, max_size=40))
def test_what_was_acknowledged_is_read_by_whoever_takes_the_partition_next(
    steps: list[tuple[str, int, object]],
) -> None:
    log = Log()
    workers = [Worker(log) for _ in range(3)]
    acknowledged: dict[bytes, set[int]] = defaultdict(set)
    owner: Worker | None = None
    for number, (what, who, how) in enumerate(steps):
        if what == "take":
            if how:
                workers[who] = Worker(log)  # its disk was lost
            workers[who].take()
        elif what == "write" and workers[who].alive:  # whether or not another took the partition since
            assert isinstance(how, bytes)
            if workers[who].write(how, number):
                acknowledged[how].add(number)
                owner = workers[who]
        elif what == "compact" and owner is not None:
            log.compact(owner.checkpoint)  # a segment is closed by a write behind it, and its owner looks at each
    fresh = Worker(log)
    fresh.take()
    fresh.own()
    for key in KEYS:
        assert acknowledged[key] <= fresh.store.get(key, frozenset())
        last = [r for _, r in sorted(log.records.items()) if r[0] == key]
        assert not last or last[-1][1] == fresh.store.get(key, frozenset())  # the last word on each key is right


def test_states_from_before_there_were_claims_count_until_the_first_claim() -> None:
    reading = Reading()
    assert reading.counts(0, b"a", ())
    assert not reading.counts(1, CLAIM_KEY, None)
    assert not reading.counts(2, b"a", [])
    assert (reading.claim, reading.overwritten, reading.end, reading.checkpoint) == (1, {b"a"}, 3, 2)


def test_a_claim_whose_record_is_gone_is_known_by_its_states() -> None:
    reading = Reading()
    assert reading.counts(7, b"a", mark(5))
    assert not reading.counts(8, b"a", mark(4))
    assert reading.claim == 5
    assert claim_in([(CLAIM_HEADER, b"12")]) == 12


@pytest.mark.parametrize("offsets", [[4, 5], [3, 5], [3, 3]])
def test_a_gap_or_a_doublet_among_the_confirmed_offsets_is_told(offsets: list[int]) -> None:
    with pytest.raises(NotAlone, match="topic/2: written at"):
        check_alone("topic", 2, 3, [SimpleNamespace(offset=o) for o in offsets])
    assert check_alone("topic", 2, 3, [SimpleNamespace(offset=o) for o in (4, 3)]) == 5
    assert check_alone("topic", 2, 3, []) == 3
