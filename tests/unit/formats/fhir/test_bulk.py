"""ndjson."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.formats.fhir.bulk import Lines, TooLong, lines


@given(st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b)), st.lists(st.integers(0, 400), max_size=8))
def test_lines_do_not_depend_on_how_the_bytes_arrive(wanted: list[bytes], cuts: list[int]):
    data = b"\n".join(wanted)
    cutter, found, at = Lines(1000), [], 0
    for cut in [*sorted(c for c in cuts if c < len(data)), len(data)]:
        found += cutter.feed(data[at:cut])
        at = cut
    found += cutter.end()
    assert found == [(n, line.strip()) for n, line in enumerate(wanted, 1) if line.strip()]
    assert [line for _, line in lines(b"\xef\xbb\xbf" + data)] == [line for _, line in found] or data[
        :3
    ] == b"\xef\xbb\xbf"


def test_a_line_without_end_is_cut_off_before_it_fills_the_memory():
    cutter = Lines(100)
    list(cutter.feed(b"{}\n"))
    for _ in range(3):
        assert list(cutter.feed(b"x" * 30)) == []
    with pytest.raises(TooLong) as caught:
        list(cutter.feed(b"x" * 30))
    assert caught.value.number == 2
