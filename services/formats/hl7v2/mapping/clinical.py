"""DG1, PRB, PR1, AL1, IAM: diagnoses, problems, procedures, allergies (v2.8 chapters 6.5.2, 12.4.2, 6.5.4, 3.4.6-7)."""

from datetime import datetime

from services.domain.events import Allergy, Code, Condition, Procedure, Rank
from services.domain.reasons import FilterReason
from services.formats.hl7v2.er7 import NULL, Segment
from services.formats.hl7v2.mapping.codings import coding
from services.formats.hl7v2.mapping.context import Context

_LIFE_CYCLE = {  # PRB-14, free in the standard: the words that senders use -> FHIR condition-clinical
    "ACTIVE": "active",
    "A": "active",
    "RESOLVED": "resolved",
    "R": "resolved",
    "INACTIVE": "inactive",
    "I": "inactive",
    "REMISSION": "remission",
    "RECURRENCE": "recurrence",
}


def _code(ctx: Context, segment: Segment, field: int, text_field: int, where: str) -> Code | None:
    """The code of a field, else the description in another, which some senders fill alone."""
    raw = segment[field] if field < len(segment) else ""
    found = coding(ctx, raw) if raw and raw != NULL else None
    if found is None and text_field:
        text = ctx.message.value(segment, text_field)
        found = Code("", text, text) if text else None
    if found is None:
        ctx.drop(FilterReason.NO_CODE, f"{where}-{field}")
    return found


def _rank(ctx: Context, segment: Segment, action_field: int) -> int:
    deleted = ctx.message.value(segment, action_field).upper() == "D"
    return Rank.ENTERED_IN_ERROR if deleted else Rank.FINAL


def diagnosis(ctx: Context, dg1: Segment, where: str, encounter: str) -> Condition | None:
    """DG1-3 what (else DG1-4), DG1-5 when, DG1-20 its identifier, DG1-21 action."""
    code = _code(ctx, dg1, 3, 4, where)
    if code is None:
        return None
    at = ctx.time(dg1, 5, where) or ctx.time(dg1, 19, where) or ctx.sent
    identity = ctx.entity(dg1, 20) or f"{encounter}|{code.system}|{code.code}"
    return Condition(
        id=ctx.id("condition", identity),
        version=ctx.version(code.code, at.isoformat(), rank=_rank(ctx, dg1, 21)),
        code=code,
        time=at,
        status="active",
        encounter=encounter,
    )


def problem(ctx: Context, prb: Segment, where: str, encounter: str) -> Condition | None:
    """PRB-1 action (DE deletes), 3 what, 4 instance, 7 established, 9 resolved, 14 life cycle, 16 onset."""
    code = _code(ctx, prb, 3, 0, where)
    if code is None:
        return None
    at = ctx.time(prb, 16, where) or ctx.time(prb, 7, where) or ctx.time(prb, 2, where) or ctx.sent
    end = ctx.time(prb, 9, where)
    state = _LIFE_CYCLE.get(ctx.message.value(prb, 14).upper(), "resolved" if end else "active")
    rank = Rank.ENTERED_IN_ERROR if ctx.message.value(prb, 1).upper() == "DE" else Rank.FINAL
    identity = ctx.entity(prb, 4) or f"{code.system}|{code.code}"
    return Condition(
        id=ctx.id("problem", identity),
        version=ctx.version(code.code, at.isoformat(), state, rank=rank),
        code=code,
        time=at,
        end=end,
        status=state,
        encounter=encounter,
    )


def procedure(ctx: Context, pr1: Segment, where: str, encounter: str) -> Procedure | None:
    """PR1-3 what (else PR1-4), PR1-5 when, PR1-19 its identifier, PR1-20 action."""
    code = _code(ctx, pr1, 3, 4, where)
    if code is None:
        return None
    at = ctx.time(pr1, 5, where)
    identity = ctx.entity(pr1, 19) or "|".join((encounter, code.system, code.code, at.isoformat() if at else ""))
    return Procedure(
        id=ctx.id("procedure", identity),
        version=ctx.version(code.code, rank=_rank(ctx, pr1, 20)),
        code=code,
        time=at or ctx.sent,
        status="completed",
        encounter=encounter,
    )


_CATEGORY = {  # HL7 table 0127 -> FHIR allergy-intolerance-category
    "DA": "medication",
    "MC": "medication",
    "FA": "food",
    "AA": "environment",
    "EA": "environment",
    "LA": "environment",
    "PA": "environment",
}
_SEVERITY = {"MI": "mild", "MO": "moderate", "SV": "severe"}
"""HL7 table 0128 -> FHIR reaction-event-severity; U is unknown."""


def allergy(ctx: Context, al1: Segment, where: str, _encounter: str) -> Allergy | None:
    """AL1-2 category, 3 what to, 4 severity, 6 identified."""
    code = _code(ctx, al1, 3, 0, where)
    if code is None:
        return None
    return _allergy(ctx, al1, code, f"{code.system}|{code.code}", ctx.time(al1, 6, where), Rank.FINAL)


def adverse_reaction(ctx: Context, iam: Segment, where: str, _encounter: str) -> Allergy | None:
    """IAM-2 category, 3 what to, 4 severity, 6 action (D deletes), 7 identifier, 11 or 13 when, 17 status."""
    code = _code(ctx, iam, 3, 0, where)
    if code is None:
        return None
    withdrawn = ctx.message.value(iam, 6).upper() == "D" or ctx.message.value(iam, 17).upper() == "E"
    at = ctx.time(iam, 11, where) or ctx.time(iam, 13, where)
    rank = Rank.ENTERED_IN_ERROR if withdrawn else Rank.FINAL
    return _allergy(ctx, iam, code, ctx.entity(iam, 7) or f"{code.system}|{code.code}", at, rank)


def _allergy(ctx: Context, segment: Segment, code: Code, identity: str, at: datetime | None, rank: int) -> Allergy:
    category = _CATEGORY.get(ctx.message.value(segment, 2).upper(), "")
    severity = _SEVERITY.get(ctx.message.value(segment, 4).upper(), "")
    return Allergy(
        id=ctx.id("allergy", identity),
        version=ctx.version(code.code, category, severity, str(at), rank=rank),
        code=code,
        time=at or ctx.sent,
        category=category,
        severity=severity,
        status="active",
    )
