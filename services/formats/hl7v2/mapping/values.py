"""OBX-5 by its type OBX-2: numbers, structured numbers, coded values, text, dates (v2.8 chapter 7.4.2, 2A.3)."""

import re
from typing import NamedTuple

from services.domain.reasons import FilterReason
from services.formats.hl7v2 import times
from services.formats.hl7v2.er7 import NULL
from services.formats.hl7v2.mapping.codings import coding, text_of
from services.formats.hl7v2.mapping.context import Context


class Value(NamedTuple):
    """What one repetition of OBX-5 says: a number with its comparator, or a text."""

    value: float | str | None
    comparator: str = ""


NOTHING = Value(None)
"""An explicit null: the result is withdrawn or has no value, and says so."""

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?\Z", re.ASCII)
_COMPARED = re.compile(r"(<=|>=|=<|=>|<|>|≤|≥)\s*([+-]?(?:\d+\.?\d*|\.\d+))\Z", re.ASCII)
_COMPARATORS = {"≤": "<=", "≥": ">=", "=<": "<=", "=>": ">="}

CODED = frozenset({"CE", "CWE", "CNE", "CF", "CM"})
SHORT = frozenset({"ST", "IS", "ID", "SI", "NR", ""})
LONG = frozenset({"TX", "FT"})
MOMENTS = frozenset({"DT", "DTM", "TS", "TM"})


_LARGEST = 1e308


def number(text: str) -> float | None:
    """A finite number, or None."""
    if not NUMBER.match(text):
        return None
    value = float(text)
    return value if -_LARGEST < value < _LARGEST else None


def numeric(text: str) -> Value | FilterReason:
    """NM. Laboratories also write `<15` in it: that is read as SN would be, not thrown away."""
    value = number(text)
    if value is not None:
        return Value(value)
    compared = _COMPARED.match(text)
    if compared:
        return Value(float(compared[2]), _COMPARATORS.get(compared[1], compared[1]))
    return FilterReason.NOT_A_NUMBER if text else FilterReason.NO_VALUE


def structured(ctx: Context, raw: str) -> Value | FilterReason:
    """SN: comparator, number, separator, number. Ranges and ratios have no one number: they become text, 1:128."""
    parts = [ctx.message.decoded(p) for p in ctx.message.components(raw)] + [""] * 4
    comparator, first, separator, second = (_COMPARATORS.get(p, p) if n == 0 else p for n, p in enumerate(parts[:4]))
    if not first and not second:
        return FilterReason.NO_VALUE
    if separator or second or comparator not in ("", "=", "<", "<=", ">", ">="):
        return Value(f"{comparator}{first}{separator}{second}")
    value = number(first)
    if value is None:
        return FilterReason.NOT_A_NUMBER
    return Value(value, "" if comparator == "=" else comparator)


def coded(ctx: Context, raw: str) -> Value | FilterReason:
    """CE, CWE, CNE: what the code says (its text, else the code)."""
    code = coding(ctx, raw)
    return Value(text_of(code)) if code else FilterReason.NO_VALUE


def short(text: str, unit: str) -> Value | FilterReason:
    """ST and kin, and OBX-2 left empty: text; but a number with a unit is a number, whatever its type is called."""
    if not text:
        return FilterReason.NO_VALUE
    if unit:
        read = numeric(text)
        if isinstance(read, Value):
            return read
    return Value(text)


def moment(ctx: Context, kind: str, raw: str) -> Value | FilterReason:
    """DT, TS, DTM, TM: ISO 8601 text."""
    text = ctx.message.part(raw, 1)
    if not text:
        return FilterReason.NO_VALUE
    if kind == "TM":
        shown = times.iso(f"19700101{text}", ctx.zone)
        return Value(shown[11:]) if shown and len(shown) > 10 else FilterReason.BAD_ITEM_TIMESTAMP
    shown = times.iso(text, ctx.zone)
    return Value(shown) if shown else FilterReason.BAD_ITEM_TIMESTAMP


def read(ctx: Context, kind: str, raw: str, unit: str) -> Value | FilterReason:
    """One repetition of an OBX-5 that is not long text or a document."""
    if kind == "NM":
        value = number(raw)
        if value is not None:
            return Value(value)
    if raw == NULL:
        return NOTHING
    if kind == "NM":
        return numeric(ctx.message.part(raw))
    if kind in SHORT:
        return short(ctx.message.decoded(raw), unit)
    if kind in CODED:
        return coded(ctx, raw)
    if kind == "SN":
        return structured(ctx, raw)
    if kind in MOMENTS:
        return moment(ctx, kind, raw)
    if kind == "RP":
        return FilterReason.CONTENT_ELSEWHERE
    return FilterReason.UNSUPPORTED_VALUE_TYPE
