"""Which letters were retried is kept in 4 KB."""

from hypothesis import given
from hypothesis import strategies as st

from services.bus import dead_letters
from services.bus.dead_letters import read_ranges, write_ranges


@given(st.sets(st.integers(0, 10_000)))
def test_marks_are_read_as_they_were_written(numbers: set[int]) -> None:
    read = read_ranges(write_ranges(numbers))
    assert read <= numbers
    assert len(write_ranges(numbers)) <= dead_letters.METADATA_BYTES
    if len(numbers) < 500:
        assert read == numbers
