"""A small fast reader of ER7, the pipe-and-hat encoding of HL7 v2 (v2.8 chapter 2.6).

It splits and leaves everything else for when it is asked for: components, repetitions and escape sequences are
taken apart by the caller's question. It reads what hospitals send, which is more than the standard allows: CR, LF or
CRLF as segment end, byte-order marks, delimiters of any kind, an MSH-2 that stops short, trailing blanks, Z segments.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from services.domain.reasons import Rejected, RejectReason
from services.formats.hl7v2.charsets import decode
from services.formats.hl7v2.escapes import Escapes, escapes

Segment = list[str]
"""Raw fields by HL7 number: `segment[0]` is the name, `segment[3]` field 3. Of MSH, `segment[1]` is the separator."""

NULL = '""'
"""HL7's explicit 'there is no value', other than an empty field: 'nothing is said'."""


class Delimiters(NamedTuple):
    """MSH-1 and MSH-2. A delimiter that MSH-2 leaves out is empty: the character then stands for itself."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""


STANDARD = Delimiters()


class Message:
    """One message, split into segments and fields. Its repr shows no content."""

    __slots__ = ("_mark", "codec", "delimiters", "escapes", "segments", "spelling")

    def __init__(self, segments: list[Segment], delimiters: Delimiters, codec: str) -> None:
        self.segments = segments
        self.delimiters = delimiters
        self.codec = codec
        self.escapes: Escapes = escapes(*delimiters, codec)
        self.spelling = f"{''.join(delimiters)} {codec}"  # what the meaning of a raw value depends on
        self._mark = delimiters.escape or "\x00"

    def __repr__(self) -> str:
        return f"<Message of {len(self.segments)} segments>"

    @property
    def msh(self) -> Segment:
        """The header segment."""
        return self.segments[0]

    def first(self, name: str) -> Segment | None:
        """The first segment of that name."""
        return next((s for s in self.segments if s[0] == name), None)

    def all(self, name: str) -> Iterator[Segment]:
        """Every segment of that name, in order."""
        return (s for s in self.segments if s[0] == name)

    def repetitions(self, segment: Segment, field: int) -> list[str]:
        """Raw repetitions of a field; an empty field has none. MSH-1 and MSH-2 do not repeat."""
        raw = segment[field] if field < len(segment) else ""
        if not raw:
            return []
        mark = self.delimiters.repetition
        if not mark or mark not in raw or (segment[0] == "MSH" and field < 3):
            return [raw]
        return raw.split(mark)

    def components(self, raw: str) -> list[str]:
        """Raw components of one repetition."""
        mark = self.delimiters.component
        return raw.split(mark) if mark else [raw]

    def subcomponents(self, raw: str) -> list[str]:
        """Raw subcomponents of one component."""
        mark = self.delimiters.subcomponent
        return raw.split(mark) if mark else [raw]

    def decoded(self, raw: str) -> str:
        """Text of a raw value: escape sequences decoded, white space at the ends removed."""
        return self.escapes.decode(raw).strip() if self._mark in raw else raw.strip()

    def part(self, raw: str, component: int = 1, subcomponent: int = 1) -> str:
        """Decoded (sub)component of one raw repetition, numbered from 1; `\"\"` and what is missing give ''."""
        if raw.isalnum():  # holds no delimiter, whatever the delimiters are
            return raw if component == subcomponent == 1 else ""
        delimiters = self.delimiters
        if delimiters.component and delimiters.component in raw:
            parts = raw.split(delimiters.component, component)
            if len(parts) < component:
                return ""
            raw = parts[component - 1]
        elif component > 1:
            return ""
        mark = delimiters.subcomponent
        if mark and mark in raw:
            subparts = raw.split(mark, subcomponent)
            if len(subparts) < subcomponent:
                return ""
            raw = subparts[subcomponent - 1]
        elif subcomponent > 1:
            return ""
        return "" if raw == NULL else self.decoded(raw)

    def value(self, segment: Segment, field: int, component: int = 1, subcomponent: int = 1) -> str:
        """Decoded (sub)component of a field's first repetition; '' where it is empty, null or missing."""
        raw = segment[field] if field < len(segment) else ""
        if not raw:
            return ""
        if raw.isalnum():
            return raw if component == subcomponent == 1 else ""
        mark = self.delimiters.repetition
        if mark and mark in raw and not (segment[0] == "MSH" and field < 3):
            raw = raw.split(mark, 1)[0]
        return self.part(raw, component, subcomponent)


def parse(raw: bytes, default_charset: str = "utf-8") -> Message | Rejected:
    """Split one message. Rejects: EMPTY, NOT_HL7, UNKNOWN_CHARSET, UNDECODABLE_TEXT, MALFORMED.

    Bytes around the message (white space, MLLP framing, a byte-order mark) do not matter. A batch (FHS, BHS) is
    not a message: `files.messages` takes one apart.
    """
    decoded = decode(raw, default_charset)
    if isinstance(decoded, Rejected):
        return decoded
    text, codec = decoded
    delimiters = _delimiters(text)
    if isinstance(delimiters, Rejected):
        return delimiters
    segments = _segments(text, delimiters.field)
    return segments if isinstance(segments, Rejected) else Message(segments, delimiters, codec)


_HEADER = re.compile(r"MSH([^\sA-Za-z0-9])([^\r\n]*)")


def _delimiters(text: str) -> Delimiters | Rejected:
    if text.startswith("MSH|^~\\&|"):
        return STANDARD
    header = _HEADER.match(text)
    if header is None:
        return Rejected(RejectReason.NOT_HL7, "MSH-1", "MSH is followed by the field separator")
    field, rest = header[1], header[2]
    encoding = rest.split(field, 1)[0].strip()
    if not 1 <= len(encoding) <= 5 or not encoding.isprintable():
        return Rejected(RejectReason.NOT_HL7, "MSH-2", "one to five encoding characters, e.g. ^~\\&")
    if any(c.isalnum() or c.isspace() for c in encoding) or len(set(encoding)) < len(encoding):
        return Rejected(RejectReason.NOT_HL7, "MSH-2", "encoding characters are punctuation and differ")
    return Delimiters(field, *encoding, *("",) * (5 - len(encoding)))


_NAME = re.compile(r"[A-Z][A-Z0-9]{2}\Z")
_seen_names: set[str] = set()  # names that have passed _NAME; bounded by their number


def _segments(text: str, field: str) -> list[Segment] | Rejected:
    lines = text.split("\r") if "\n" not in text else _lines(text, field)
    segments: list[Segment] = []
    seen = _seen_names
    for line in lines:
        segment = line.split(field)
        if segment[0] not in seen:
            stripped = line.strip("\n\t \x0b\x1c\x00")
            if not stripped:
                continue
            segment = stripped.split(field)
            if not _NAME.match(segment[0]):
                where = f"segment {len(segments) + 1}"
                hint = "a segment is a three-character name and fields; line breaks in text are sent as \\.br\\"
                return Rejected(RejectReason.MALFORMED, where, hint)
            if len(seen) < 4096:
                seen.add(segment[0])
        segments.append(segment)
    segments[0].insert(1, field)
    last = segments[-1]
    last[-1] = last[-1].rstrip("\x1c\x00")
    if any(segment[0] == "MSH" for segment in segments[1:]):
        return Rejected(RejectReason.MALFORMED, "MSH[2]", "one message at a time")
    return segments


def _lines(text: str, field: str) -> list[str]:
    """Segment lines of a text that holds line feeds.

    Where segments end in CR, a line feed inside one is part of its text unless a new segment begins after it.
    """
    if "\r" not in text.rstrip("\r\n\x1c\x00").replace("\r\n", "\n"):
        return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines: list[str] = []
    for chunk in text.replace("\r\n", "\r").split("\r"):
        parts = chunk.split("\n")
        lines.append(parts[0])
        for part in parts[1:]:
            if not part.strip() or (_NAME.match(part[:3]) and part[3:4] in ("", field)):
                lines.append(part)
            elif lines[-1]:
                lines[-1] += "\n" + part
            else:
                lines[-1] = part
    return lines
