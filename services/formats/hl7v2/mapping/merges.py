"""MRG: one patient number superseded by another (v2.8 chapter 3.3.18-47, 3.4.10)."""

from services.domain.events import Identifier, Merge
from services.domain.reasons import FilterReason, Rejected, RejectReason
from services.formats.hl7v2.er7 import Segment
from services.formats.hl7v2.mapping.context import Context
from services.formats.hl7v2.mapping.patient import identifiers

PATIENT_MERGES = frozenset({"A18", "A30", "A34", "A36", "A39", "A40", "A46", "A47"})
"""MRG's patient becomes PID's: merges, and changes of number (A46, A47), which are merges into a new number."""

ACCOUNT_MERGES = frozenset({"A35", "A41", "A42", "A44", "A45", "A48", "A49", "A50", "A51"})
"""Accounts, visits and alternate numbers: the patient stays who they were."""

MERGE_ID = "merge"
"""A superseded patient has one forwarding mark, so the fact's identity is a constant: the later merge wins."""


def superseded(ctx: Context, mrg: Segment) -> list[Identifier]:
    """The numbers that go out of use: MRG-1, else MRG-4 (A39 and 2.3 senders), else MRG-2."""
    return identifiers(ctx, mrg, 1, 4, 2)


def merges(
    ctx: Context, mrg: Segment, survivor: list[Identifier], into: str, where: str
) -> list[tuple[str, Merge]] | Rejected:
    """(superseded key, mark) for every repetition of MRG-1 that is not one of the survivor's own numbers.

    Rejects MISSING_MERGE_PATIENT when there is none to read.
    """
    old = superseded(ctx, mrg)
    if not old:
        return Rejected(RejectReason.MISSING_MERGE_PATIENT, f"{where}-1", "the superseded patient's identifier")
    kept = {ctx.tables.patient_key(i.authority, i.value) for i in survivor}
    keys = dict.fromkeys(ctx.tables.patient_key(i.authority, i.value) for i in old)
    found = [(key, Merge(id=MERGE_ID, version=ctx.version(into), into=into)) for key in keys if key not in kept]
    if not found:
        ctx.drop(FilterReason.ACCOUNT_NOT_PATIENT, f"{where}-1")
    return found
