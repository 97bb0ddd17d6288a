"""Our reader splits exactly as hl7apy does, on generated messages and on those of the corpora."""

import random
from collections.abc import Iterator
from functools import cache

import pytest
from hl7apy import load_reference
from hl7apy.exceptions import ChildNotFound
from hl7apy.parser import parse_message, parse_segment
from hypothesis import given, settings
from hypothesis import strategies as st

from services.formats.hl7v2.er7 import Message, parse
from services.formats.hl7v2.files import split_messages
from tests.support import shared

TEXT = st.text(alphabet="abcXYZ019 .,-/:äöλ中'\"", min_size=0, max_size=12).map(str.strip)
ESCAPED = st.sampled_from(["", "a\\F\\b", "\\S\\", "x\\T\\y", "\\E\\", "\\.br\\", "\\X41\\"])
PIECE = st.one_of(TEXT, TEXT, ESCAPED)


def _tree(delimiters: str, pieces: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Fields of repetitions of components of subcomponents, with these delimiters."""
    component, repetition, subcomponent = delimiters[0], delimiters[1], delimiters[3]
    subs = st.lists(pieces, min_size=1, max_size=3).map(subcomponent.join)
    comps = st.lists(subs, min_size=1, max_size=5).map(component.join)
    return st.lists(comps, min_size=1, max_size=3).map(repetition.join)


SEGMENTS = st.sampled_from(["PID", "PV1", "OBR", "OBX", "NTE", "AL1", "DG1", "ORC", "NK1", "ZZZ", "ZA1"])


@st.composite
def generated(draw: st.DrawFn) -> str:
    """A message with any delimiters; its fields are anything that ER7 can carry."""
    field, *marks = list(draw(st.sampled_from(["|^~\\&", "$%*/+", "#!@\\;"])))
    encoding = "".join(marks)
    pieces = PIECE if marks[2] == "\\" else TEXT.map(lambda t: "".join(c for c in t if c not in encoding + field))
    lines = [
        f"MSH{field}{encoding}{field}A{field}B{field}C{field}D{field}20260101{field}{field}ZZZ{field}1{field}P{field}2.5"
    ]
    for name in draw(st.lists(SEGMENTS, max_size=6)):
        fields = draw(st.lists(_tree(encoding, pieces), min_size=1, max_size=9))
        lines.append(field.join([name, *fields]))
    return "\r".join(lines) + "\r"


Leaf = tuple[int, int, str]
"""Segment number, field number (0 where hl7apy knows no such field), text of one subcomponent."""


def ours(message: Message) -> Iterator[Leaf]:
    """Every subcomponent that is not empty, in order."""
    for n, segment in enumerate(message.segments):
        for f in range(3 if n == 0 else 1, len(segment)):
            for repetition in message.repetitions(segment, f):
                for component in message.components(repetition):
                    for text in message.subcomponents(component):
                        if text.strip():
                            yield n, f, comparable(text)


def theirs(n: int, segment: object) -> Iterator[Leaf]:
    """The same from one of hl7apy's segments."""
    for field in segment.children:  # type: ignore[attr-defined]
        number = int(field.name.rsplit("_", 1)[1]) if field.name else 0
        if n == 0 and number < 3:
            continue
        for component in field.children:
            for leaf in component.children:
                text = leaf.value if isinstance(leaf.value, str) else raw(leaf.value)
                if text.strip():
                    yield n, number, comparable(text)


def raw(value: object) -> str:
    """The text that hl7apy read a base data type from; what it escapes on the way out is not of interest."""
    held = value.value  # type: ignore[attr-defined]
    return held if isinstance(held, str) else value.to_er7()  # type: ignore[attr-defined]


def comparable(text: str) -> str:
    """Numbers by value: hl7apy turns 007 into 7."""
    try:
        return repr(float(text))
    except ValueError:
        return text.strip()


def agree(mine: list[Leaf], other: list[Leaf]) -> None:
    assert [(n, t) for n, _, t in mine] == [(n, t) for n, _, t in other]
    for (_, own, _), (_, known, _) in zip(mine, other, strict=True):
        assert known in (0, own)


@given(generated())
@settings(max_examples=25, deadline=None)
def test_every_field_of_a_generated_message_is_hl7apys(text: str) -> None:
    parsed = parse(text.encode())
    assert isinstance(parsed, Message)
    segments = parse_message(text, find_groups=False).children
    agree(list(ours(parsed)), [leaf for n, segment in enumerate(segments) for leaf in theirs(n, segment)])


def _corpus() -> list[bytes]:
    chosen = split_messages(shared("corpus/simhospital/messages.out").read_bytes())
    return random.Random(7).sample(chosen, 20) + [p.read_bytes() for p in sorted(shared("corpus/hl7v2").glob("*.hl7"))]


@pytest.mark.corpus
def test_every_field_of_the_corpora_is_hl7apys() -> None:
    seen: set[tuple[str, ...]] = set()  # messages of one sender share most of their segments
    for raw_bytes in _corpus():
        parsed = parse(raw_bytes)
        assert isinstance(parsed, Message)
        version = parsed.value(parsed.msh, 12)
        for n, segment in enumerate(parsed.segments[1:], 1):
            if (version, *segment) in seen or not _known(segment[0], version):
                continue
            seen.add((version, *segment))
            mine = [leaf for leaf in ours(Message([parsed.msh, segment], parsed.delimiters, parsed.codec)) if leaf[0]]
            other = theirs(n, parse_segment("|".join(segment), version=version))
            agree([(n, f, t) for _, f, t in mine], list(other))
    assert len(seen) > 400


@cache
def _known(name: str, version: str) -> bool:
    """Whether hl7apy has the segment in this version; it has no PRT in 2.6, for instance."""
    try:
        load_reference(name, "Segment", version)
    except ChildNotFound:
        return name.startswith("Z")
    return True
