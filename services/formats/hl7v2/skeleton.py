"""Message skeletons built by hl7apy, filled here.

hl7apy knows each version's structure (which segment stands in which group) and takes some 30 ms to build a message
from it. So it builds each shape once, with a placeholder where a value goes, and the values are filled into its text.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Group, Message

from services.formats.hl7v2.escapes import escapes

VERSION = "2.5.1"
"""Version of the messages that we send; the ACK follows its sender's."""

Row = tuple[str, tuple[tuple[int, str], ...]]
"""One segment: where it stands (`PATIENT_RESULT.PATIENT.PID`, groups joined by dots; a group with a leading `+` is
begun anew) and its fields, each a number and ER7 text with `{}` for every value."""

_ESCAPES = escapes("|", "^", "~", "\\", "&", "", "utf-8")
_PLACEHOLDER = "\ue000"  # a private-use character: nothing that hl7apy would take for a delimiter or a value


def fill(structure: str, rows: Sequence[Row], values: Sequence[str]) -> bytes:
    """The message as UTF-8 ER7, segments ended by CR. `values` go into the `{}` of the rows, in order, escaped.

    Raises ValueError where values and placeholders differ in number, hl7apy's errors for a shape that it refuses.
    """
    runs = [(row, sum(1 for _ in same)) for row, same in groupby(rows)]
    rest = iter(values)
    segments = []
    for line, (_, times) in zip(_template(structure, tuple(row for row, _ in runs)), runs, strict=True):
        first, *others = line
        for _ in range(times):
            segments.append(first + "".join(_value(rest) + text for text in others))
    if next(rest, None) is not None:
        raise ValueError("more values than placeholders")
    return "".join(f"{segment}\r" for segment in segments).encode()


def _value(rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None:
        raise ValueError("fewer values than placeholders")
    return _ESCAPES.encode(value)


@lru_cache(maxsize=256)
def _template(structure: str, rows: tuple[Row, ...]) -> list[list[str]]:
    """hl7apy's segments for these rows, each as the texts between its values."""
    message = Message(structure, version=VERSION, validation_level=VALIDATION_LEVEL.TOLERANT)
    groups: dict[str, Group] = {}
    for place, fields in rows:
        *path, name = place.split(".")
        segment = message.msh if name == "MSH" else _parent(message, structure, path, groups).add_segment(name)
        for number, text in fields:
            setattr(segment, f"{name.lower()}_{number}", text.replace("{}", _PLACEHOLDER))
    built: str = message.to_er7()
    return [line.split(_PLACEHOLDER) for line in built.split("\r") if line]


def _parent(message: Message, structure: str, path: list[str], groups: dict[str, Group]) -> "Message | Group":
    """The group at the end of the path, made where it is not open yet."""
    parent: Message | Group = message
    trail = ""
    for step in path:
        trail = f"{trail}.{step.lstrip('+')}"
        if step.startswith("+"):
            for inner in [known for known in groups if known == trail or known.startswith(f"{trail}.")]:
                del groups[inner]
        if trail not in groups:
            groups[trail] = parent.add_group(f"{structure}_{step.lstrip('+')}")
        parent = groups[trail]
    return parent
