"""PV1 and EVN: where the patient is, and what the trigger event did to the visit (v2.8 chapter 3.3, 3.4.3)."""

from datetime import datetime
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from services.domain.events import Encounter, EncounterStatus, Identifier, digest
from services.formats.hl7v2.er7 import NULL, Segment
from services.formats.hl7v2.mapping.context import Context, Place, room
from services.formats.hl7v2.mapping.patient import identifier

_CLASS = {  # HL7 table 0004 -> v3 ActCode, as HL7's own v2-to-FHIR map has it; other codes are the site's
    "E": "EMER",
    "I": "IMP",
    "O": "AMB",
    "P": "PRENC",
    "R": "AMB",
    "B": "IMP",
}


class Effect(NamedTuple):
    """What a trigger event does to the visit beside carrying PV1."""

    status: EncounterStatus | None = None  # None: says nothing of it
    starts: bool = False  # without PV1-44, the event's time is the admission's
    opens: bool = False  # a stay begins: an earlier one's end and disposition are not this one's
    moves: bool = False  # the event's time is when the unit was entered
    ends: bool = False
    undoes_move: bool = False
    undoes_end: bool = False
    locates: bool = True  # PV1-3 is where the patient is now


_PLANNED, _OPEN, _DONE, _VOID = (
    EncounterStatus.PLANNED,
    EncounterStatus.IN_PROGRESS,
    EncounterStatus.FINISHED,
    EncounterStatus.CANCELLED,
)

EFFECTS: dict[str, Effect] = {
    "A01": Effect(_OPEN, starts=True, opens=True),  # admit
    "A02": Effect(_OPEN, moves=True),  # transfer
    "A03": Effect(_DONE, ends=True),  # discharge
    "A04": Effect(_OPEN, starts=True, opens=True),  # register
    "A05": Effect(_PLANNED, locates=False),  # pre-admit
    "A06": Effect(_OPEN, moves=True, opens=True),  # outpatient to inpatient
    "A07": Effect(_OPEN, moves=True, opens=True),  # inpatient to outpatient
    "A09": Effect(_OPEN, locates=False),  # departing: on the way
    "A10": Effect(_OPEN, moves=True),  # arriving
    "A11": Effect(_VOID),  # cancel admit
    "A12": Effect(_OPEN, undoes_move=True),  # cancel transfer
    "A13": Effect(_OPEN, undoes_end=True),  # cancel discharge
    "A14": Effect(_PLANNED, locates=False),  # pending admit
    "A15": Effect(_OPEN),  # pending transfer
    "A16": Effect(_OPEN),  # pending discharge
    "A17": Effect(moves=True),  # swap beds
    "A23": Effect(_VOID),  # delete visit
    "A25": Effect(_OPEN),  # cancel pending discharge
    "A26": Effect(_OPEN),  # cancel pending transfer
    "A27": Effect(_VOID),  # cancel pending admit
    "A32": Effect(_OPEN, undoes_move=True),  # cancel arriving
    "A38": Effect(_VOID),  # cancel pre-admit
}
_QUIET = Effect()
_ELSEWHERE = Effect()  # ORU, ORM...: PV1 as the sender knew it

_EXPIRED = frozenset({"20", "40", "41", "42", "EXP", "EXPIRED", "DECEASED", "DIED"})
"""HL7 table 0112 (UB-04 patient discharge status): 20 expired, 40-42 expired at home, in a facility, place unknown."""


def encounter_id(ctx: Context, pv1: Segment | None) -> tuple[str, Identifier | None]:
    """The visit's fact id and number (PV1-19); 'current' where the sender numbers none."""
    raw = pv1[19] if pv1 is not None and len(pv1) > 19 else ""
    number = identifier(ctx, ctx.message.repetitions(pv1, 19)[0]) if raw and pv1 is not None else None
    if number is None:
        return CURRENT, None
    return digest("encounter", number.authority.casefold(), number.value, size=8), number


CURRENT = digest("encounter", "current", size=8)


def encounter(ctx: Context, pv1: Segment, evn: Segment | None, rank: int) -> Encounter:
    """The visit's fields as this message states them: empty is unsaid, `\"\"` is none.

    An event that begins a stay says also that the stay has no end and no disposition, unless it gives them.
    """
    effect = EFFECTS.get(ctx.head.event, _QUIET) if ctx.head.code == "ADT" else _ELSEWHERE
    happened = _happened(ctx, evn) if ctx.head.code == "ADT" else None
    fact_id, number = encounter_id(ctx, pv1)
    ward, chamber, bed, facility = _location(ctx, pv1) if effect.locates else (UNSET, UNSET, UNSET, UNSET)
    start, end = _time(ctx, pv1, 44), _time(ctx, pv1, 45)
    if effect.starts and start is UNSET:
        start = happened or ctx.sent
    if effect.ends and end is UNSET:
        end = happened or ctx.sent
    since: datetime | None | UnsetType = UNSET
    if effect.starts:
        since = start
    elif effect.moves:
        since = happened or ctx.sent
    elif effect.undoes_move:
        since = None
    disposition = _disposition(ctx, pv1)
    if effect.opens:  # without a number in PV1-19 a readmission has the id of the stay before it
        end = None if end is UNSET else end
        disposition = None if disposition is UNSET else disposition
    if effect.undoes_end:
        end, disposition = None, None
    kind = _class(ctx, pv1)
    return Encounter(
        id=fact_id,
        version=ctx.version(ctx.head.event, *pv1, *(evn or ()), rank=rank),
        status=effect.status or UNSET,
        class_=kind,
        start=start,
        end=end,
        facility=facility,
        unit=ward,
        room=chamber,
        bed=bed,
        unit_since=since,
        disposition=disposition,
        number=number or UNSET,
    )


def _happened(ctx: Context, evn: Segment | None) -> datetime | None:
    """When it happened: EVN-6 (event occurred), else EVN-2 (recorded)."""
    if evn is None:
        return None
    return ctx.time(evn, 6, "EVN") or ctx.time(evn, 2, "EVN")


def _time(ctx: Context, pv1: Segment, field: int) -> datetime | None | UnsetType:
    raw = pv1[field] if field < len(pv1) else ""
    if not raw:
        return UNSET
    return None if raw == NULL else ctx.time(pv1, field, "PV1") or UNSET


def _location(ctx: Context, pv1: Segment) -> tuple[Place, Place, Place, Place]:
    """PV1-3 (PL): point of care, room, bed, facility."""
    raw = pv1[3] if len(pv1) > 3 else ""
    if not raw:
        return UNSET, UNSET, UNSET, UNSET
    if raw == NULL:
        return None, None, None, None
    key = (raw, ctx.message.spelling)
    known = ctx.tables.places.get(key)
    if known is None:
        parts = ctx.message.components(ctx.message.repetitions(pv1, 3)[0])
        known = _part(ctx, parts, 0), _part(ctx, parts, 1), _part(ctx, parts, 2), _part(ctx, parts, 3)
        room(ctx.tables.places)[key] = known
    return known


def _part(ctx: Context, parts: list[str], n: int) -> Place:
    raw = parts[n] if n < len(parts) else ""
    if raw == NULL:
        return None
    text = ctx.message.decoded(ctx.message.subcomponents(raw)[0]) if raw else ""
    return text or UNSET


def _class(ctx: Context, pv1: Segment) -> str | None | UnsetType:
    raw = pv1[2] if len(pv1) > 2 else ""
    if raw == NULL:
        return None
    return _CLASS.get(ctx.message.value(pv1, 2).upper(), UNSET) if raw else UNSET


def _disposition(ctx: Context, pv1: Segment) -> str | None | UnsetType:
    raw = pv1[36] if len(pv1) > 36 else ""
    if not raw:
        return UNSET
    if raw == NULL:
        return None
    code, text = ctx.message.value(pv1, 36, 1), ctx.message.value(pv1, 36, 2)
    if code.upper() in _EXPIRED or any(word in _EXPIRED for word in text.upper().split()):
        return "expired"
    return code or text or UNSET
