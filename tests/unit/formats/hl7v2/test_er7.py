"""The reader of ER7: everything that may stand between bytes and fields."""

import codecs

import pytest

from services.domain.reasons import Rejected, RejectReason
from services.formats.hl7v2.er7 import Message, parse
from services.formats.hl7v2.files import split_messages

PLAIN = "MSH|^~\\&|LAB|HOSP|||20260501||ORU^R01|1|P|2.5\rPID|1||7^^^H^MR||MÜLLER^JÖRG\rZZZ|own|a^b~c^d&e\r"


def parsed(raw: bytes, default: str = "utf-8") -> Message:
    found = parse(raw, default)
    assert isinstance(found, Message), found
    return found


def reason(raw: bytes) -> RejectReason:
    found = parse(raw)
    assert isinstance(found, Rejected), found
    return found.reason


def family(found: Message) -> str:
    pid = found.first("PID")
    assert pid is not None
    return found.value(pid, 5)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\n\n", "\r\r"])
def test_segments_end_in_cr_lf_or_both(end: str) -> None:
    found = parsed(PLAIN.replace("\r", end).encode())
    assert [s[0] for s in found.segments] == ["MSH", "PID", "ZZZ"]
    assert family(found) == "MÜLLER"


@pytest.mark.parametrize("around", [(b"\x0b", b"\x1c\r"), (b"\r\n", b"\n\n"), (b"  \t", b""), (b"", b"\x00\x00")])
def test_framing_and_blanks_around_a_message_do_not_matter(around: tuple[bytes, bytes]) -> None:
    found = parsed(around[0] + PLAIN.encode() + around[1])
    assert found.segments == parsed(PLAIN.encode()).segments


@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
    ],
)
def test_byte_order_marks_and_wide_encodings_are_recognised(mark: bytes, codec: str) -> None:
    assert family(parsed(mark + PLAIN.encode(codec))) == "MÜLLER"


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("8859/1", "latin-1"),
        ("ISO-8859-1", "latin-1"),
        ("8859/15", "iso8859-15"),
        ("8859/9", "iso8859-9"),
        ("UNICODE UTF-8", "utf-8"),
        ("UTF-8", "utf-8"),
        ("UNICODE", "utf-8"),
        ("GB 18030-2000", "gb18030"),
        ("windows-1252", "cp1252"),
        ("ASCII~8859/1", None),
    ],
)
def test_msh_18_names_the_character_set(declared: str, codec: str | None) -> None:
    text = PLAIN.replace("|2.5\r", f"|2.5||||||{declared}\r")
    if codec is None:
        assert reason(text.encode("latin-1")) is RejectReason.UNDECODABLE_TEXT
    else:
        assert family(parsed(text.encode(codec))) == "MÜLLER"


def test_japanese_switches_sets_inside_the_text() -> None:
    text = "MSH|^~\\&|A||||20260501||ORU^R01|1|P|2.5||||||~ISO IR87\rPID|1||7||山田^太郎\r"
    assert family(parsed(text.encode("iso2022_jp"))) == "山田"


def test_an_empty_msh_18_means_the_sites_default() -> None:
    assert family(parsed(PLAIN.encode("latin-1"), "8859/1")) == "MÜLLER"


def test_bytes_that_do_not_fit_their_character_set_are_rejected() -> None:
    assert reason(PLAIN.encode("latin-1")) is RejectReason.UNDECODABLE_TEXT
    assert reason(PLAIN.replace("|2.5\r", "|2.5||||||ASCII\r").encode()) is RejectReason.UNDECODABLE_TEXT
    assert reason(PLAIN.replace("|2.5\r", "|2.5||||||UNICODE UTF-16\r").encode()) is RejectReason.UNDECODABLE_TEXT


def test_an_unknown_character_set_is_rejected_by_name_of_the_field_alone() -> None:
    found = parse(PLAIN.replace("|2.5\r", "|2.5||||||KLINGON\r").encode())
    assert isinstance(found, Rejected)
    assert found.reason is RejectReason.UNKNOWN_CHARSET
    assert "KLINGON" not in f"{found.where}{found.hint}"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", RejectReason.EMPTY),
        (b" \r\n\x0b\x1c\r", RejectReason.EMPTY),
        (codecs.BOM_UTF8, RejectReason.EMPTY),
        (codecs.BOM_UTF16_LE, RejectReason.EMPTY),
        (b"hello", RejectReason.NOT_HL7),
        (b"{}", RejectReason.NOT_HL7),
        (b"MSH", RejectReason.NOT_HL7),
        (b"MSH|", RejectReason.NOT_HL7),
        (b"MSHX^~\\&X", RejectReason.NOT_HL7),
        (b"MSH|ab~c|A", RejectReason.NOT_HL7),
        (b"MSH|^^~\\|A", RejectReason.NOT_HL7),
        (b"BHS|^~\\&|\rMSH|^~\\&|A", RejectReason.NOT_HL7),
        (b"MSH|^~\\&|A\rpid|1", RejectReason.MALFORMED),
        (b"MSH|^~\\&|A\rfree text", RejectReason.MALFORMED),
        (b"MSH|^~\\&|A\rMSH|^~\\&|B", RejectReason.MALFORMED),
    ],
)
def test_what_is_no_message_is_rejected_with_its_reason(raw: bytes, expected: RejectReason) -> None:
    assert reason(raw) is expected


def test_any_punctuation_can_be_a_delimiter() -> None:
    raw = b"MSH$%*/+$LAB%LOCAL$H$$$2026$$ORU%R01$1$P$2.5\rPID$1$$7%%%AU+1.2.3+ISO%MR*8%%%B%SS\r"
    found = parsed(raw)
    pid = found.first("PID")
    assert pid is not None
    assert found.value(found.msh, 3, 2) == "LOCAL"
    assert [found.part(r) for r in found.repetitions(pid, 3)] == ["7", "8"]
    assert found.value(pid, 3, 4, 2) == "1.2.3"


@pytest.mark.parametrize("encoding", ["^", "^~", "^~\\"])
def test_what_a_short_msh_2_leaves_out_stands_for_itself(encoding: str) -> None:
    found = parsed(f"MSH|{encoding}|LAB\rPID|1||7^a&b\r".encode())
    pid = found.first("PID")
    assert pid is not None
    assert found.value(pid, 3, 2) == "a&b"


def test_a_fifth_encoding_character_is_truncation() -> None:
    found = parsed(b"MSH|^~\\&#|LAB\rPID|1||7\r")
    assert found.delimiters.truncation == "#"


def test_a_line_feed_inside_a_field_is_text_where_segments_end_in_cr() -> None:
    found = parsed(b"MSH|^~\\&|LAB\rOBX|1|TX|a||first\nsecond\rOBX|2|TX|a||third\r")
    first, second = found.all("OBX")
    assert first[5] == "first\nsecond"
    assert second[5] == "third"


def test_a_segment_after_a_line_feed_is_a_segment_whatever_ended_the_others() -> None:
    found = parsed(b"MSH|^~\\&|LAB\rPID|1\nPV1|1\rOBX|1\r")
    assert [s[0] for s in found.segments] == ["MSH", "PID", "PV1", "OBX"]


def test_empty_and_null_are_told_apart() -> None:
    found = parsed(b'MSH|^~\\&|LAB\rPID|1||""|x\r')
    pid = found.first("PID")
    assert pid is not None
    assert pid[3] == '""'
    assert (found.value(pid, 3), found.value(pid, 2), found.value(pid, 99)) == ("", "", "")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"line\.br\next\.ce\x", "line\nnext\nx"),
        (r"two\.sp2\down\.sk3\right", "two\n\ndown   right"),
        (r"\H\bold\N\ plain", "bold plain"),
        (r"\X41\\X0D0A\z", "A\r\nz"),
        (r"\XC3BC\ber", "über"),
        (r"\C2842\x\M261B6D\y", "xy"),
        (r"C:\temp\file", "C:\\temp\\file"),
        (r"5\6", "5\\6"),
        (r"\Zown\ stays", r"\Zown\ stays"),
        (r"a\.in+4\b\.fi\c", "abc"),
        ("", ""),
    ],
)
def test_escape_sequences_mean_what_the_standard_says(raw: str, text: str) -> None:
    assert parsed(PLAIN.encode()).escapes.decode(raw) == text


def test_a_files_messages_come_apart_and_nothing_is_dropped() -> None:
    one, two = PLAIN.encode(), PLAIN.replace("|1|P", "|2|P").encode()
    batch = b"FHS|^~\\&|\rBHS|^~\\&|\r" + one + two + b"BTS|2\rFTS|1\r"
    framed = b"\x0b" + one + b"\x1c\r\x0b" + two + b"\x1c\r"
    listed = one.replace(b"\r", b"\n") + b"\n\n" + two.replace(b"\r", b"\n")
    for data in (batch, framed, listed, codecs.BOM_UTF8 + batch):
        controls = [parsed(m).msh[10] for m in split_messages(data)]
        assert controls == ["1", "2"]
    assert len(split_messages(b"scribble\r" + one)) == 2
    assert split_messages(b"scribble") == [b"scribble"]
    assert split_messages(b"\r\n") == []


def test_a_message_shows_no_content_when_it_is_printed() -> None:
    assert "LLER" not in repr(parsed(PLAIN.encode()))
