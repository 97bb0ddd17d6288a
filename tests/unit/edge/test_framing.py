"""MLLP frames are found whatever the network does to the bytes, and nothing that is no frame vanishes."""

from hypothesis import given
from hypothesis import strategies as st

from services.domain.reasons import RejectReason
from services.edge.framing import BadFrame, Deframer, Frame, framed

MESSAGE = b"MSH|^~\\&|LAB|H|||20200101||ORU^R01|1|P|2.5\rPID|1\r"
content = st.binary(max_size=60).map(lambda b: b"MSH|" + b.translate(None, b"\x0b\x1c"))
noise = st.binary(max_size=12)


def deframe(data: bytes, cuts: list[int] = (), cap: int = 1000) -> list[Frame | BadFrame]:  # type: ignore[assignment]
    deframer, found, at = Deframer(cap), [], 0
    for cut in [*sorted(c % (len(data) + 1) for c in cuts), len(data)]:
        found += list(deframer.feed(data[at:cut]))
        at = cut
    return [*found, left] if (left := deframer.end()) else found


@given(st.lists(content, max_size=6), st.lists(st.integers(0, 500), max_size=8))
def test_frames_come_out_as_they_went_in_however_they_are_cut(messages, cuts):
    assert deframe(b"".join(map(framed, messages)), cuts) == [Frame(m) for m in messages]


@given(st.lists(st.one_of(content.map(framed), noise), max_size=6), st.lists(st.integers(0, 300), max_size=8))
def test_any_bytes_give_the_same_frames_however_they_are_cut(parts, cuts):
    data = b"".join(parts)
    assert deframe(data, cuts) == deframe(data) == deframe(data, list(range(len(data))))


@given(st.binary(max_size=200), st.integers(4, 30))
def test_any_bytes_above_any_cap_give_the_same_frames_however_they_are_cut(data, cap):
    assert deframe(data, list(range(len(data))), cap) == deframe(data, [], cap)


@given(st.lists(st.one_of(content.map(framed), noise), max_size=6))
def test_no_byte_that_means_something_vanishes(parts):
    data = b"".join(parts)
    kept = b"".join(item.content for item in deframe(data, cap=10_000))
    blank = b"\r\n\t \x00\x0b\x1c"
    assert sorted(kept.translate(None, blank)) == sorted(data.translate(None, blank))


@given(st.lists(content, min_size=1, max_size=4), st.sampled_from([b"", b"\r", b"\r\n", b"\n\n", b"\x00"]))
def test_a_missing_or_doubled_carriage_return_between_frames_does_not_matter(messages, between):
    data = b"".join(b"\x0b" + m + b"\x1c" + between for m in messages)
    assert deframe(data) == [Frame(m) for m in messages]


def test_an_end_block_without_carriage_return_ends_the_frame_at_once():
    assert list(Deframer(1000).feed(b"\x0b" + MESSAGE + b"\x1c")) == [Frame(MESSAGE)]


def test_garbage_between_frames_is_kept_and_the_next_frame_is_read():
    found = deframe(framed(MESSAGE) + b"GET / HTTP/1.1\r\n" + framed(MESSAGE))
    assert [type(f) for f in found] == [Frame, BadFrame, Frame]
    assert found[1].content == b"GET / HTTP/1.1"


def test_a_message_without_start_block_is_kept():
    assert [f.content.strip() for f in deframe(MESSAGE + b"\x1c\r" + framed(MESSAGE))] == [
        MESSAGE.strip(),
        MESSAGE.strip(),
    ]


def test_a_frame_cut_off_by_the_next_is_kept_and_the_next_is_read():
    found = deframe(b"\x0b" + MESSAGE[:20] + framed(MESSAGE))
    assert found == [BadFrame(RejectReason.MALFORMED, found[0].hint, MESSAGE[:20]), Frame(MESSAGE)]


def test_a_vertical_tab_in_a_note_is_text():
    note = MESSAGE + b"OBX|1|TX|||line\x0bline\r"
    assert deframe(framed(note)) == [Frame(note)]


def test_a_frame_above_the_cap_is_cut_and_the_next_is_read():
    deframer = Deframer(100)
    found = []
    for chunk in [b"\x0b" + MESSAGE, *[b"x" * 1000] * 50, b"\x1c\r", framed(MESSAGE)]:
        found += list(deframer.feed(chunk))
        assert len(deframer._buffer) < 1200
    assert [f.content for f in found] == [(MESSAGE + b"x" * 100)[:100], MESSAGE]
    assert found[0].reason is RejectReason.TOO_LARGE


def test_a_frame_that_never_ends_is_kept():
    assert deframe(b"\x0b" + MESSAGE) == [BadFrame(RejectReason.MALFORMED, deframe(b"\x0bx")[0].hint, MESSAGE)]


def test_a_bad_frames_repr_shows_no_content():
    assert "DOE" not in repr(BadFrame(RejectReason.MALFORMED, "", b"PID|||1||DOE"))
