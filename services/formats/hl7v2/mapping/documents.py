"""MDM: TXA and its OBX segments (v2.8 chapter 9)."""

from datetime import datetime

import msgspec

from services.domain.events import AnyFact, Code, Document, Rank
from services.domain.reasons import FilterReason, replaces
from services.formats.hl7v2 import times
from services.formats.hl7v2.er7 import NULL, Segment
from services.formats.hl7v2.mapping import status
from services.formats.hl7v2.mapping.codings import coding
from services.formats.hl7v2.mapping.context import Context
from services.formats.hl7v2.mapping.observations import Results
from services.formats.hl7v2.mapping.reports import encapsulated, report
from services.formats.hl7v2.mapping.values import LONG

_TYPES = {  # HL7 table 0270: (title, LOINC document code)
    "AR": ("Autopsy report", "18743-5"),
    "CD": ("Cardiodiagnostics", "18745-0"),
    "CN": ("Consultation", "11488-4"),
    "DI": ("Diagnostic imaging", "18748-4"),
    "DS": ("Discharge summary", "18842-5"),
    "ED": ("Emergency department report", "34111-5"),
    "HP": ("History and physical examination", "34117-2"),
    "OP": ("Operative report", "11504-8"),
    "PC": ("Psychiatric consultation", "34788-0"),
    "PH": ("Psychiatric history and physical examination", "34117-2"),
    "PN": ("Procedure note", "28570-0"),
    "PR": ("Progress note", "11506-3"),
    "SP": ("Surgical pathology", "11526-1"),
    "TS": ("Transfer summary", "18761-7"),
}
_LOINC = "http://loinc.org"
_TABLE = "http://terminology.hl7.org/CodeSystem/v2-0270"

NOTIFICATIONS = frozenset({"T01", "T03", "T05", "T07", "T09"})
"""Events that announce a document without its content."""


class _Txa:
    """What TXA says of the document."""

    __slots__ = ("at", "code", "number", "parent", "rank", "timed", "title")

    def __init__(self, ctx: Context, txa: Segment) -> None:
        self.code, self.title = _type(ctx, txa)
        self.number = ctx.entity(txa, 12)
        self.parent = ctx.entity(txa, 13)
        # Origination, activity, transcription, edit: none of them can lie after the message that tells of it.
        found = (ctx.time(txa, field, "TXA") for field in (6, 4, 7, 8))
        said = next((at for at in found if at and at <= ctx.sent), None)
        self.at: datetime = said or ctx.sent
        self.timed = said is not None
        self.rank: int = status.TXA_17.get(ctx.message.value(txa, 17).upper(), Rank.FINAL)
        if ctx.message.value(txa, 19).upper() in status.TXA_19_CANCELLED:
            self.rank = Rank.CANCELLED


def _type(ctx: Context, txa: Segment) -> tuple[Code | None, str]:
    raw = txa[2] if len(txa) > 2 else ""
    sent = coding(ctx, raw) if raw else None
    if sent is None:
        return None, ""
    known = _TYPES.get(sent.code.upper())
    if known:
        return Code(_LOINC, known[1], known[0]), known[0]
    return (sent if sent.system else Code(_TABLE, sent.code, sent.display)), sent.display or sent.code


def document(ctx: Context, segments: list[Segment], encounter: str) -> list[AnyFact]:
    """Facts of one MDM: the document, attachments, other results; a replacement also withdraws what it replaces."""
    txa = next((s for s in segments if s[0] == "TXA"), None)
    if txa is None:
        ctx.drop(FilterReason.NO_CLINICAL_CONTENT, "TXA")
        return []
    about = _Txa(ctx, txa)
    if not about.number:
        about.number = "|".join(filter(None, (about.code.code if about.code else "", about.at.isoformat())))
    event = ctx.head.event
    facts: list[AnyFact] = []
    if event == "T11" or about.rank >= Rank.CANCELLED:
        facts.append(_withdrawn(ctx, about.number, about, encounter))
    elif event in NOTIFICATIONS:
        ctx.drop(FilterReason.NO_CLINICAL_CONTENT, "TXA")
    else:
        facts += _content(ctx, segments, about, encounter)
    if event in ("T09", "T10") and about.parent and about.parent != about.number:
        facts.append(_withdrawn(ctx, about.parent, about, encounter))
    return facts


def _content(ctx: Context, segments: list[Segment], about: _Txa, encounter: str) -> list[AnyFact]:
    """Text of all TX/FT/ST lines as one document, ED values as its attachments, other OBX segments as results."""
    lines: list[str] = []
    files: list[tuple[str, str]] = []
    others = Results(ctx, encounter)
    others.group.order = about.number
    others.group.at, others.group.timed = (about.at, times.epoch_ms(about.at)), about.timed
    others.group.rank = about.rank
    number = 0
    text_seen = False
    for segment in segments:
        if segment[0] != "OBX":
            continue
        number += 1
        kind = segment[2] if len(segment) > 2 else ""
        if kind in LONG or kind in ("ST", ""):
            lines += [ctx.message.decoded(r) for r in ctx.message.repetitions(segment, 5) if r != NULL] or [""]
            text_seen = True
        elif kind == "ED":
            files.append((segment[5] if len(segment) > 5 else "", f"OBX[{number}]-5"))
        else:
            others.observe(segment, f"OBX[{number}]")
    others.finish()
    text = "\n".join(lines).strip()
    version = ctx.version(text, rank=about.rank)
    whole = report(
        _identity(ctx, about.number), version, about.at, about.code, text, encounter, about.title, not about.timed
    )
    if not text and (text_seen or not (files or others.facts)):
        ctx.drop(FilterReason.NO_VALUE, "OBX-5")
    return [*_parts(ctx, whole, files), *others.facts]


def _parts(ctx: Context, whole: Document, files: list[tuple[str, str]]) -> list[Document]:
    """The document and its attachments; without a text of its own the first attachment is the document."""
    found = [whole] if whole.text else []
    bare = msgspec.structs.replace(whole, text="", text_sha256="")
    for raw, where in files:
        base = bare
        if found:
            base = msgspec.structs.replace(bare, id=ctx.id("part", whole.id, str(len(found))), part_of=whole.id)
        fact = encapsulated(ctx, raw, base)
        if isinstance(fact, FilterReason):
            ctx.drop(fact, where)
            if not replaces(fact, base.version.rank):
                continue
            fact = msgspec.structs.replace(base, unusable=True)
        found.append(fact)
    return found


def _identity(ctx: Context, number: str) -> str:
    return ctx.id("document", number)


def _withdrawn(ctx: Context, number: str, about: _Txa, encounter: str) -> Document:
    return Document(
        id=_identity(ctx, number),
        version=ctx.version("", rank=Rank.CANCELLED),
        time=about.at,
        title=about.title,
        code=about.code,
        encounter=encounter,
    )
