"""RXO, RXE, RXG, RXD, RXA: drugs ordered, dispensed, administered (v2.8 chapter 4A)."""

from datetime import datetime
from typing import NamedTuple

from services.domain.events import Code, Medication, Procedure, Rank
from services.domain.reasons import FilterReason
from services.formats.hl7v2.er7 import Segment
from services.formats.hl7v2.mapping.codings import coding, text_of, unit
from services.formats.hl7v2.mapping.context import Context
from services.formats.hl7v2.mapping.orders import order_number, order_status
from services.formats.hl7v2.mapping.values import number

_UNKNOWN_AMOUNT = 999.0
"""RXA-6 of 999 means that the amount is not known (CDC immunization guide)."""

_COMPLETION = {"CP": "completed", "RE": "refused", "NA": "not-done", "PA": "stopped"}
"""RXA-20, HL7 table 0322."""


class _Fields(NamedTuple):
    """Where an order says what, how much and in which unit."""

    code: int
    amount: int
    unit: int


_ORDERED = {"RXE": _Fields(2, 3, 5), "RXO": _Fields(1, 2, 4), "RXG": _Fields(4, 5, 7)}


def _code(ctx: Context, segment: Segment, field: int, where: str) -> Code | None:
    raw = segment[field] if field < len(segment) else ""
    found = coding(ctx, raw) if raw else None
    if found is None:
        ctx.drop(FilterReason.NO_CODE, f"{where}-{field}")
    return found


def _amount(ctx: Context, segment: Segment, field: int) -> float | None:
    text = ctx.message.value(segment, field)
    return number(text) if text else None


def _unit(ctx: Context, segment: Segment, field: int) -> str:
    return unit(ctx, segment[field] if field < len(segment) else "")


def _route(ctx: Context, rxr: Segment | None) -> str:
    found = coding(ctx, rxr[1]) if rxr and len(rxr) > 1 and rxr[1] else None
    return text_of(found) if found else ""


def ordered(
    ctx: Context, orc: Segment | None, rx: Segment, tq1: Segment | None, rxr: Segment | None, where: str, encounter: str
) -> Medication | None:
    """An order: RXE (as encoded), RXO (as placed), or RXG (an instruction to give a dose of it)."""
    fields = _ORDERED[rx[0]]
    code = _code(ctx, rx, fields.code, where)
    if code is None:
        return None
    start = ctx.time(tq1, 7, "TQ1") if tq1 else None
    end = ctx.time(tq1, 8, "TQ1") if tq1 else None
    if start is None and orc:
        start = ctx.time(orc, 7, "ORC", component=4) if ctx.message.value(orc, 7, 4) else None
    placed = (ctx.time(orc, 9, "ORC") or ctx.time(orc, 15, "ORC")) if orc else None
    at: datetime = placed or start or ctx.sent
    state, rank = order_status(ctx, orc)
    prescription = ctx.entity(rx, 15) if rx[0] == "RXE" else ""
    dose, unit_text = _amount(ctx, rx, fields.amount), _unit(ctx, rx, fields.unit)
    identity = order_number(ctx, orc, None) or prescription or at.isoformat()
    which = ("give", ctx.message.value(rx, 1)) if rx[0] == "RXG" else ("ordered",)
    return Medication(
        id=ctx.id(*which, identity, code.system, code.code),
        version=ctx.version(code.code, str(dose), unit_text, state, at.isoformat(), rank=rank),
        action="ordered",
        code=code,
        time=at,
        end=end,
        dose=dose,
        unit=unit_text,
        route=_route(ctx, rxr),
        status=state,
        encounter=encounter,
    )


def dispensed(
    ctx: Context, orc: Segment | None, rxd: Segment, rxr: Segment | None, where: str, encounter: str
) -> Medication | None:
    """A dispense: RXD-2 what, 3 when, 4 amount, 5 unit, 7 prescription number."""
    code = _code(ctx, rxd, 2, where)
    if code is None:
        return None
    at = ctx.time(rxd, 3, where) or ctx.sent
    identity = order_number(ctx, orc, None) or ctx.entity(rxd, 7)
    amount, unit_text = _amount(ctx, rxd, 4), _unit(ctx, rxd, 5)
    return Medication(
        id=ctx.id("dispensed", identity, ctx.message.value(rxd, 1), code.system, code.code, at.isoformat()),
        version=ctx.version(code.code, str(amount), unit_text, rank=Rank.FINAL),
        action="dispensed",
        code=code,
        time=at,
        dose=amount,
        unit=unit_text,
        route=_route(ctx, rxr),
        status="completed",
        encounter=encounter,
    )


def _given(ctx: Context, rxa: Segment) -> tuple[str, int]:
    """RXA-20 (completion) and RXA-21 (action: D deletes the record)."""
    state = _COMPLETION.get(ctx.message.value(rxa, 20).upper(), "completed")
    deleted = ctx.message.value(rxa, 21).upper() == "D"
    return state, Rank.ENTERED_IN_ERROR if deleted else Rank.FINAL


def administered(
    ctx: Context, orc: Segment | None, rxa: Segment, rxr: Segment | None, where: str, encounter: str
) -> Medication | None:
    """An administration (RAS): RXA-5 what, 3 and 4 from and to, 6 amount, 7 unit."""
    code = _code(ctx, rxa, 5, where)
    if code is None:
        return None
    at = ctx.time(rxa, 3, where) or ctx.sent
    state, rank = _given(ctx, rxa)
    amount, unit_text = _amount(ctx, rxa, 6), _unit(ctx, rxa, 7)
    if amount == _UNKNOWN_AMOUNT:
        amount = None
    identity = order_number(ctx, orc, None)
    return Medication(
        id=ctx.id("administered", identity, ctx.message.value(rxa, 2), code.system, code.code, at.isoformat()),
        version=ctx.version(code.code, str(amount), unit_text, state, rank=rank),
        action="administered",
        code=code,
        time=at,
        end=ctx.time(rxa, 4, where),
        dose=amount,
        unit=unit_text,
        route=_route(ctx, rxr),
        status=state,
        encounter=encounter,
    )


def immunization(ctx: Context, orc: Segment | None, rxa: Segment, where: str, encounter: str) -> Procedure | None:
    """A vaccination (VXU): the RXA as a procedure."""
    code = _code(ctx, rxa, 5, where)
    if code is None:
        return None
    at = ctx.time(rxa, 3, where) or ctx.sent
    state, rank = _given(ctx, rxa)
    number_of = (ctx.entity(orc, 3) or ctx.entity(orc, 2)) if orc else ""
    return Procedure(
        id=ctx.id("immunization", number_of, code.system, code.code, at.isoformat()),
        version=ctx.version(code.code, state, rank=rank),
        code=code,
        time=at,
        status=state,
        encounter=encounter,
    )
