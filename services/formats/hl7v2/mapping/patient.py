"""PID: who the message is about (v2.8 chapter 3.4.2)."""

from datetime import datetime
from typing import Protocol

from msgspec import UNSET, UnsetType

from services.domain.events import Identifier, Patient, Rank
from services.domain.identity import primary_identifier
from services.domain.reasons import FilterReason
from services.domain.site import Site
from services.formats.hl7v2 import times
from services.formats.hl7v2.er7 import NULL, Message, Segment
from services.formats.hl7v2.mapping.context import Context, SiteTables, room

_SEX = {  # HL7 table 0001 -> FHIR administrative-gender
    "M": "male",
    "F": "female",
    "O": "other",
    "A": "other",
    "N": "other",
    "C": "other",
    "X": "other",
    "U": "unknown",
    "MALE": "male",
    "FEMALE": "female",
    "OTHER": "other",
    "UNKNOWN": "unknown",
}


class Scope(Protocol):
    """What identifiers are read in; a mapping's `Context` is one."""

    message: Message
    site: Site
    tables: SiteTables
    authority: str  # of identifiers that name none


def identifier(ctx: Scope, raw: str) -> Identifier | None:
    """A CX: value, assigning authority (CX.4, else the site's default, else the sending facility), type."""
    key = (raw, ctx.authority, ctx.message.spelling)
    known = ctx.tables.identifiers.get(key)
    if known is None:
        message = ctx.message
        value = message.part(raw, 1)
        if not value:
            return None
        authority = message.part(raw, 4, 1) or message.part(raw, 4, 2) or ctx.authority
        known = room(ctx.tables.identifiers)[key] = Identifier(authority, value, message.part(raw, 5))
    return known


def identifiers(ctx: Scope, segment: Segment, *fields: int) -> list[Identifier]:
    """All identifiers of the first of these fields that has any, without repeats, in order."""
    for field in fields:
        usable: list[Identifier] = []
        for raw in ctx.message.repetitions(segment, field):
            found = identifier(ctx, raw)
            if found is not None and found not in usable:
                usable.append(found)
        if usable:
            return usable
    return []


def patient_identifiers(ctx: Scope, pid: Segment) -> list[Identifier]:
    """PID-3, else PID-2, else PID-4 (2.3 senders)."""
    return identifiers(ctx, pid, 3, 2, 4)


def key_of(ctx: Scope, found: list[Identifier]) -> str | None:
    """The patient key: of the identifier type that the site prefers."""
    primary = primary_identifier(found, ctx.site.preferred_identifier_types)
    return ctx.tables.patient_key(primary.authority, primary.value) if primary else None


def patient(ctx: Context, pid: Segment, found: list[Identifier], rank: int, where: str = "PID") -> Patient:
    """Demographics. ADT is the registration system's word (`Rank.FINAL`); other messages only fill gaps."""
    birth = _birth_date(ctx, pid, where)
    sex = _sex(ctx, pid)
    deceased, deceased_at = _death(ctx, pid, where)
    content = (*(f"{i.authority}|{i.value}|{i.type}" for i in found), str(birth), str(sex), str(deceased))
    return Patient(
        id=PATIENT_ID,
        version=ctx.version(*content, str(deceased_at), rank=rank),
        identifiers=found,
        birth_date=birth,
        sex=sex,
        deceased=deceased,
        deceased_at=deceased_at,
    )


PATIENT_ID = "patient"
"""A record has one patient, so the fact's identity is a constant."""


def _raw(segment: Segment, field: int) -> str:
    return segment[field] if field < len(segment) else ""


def _birth_date(ctx: Context, pid: Segment, where: str) -> str | None | UnsetType:
    raw = _raw(pid, 7)
    if not raw:
        return UNSET
    if raw == NULL:
        return None
    text = times.date_text(ctx.message.value(pid, 7))
    if text is None:
        ctx.drop(FilterReason.BAD_ITEM_TIMESTAMP, f"{where}-7")
        return UNSET
    return text


def _sex(ctx: Context, pid: Segment) -> str | None | UnsetType:
    raw = _raw(pid, 8)
    if not raw:
        return UNSET
    if raw == NULL:
        return None
    text = ctx.message.value(pid, 8).upper()
    return _SEX.get(text, "unknown") if text else UNSET


def _death(ctx: Context, pid: Segment, where: str) -> tuple[bool | None | UnsetType, datetime | None | UnsetType]:
    """PID-30 (indicator) and PID-29 (when); a time of death without an indicator means dead."""
    at: datetime | None | UnsetType = UNSET
    raw_at, raw = _raw(pid, 29), _raw(pid, 30)
    if raw_at == NULL:
        at = None
    elif raw_at:
        at = ctx.time(pid, 29, where) or UNSET
    if raw == NULL:
        return None, at
    indicator = ctx.message.value(pid, 30).upper() if raw else ""
    if indicator in ("Y", "YES", "N", "NO"):
        return indicator[0] == "Y", at
    return (True if isinstance(at, datetime) else UNSET), at


def person_rank(code: str) -> int:
    """How much a message's PID and PV1 weigh: ADT is registration's own, the rest repeat what they were told."""
    return Rank.FINAL if code == "ADT" else Rank.PRELIMINARY
