"""ORC and OBR of order messages: ORM, OMG, OML, OMI (v2.8 chapter 4)."""

from services.domain.events import Order, Rank
from services.domain.reasons import FilterReason
from services.formats.hl7v2.er7 import Segment
from services.formats.hl7v2.mapping.codings import observed_code
from services.formats.hl7v2.mapping.context import Context

_CANCELS = frozenset({"CA", "OC", "CR"})
"""ORC-1 (table 0119): cancel requested, cancelled by the filler, cancelled as requested."""

_STATUS = {  # ORC-5 (table 0038) -> FHIR request-status
    "A": "active",
    "CA": "revoked",
    "CM": "completed",
    "DC": "revoked",
    "ER": "entered-in-error",
    "HD": "on-hold",
    "IP": "active",
    "RP": "revoked",
    "SC": "active",
}
_CONTROL = {  # ORC-1 -> FHIR request-status, where ORC-5 is silent
    "NW": "active",
    "XO": "active",
    "SC": "active",
    "RE": "completed",
    "CA": "revoked",
    "OC": "revoked",
    "CR": "revoked",
    "DC": "revoked",
    "HD": "on-hold",
    "RL": "active",
}


def order_number(ctx: Context, orc: Segment | None, obr: Segment | None) -> str:
    """The placer's number, which an order has from its first message on; else the filler's, else the group's."""
    for segment, field in ((orc, 2), (obr, 2), (orc, 3), (obr, 3), (orc, 4)):
        number = ctx.entity(segment, field) if segment else ""
        if number:
            return number
    return ""


def order_status(ctx: Context, orc: Segment | None) -> tuple[str, int]:
    """FHIR request-status and rank: a cancelled order stays cancelled whatever arrives late."""
    control = ctx.message.value(orc, 1).upper() if orc else ""
    state = ctx.message.value(orc, 5).upper() if orc else ""
    rank = Rank.CANCELLED if control in _CANCELS or state == "CA" else Rank.FINAL
    return _STATUS.get(state) or _CONTROL.get(control, ""), rank


def order(ctx: Context, orc: Segment | None, obr: Segment, where: str, encounter: str) -> Order | None:
    """A request for a test: code OBR-4, time ORC-9 (else OBR-7, OBR-6, ORC-15)."""
    found = observed_code(ctx, obr[4] if len(obr) > 4 else "")
    if found is None:
        ctx.drop(FilterReason.NO_CODE, f"{where}-4")
        return None
    at = (
        (ctx.time(orc, 9, "ORC") if orc else None)
        or ctx.time(obr, 7, where)
        or ctx.time(obr, 6, where)
        or (ctx.time(orc, 15, "ORC") if orc else None)
        or ctx.sent
    )
    state, rank = order_status(ctx, orc)
    return Order(
        id=ctx.id("order", order_number(ctx, orc, obr) or str(at), found[1].system, found[1].code),
        version=ctx.version(state, found[1].code, at.isoformat(), rank=rank),
        code=found[0],
        time=at,
        status=state,
        encounter=encounter,
    )
