import base64
import gzip
import re
import tempfile
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deidentify.facts import FIELDS
from services.domain.events import Condition, Document, Encounter, Observation, Patient
from services.domain.reasons import Rejected
from services.formats.hl7v2 import er7
from services.formats.hl7v2.files import split_messages
from tests.support import shared
from tests.unit.deidentify.canaries import KINDS, leaks, word
from tests.unit.deidentify.runs import as_read, assert_same_facts, deidentify, events, said
from tests.unit.formats.hl7v2.samples import PID, PV1, message, msh, oru
from tests.unit.formats.hl7v2.samples import segment as build

pytestmark = pytest.mark.corpus

READ = {  # fields that say something clinical, or whom and when it is about; every other is filled with a mark
    "MSH": {1, 2, 3, 4, 7, 9, 10, 11, 12, 13, 18},
    "EVN": {1, 2, 6},
    "PID": {2, 3, 4, 7, 8, 29, 30},
    "MRG": {1, 2, 4},
    "PV1": {2, 3, 19, 36, 44, 45},
    "ORC": {1, 2, 3, 4, 5, 7, 9, 15},
    "OBR": {2, 3, 4, 6, 7, 14, 22, 25},
    "OBX": {2, 3, 4, 5, 6, 7, 8, 11, 14},
    "TXA": {2, 4, 6, 7, 8, 12, 13, 17, 19},
    "DG1": {3, 4, 5, 19, 20, 21},
    "PR1": {3, 4, 5, 19, 20},
    "PRB": {1, 2, 3, 4, 7, 9, 14, 16},
    "RXA": {2, 3, 4, 5, 6, 7, 20, 21},
    "RXO": {1, 2, 4},
    "RXE": {2, 3, 5, 15},
    "RXD": {1, 2, 3, 4, 5, 7},
    "AL1": {2, 3, 4, 6},
    "IAM": {2, 3, 4, 6, 7, 11, 13, 17},
    "RXR": {1},
    "TQ1": {7, 8},
}
MORE = ("NK1", "PD1", "IN1", "IN2", "GT1", "NTE", "PDA", "ROL", "CTD", "ZPI", "ZQX")


def corpus() -> list[bytes]:
    found = []
    for path in sorted([*shared("corpus/hl7v2").iterdir(), *shared("corpus/simhospital").iterdir()]):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if b"MSH" in data[:40]:
            found += split_messages(data)
    return found


@cache
def parsed_corpus() -> list[er7.Message]:
    return [one for raw in corpus() if not isinstance(one := er7.parse(raw), Rejected)]


def rendered(parsed: er7.Message, segments: list[list[str]]) -> bytes:
    lines = []
    for segment in segments:
        rest = [segment[0], *segment[2:]] if segment[0] == "MSH" else segment
        lines.append(parsed.delimiters.field.join(rest))
    return "\r".join(lines).encode(parsed.codec if "utf-16" not in parsed.codec else "utf-8", "replace")


def crowded(parsed: er7.Message) -> bytes:
    """The message with a mark in every field that says nothing clinical, and with segments full of them."""
    kinds = count()
    c, r, s = (
        parsed.delimiters.component or "",
        parsed.delimiters.repetition or "",
        parsed.delimiters.subcomponent or "",
    )

    def mark() -> str:
        return c.join(KINDS[next(kinds) % len(KINDS)]() for _ in range(3)) + r + word() + s + word()

    segments = []
    for segment in parsed.segments:
        needed = READ.get(segment[0], set())
        long = segment + [""] * (48 - len(segment))
        segments.append([v if n == 0 or n in needed else mark() for n, v in enumerate(long)])
    at = next((n + 1 for n, segment in enumerate(segments) if segment[0] == "PID"), 1)
    more = [[name, *(mark() for _ in range(50))] for name in MORE]
    return rendered(parsed, [*segments[:at], *more, *segments[at:], *more])


def test_a_message_full_of_identifiers_says_the_same_and_none_of_them(tmp_path):
    chosen = [*parsed_corpus()[:95], *parsed_corpus()[95::3]]  # SimHospital's are much alike
    messages = [("hl7v2", crowded(one)) for one in chosen]
    _, report = deidentify(tmp_path / "out", *messages)
    assert leaks(tmp_path / "out") == []
    plain = [("hl7v2", rendered(one, one.segments)) for one in chosen]
    deidentify(tmp_path / "plain", *plain)
    one, other = events(tmp_path / "out"), events(tmp_path / "plain")
    assert len(one) == len(other) > 400
    assert list(map(said, one)) == list(map(said, other)), "the marks change nothing"
    assert report.formats["hl7v2"].kept["Observation"] > 1000


def test_the_corpora_say_the_same_before_and_after(tmp_path):
    messages = [("hl7v2", raw) for raw in corpus()]
    _, report = deidentify(tmp_path / "out", *messages)
    before, after = as_read(*messages), events(tmp_path / "out")
    assert len(before) == len(after)
    assert not report.formats["hl7v2"].removed.keys() & {"number_like_identifier", "impossible_time"}
    for old, new in zip(before, after, strict=True):
        assert_same_facts(old, new, lambda fact: False)


@st.composite
def seeded(draw: st.DrawFn) -> bytes:
    """A corpus message in which any fields, components and segment parts, needed or not, are marks."""
    parsed = draw(st.sampled_from(parsed_corpus()))
    segments = [list(segment) for segment in parsed.segments]
    for _ in range(draw(st.integers(1, 12))):
        segment = segments[draw(st.integers(0, len(segments) - 1))]
        first = 3 if segment[0] == "MSH" else 1
        field = draw(st.integers(first, max(first, len(segment) + 2)))
        segment += [""] * (field + 1 - len(segment))
        mark = draw(st.sampled_from(KINDS))()
        if draw(st.booleans()):  # a component of what is there
            parts = segment[field].split(parsed.delimiters.component or "^")
            parts[draw(st.integers(0, len(parts) - 1))] = mark
            segment[field] = (parsed.delimiters.component or "^").join(parts)
        else:
            segment[field] = draw(st.sampled_from([mark, segment[field] + mark, f"{mark}~{segment[field]}"]))
    return rendered(parsed, segments)


@given(st.lists(seeded(), min_size=1, max_size=20))
def test_no_identifier_survives_wherever_it_stands_in_a_message(messages):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        deidentify(out, *(("hl7v2", raw) for raw in messages))
        assert leaks(out) == []


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (Patient, "identifiers"),
        (Encounter, "unit"),
        (Encounter, "number"),
        (Encounter, "disposition"),
        (Observation, "code"),
        (Observation, "original"),
        (Observation, "interpretation"),
        (Observation, "reference_range"),
        (Condition, "code"),
        (Document, "text"),
    ],
)
def test_the_search_notices_every_rule_that_is_turned_off(tmp_path, monkeypatch, kind, field):
    m = word()
    pid = f"PID|1||{m}^^^HOSP^MR||{m}||19630815|F"
    pv1 = build("PV1", _1="1", _2="I", _3=f"{m}^12^B^HOSP", _19=f"{m}^^^HOSP^VN", _36=m)
    told = [
        message(msh("ADT^A01"), pid, pv1, f"DG1|1||{m}^{m}^L||20260501"),
        message(msh("ORU^R01"), pid, f"OBX|1|NM|8867-4^{m}^LN||72|/min|{m}|{m}|||F|||20260501100000"),
        message(msh("ORU^R01"), pid, f"OBX|1|NM|{m}^HR^L||72|/min|60-90|N|||F|||20260501100000"),
        message(msh("ORU^R01"), pid, f"OBX|1|NM|{m}^{m}^L||72|/min|60-90|N|||F|||20260501100000"),
        message(msh("MDM^T02"), pid, "TXA|1|PN|TX|20260501100000||||||||D1", f"OBX|1|TX|N^Note||Seen by {m}"),
    ]
    deidentify(tmp_path / "out", *(("hl7v2", one) for one in told))
    assert leaks(tmp_path / "out") == []
    monkeypatch.setitem(FIELDS[kind], field, lambda _scope, value: value)
    deidentify(tmp_path / "off", *(("hl7v2", one) for one in told))
    assert leaks(tmp_path / "off") != []


@pytest.mark.parametrize(
    "value", ["NM|X1^{m}||7305519001", "NM|8867-4^{m}^LN||7305519", "ST|X^X^L||{m}", "CE|X^{m}||{m}^{m}^{m}"]
)
@pytest.mark.parametrize("unit", ["mg/dL", "{m}", "{{{m}}}", "7305519/min", "^{m}"])
def test_marks_in_results_do_not_pass_as_values_codes_units_or_ranges(tmp_path, value, unit):
    m = word()
    obx = f"OBX|1|{value}|{unit}|{{m}}|{{m}}|||{{m}}|||20260501100000|{{m}}".replace("{m}", m)
    obx = re.sub(r"\{\{.*?\}\}", "{" + m + "}", obx)
    deidentify(tmp_path / "out", ("hl7v2", oru(obx)))
    assert leaks(tmp_path / "out") == []


def test_a_note_leaves_as_a_document_without_text_unless_it_is_asked_for(tmp_path):
    note = message(
        msh("MDM^T02"), PID, PV1, "TXA|1|PN|TX|20260501100000||||||||D1", f"OBX|1|TX|N^Note||Seen by {word()}"
    )
    deidentify(tmp_path / "out", ("hl7v2", note))
    assert leaks(tmp_path / "out") == []
    assert [type(f).__name__ for e in events(tmp_path / "out") for f in e.facts].count("Document") == 1
    deidentify(tmp_path / "text", ("hl7v2", note), keep_text=True)
    assert leaks(tmp_path / "text") != [], "the search finds what is there"


def test_a_comment_on_a_result_never_leaves_unless_free_text_is_asked_for(tmp_path):
    raw = oru("OBX|1|NM|8867-4^HR^LN||80|/min|||||F", f"NTE|1||Told {word()} of it")
    deidentify(tmp_path / "out", ("hl7v2", raw))
    assert leaks(tmp_path / "out") == []
    deidentify(tmp_path / "text", ("hl7v2", raw), keep_text=True)
    assert leaks(tmp_path / "text") != [], "the search finds what is there"


def attached(content: bytes, kind: str) -> bytes:
    data = base64.b64encode(content).decode()
    return oru(f"OBX|1|ED|18748-4^Report^LN||RAD^{kind}^Base64^{data}||||||F")


@pytest.mark.parametrize("kind", ["AP^PDF", "IM^JPEG", "TEXT^HTML", "AP^RTF"])
def test_an_attachment_never_leaves_whatever_is_asked_for(tmp_path, kind):
    content = f"{{\\rtf {word()}}}" if kind == "AP^RTF" else f"%PDF <p hidden={word()}>{word()}</p>"
    raw = attached(content.encode(), kind)
    (document,) = [fact for event in as_read(("hl7v2", raw)) for fact in event.facts if isinstance(fact, Document)]
    assert document.encapsulated, "there is something to leak"
    deidentify(tmp_path / "out", ("hl7v2", raw))
    assert leaks(tmp_path / "out") == []
    deidentify(tmp_path / "text", ("hl7v2", raw), keep_text=True)
    for folder in (tmp_path / "out", tmp_path / "text"):
        assert not list((folder / "objects").rglob("*"))
        (left,) = [fact for event in events(folder) for fact in event.facts if isinstance(fact, Document)]
        assert (left.encapsulated, left.text_sha256) == ("", "")
        assert left.text == (document.text if folder.name == "text" else "")
