"""Reading untrusted JSON: accessors that give an empty value wherever the shape is not the expected one."""

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
_NONE: Object = {}


def obj(value: Any) -> Object:
    """The value when it is an object, else an empty one."""
    return value if isinstance(value, dict) else _NONE


def text(value: Any) -> str:
    """The value when it is a string, without surrounding space, else ''."""
    return value.strip() if isinstance(value, str) else ""


def items(value: Any) -> list[Object]:
    """The objects of a list; a lone object is a list of one (R5 and sloppy senders), anything else is empty."""
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict)]
    return [value] if isinstance(value, dict) else []


def first(value: Any) -> Object:
    """The first object of a list, else an empty one."""
    found = items(value)
    return found[0] if found else _NONE


def number(value: Any) -> float | None:
    """A JSON number as a float; None for anything else (booleans are no numbers)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def numbered(value: Any) -> Iterator[tuple[int, Object]]:
    """(position, object) of a list's objects; positions count from 0 as in the message."""
    if isinstance(value, list):
        yield from ((n, item) for n, item in enumerate(value) if isinstance(item, dict))
    elif isinstance(value, dict):
        yield 0, value
