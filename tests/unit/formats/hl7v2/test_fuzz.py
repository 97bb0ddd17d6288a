"""Whatever the bytes: an answer, never an exception, and never any of the content in it."""

import random
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.domain.events import decode_event, encode_event
from services.domain.reasons import Rejected
from services.formats.hl7v2 import ack, read
from services.formats.hl7v2.control import read_header, routing
from services.formats.hl7v2.files import split_messages
from services.formats.reading import Reading
from tests.support import shared
from tests.unit.formats.hl7v2.samples import PID, PV1, RECEIVED, RECEIVED_MS, SITE, message, msh

PLACE = re.compile(
    r"(|byte \d+|segment \d+|MSH\[2\]|[A-Z][A-Z0-9]{2}(\[\d+\])?(-\d+)?)"  # a segment, its number, a field
)


def answered(raw: bytes) -> Reading | Rejected:
    """Read, route and acknowledge; everything said about the message names places, not content."""
    found = read(raw, SITE, RECEIVED_MS)
    again = read(raw, SITE, RECEIVED_MS)
    assert found == again
    if isinstance(found, Rejected):
        assert PLACE.fullmatch(found.where), found.where
    else:
        assert found.events or found.filtered
        for part in found.filtered:
            assert PLACE.fullmatch(part.where), part.where
        for event in found.events:
            assert decode_event(encode_event(event)) == event
    routed = routing(raw, SITE)
    head = read_header(raw, SITE)
    fault = ack.fault(routed) if isinstance(routed, Rejected) else None
    answer = ack.acknowledge(None if isinstance(head, Rejected) else head, "AE", "1", RECEIVED, fault=fault)
    assert answer
    if not isinstance(routed, Rejected) and isinstance(found, Reading) and found.events:
        assert routed.patient in {event.patient for event in found.events}
    return found


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    answered(raw)


@given(st.text(max_size=200))
@example("MSH|^~\\&|\x00|")
@example("MSH|^~\\&|||||||ADT^A01|\ud7ff|P|2.5\rPID|1||1")
def test_any_text_after_a_header(text: str) -> None:
    answered(("MSH|^~\\&" + text).encode())
    answered(message(msh("ORU^R01"), PID, PV1, "OBR|1||F", "OBX|1|NM|" + text))
    answered(message(msh("ADT^A40"), PID, "MRG|" + text))


NAMES: list[str] = "PID PV1 EVN MRG OBR OBX ORC TXA DG1 PR1 PRB RXA RXE RXO RXD RXR TQ1 ZZZ".split()  # noqa: SIM905 - shorter to read
FIELD = st.one_of(
    st.sampled_from(
        ["", '""', "~", "^", "&", "\\", "20260501", "2026^x", "1^2^3&4~5", "A01", "\\X00\\", "0", "NM", "ED"]
    ),
    st.text(alphabet='|^~\\&AZ09 .\n"', max_size=12),
)


@given(
    st.sampled_from(["ADT^A01", "ADT^A03", "ADT^A17", "ADT^A40", "ORU^R01", "MDM^T02", "MDM^T10", "OML^O21", "ORM^O01"])
    | st.sampled_from(["RDE^O11", "RDS^O13", "RAS^O17", "VXU^V04", "PPR^PC1", "OUL^R22", "OMP^O09"]),
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.lists(FIELD, max_size=26),
        ),
        max_size=8,
    ),
)
@settings(max_examples=200)
def test_any_fields_in_any_segments(kind: str, segments: list[tuple[str, list[str]]]) -> None:
    lines = ["|".join([name, *fields]) for name, fields in segments]
    answered(message(msh(kind), PID, *lines))
    answered(message(msh(kind), *lines))


def _cut(raw: bytes, chance: random.Random) -> bytes:
    return raw[: chance.randrange(len(raw))]


def _flip(raw: bytes, chance: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] = chance.choice(b'|^~\\&\r\n\x00\xff19A"')
    return bytes(changed)


def _drop_field(raw: bytes, chance: random.Random) -> bytes:
    fields = raw.split(b"|")
    del fields[chance.randrange(len(fields))]
    return b"|".join(fields)


def _shuffle(raw: bytes, chance: random.Random) -> bytes:
    first, *rest = raw.replace(b"\n", b"\r").split(b"\r")
    chance.shuffle(rest)
    return b"\r".join([first, *rest])


def _splice(raw: bytes, chance: random.Random) -> bytes:
    at, size = chance.randrange(len(raw)), chance.randint(1, 60)
    return raw[:at] + raw[at : at + size] * chance.randint(2, 5) + raw[at + size :]


@pytest.mark.corpus
@pytest.mark.parametrize("mutate", [_cut, _flip, _drop_field, _shuffle, _splice])
def test_mutated_messages_of_the_corpora(mutate: Callable[[bytes, random.Random], bytes]) -> None:
    chance = random.Random(mutate.__name__)
    messages = split_messages(shared("corpus/simhospital/messages.out").read_bytes())[::9]
    messages += [path.read_bytes() for path in shared("corpus/hl7v2").glob("*.hl7")]
    for raw in messages:
        answered(mutate(raw, chance))


@pytest.mark.corpus
def test_nothing_that_is_said_of_a_message_repeats_its_words() -> None:
    for path in sorted(shared("corpus/hl7v2").glob("*.hl7")):
        raw = path.read_bytes()
        for cut in (raw, raw[:200], raw.replace(b"|2.8", b"|9.9"), raw.replace(b"PID|", b"PIX|"), raw + b"\rbad line"):
            found = read(cut, SITE, RECEIVED_MS)
            said = (
                f"{found.where} {found.hint}"
                if isinstance(found, Rejected)
                else " ".join(part.where for part in found.filtered)
            )
            for word in re.findall(rb"[A-Za-z]{5,}|\d{4,}", raw):
                assert word.decode() not in said.replace("YYYYMMDDHHMMSS", "").replace("separator", "").split()
