"""ORC/OBR/OBX groups: results, reports and the comments on them (v2.8 chapter 7)."""

from datetime import datetime

import msgspec

from services.domain.events import AnyFact, Code, Document, Observation, Original, Rank, Version, digest
from services.domain.reasons import FilterReason, replaces
from services.formats import ours
from services.formats.hl7v2.er7 import NULL, Segment
from services.formats.hl7v2.mapping import status
from services.formats.hl7v2.mapping.codings import observed_code, unit
from services.formats.hl7v2.mapping.context import Context
from services.formats.hl7v2.mapping.reports import encapsulated, report
from services.formats.hl7v2.mapping.values import LONG, NOTHING, Value, read

LOINC = "http://loinc.org"

SHORT_TEXT = 120
"""Characters up to which a one-line TX is a value (Alert, Positive); what is longer is a report."""


Instant = tuple[datetime, int]
"""A moment and its epoch milliseconds."""


class Group:
    """What an OBX inherits from the ORC and OBR (or RXA) it stands under."""

    __slots__ = ("at", "comment", "issued", "order", "rank", "timed")

    def __init__(self, order: str, at: Instant, rank: int, issued: int, timed: bool = False) -> None:
        self.order = order  # filler, else placer order number
        self.at = at
        self.timed = timed  # `at` is when it was observed, not when it was reported or sent
        self.rank = rank
        self.issued = issued
        self.comment: list[str] = []  # of NTE below the OBR itself


class Results:
    """Collects the facts of one patient's OBX segments, in message order."""

    def __init__(self, ctx: Context, encounter: str) -> None:
        self.ctx = ctx
        self.encounter = encounter
        self.facts: list[AnyFact] = []
        self.group = Group("", (ctx.sent, ctx.issued), Rank.UNKNOWN, ctx.issued)
        self._orc: Segment | None = None
        self._group_from = 0  # place in `facts` of the group's first, and of the OBX's that was read last
        self._obx_from = 0
        self._comment: list[str] = []  # of NTE below that OBX
        self._ids: dict[str, int] = {}
        self._lines: list[str] = []  # of the TX/FT result that is being read
        self._text: tuple[Segment, str] | None = None  # its first segment and place
        self._text_key: tuple[str, str] = ("", "")

    def order(self, orc: Segment) -> None:
        """An ORC: its numbers serve an OBR or RXA that has none."""
        self.finish()
        self._orc = orc
        sent = (self.ctx.sent, self.ctx.issued)
        self.group = Group(self._number(orc, 3, 2), sent, Rank.UNKNOWN, self.ctx.issued)

    def request(self, obr: Segment, where: str) -> None:
        """An OBR: the order number, default time, default status of the OBX segments below it."""
        self.finish()
        ctx = self.ctx
        number = self._number(obr, 3, 2) or (self._number(self._orc, 3, 2) if self._orc else "")
        at = ctx.instant(obr, 7, where) or ctx.instant(obr, 14, where)
        issued = ctx.instant(obr, 22, where)
        state = obr[25] if len(obr) > 25 else ""
        self.group = Group(
            number,
            at or issued or (ctx.sent, ctx.issued),
            status.OBR_25.get(state, Rank.UNKNOWN),
            issued[1] if issued else ctx.issued,
            timed=at is not None,
        )

    def administration(self, rxa: Segment, where: str) -> None:
        """An RXA (VXU): its time is that of the OBX segments below it."""
        self.finish()
        ctx = self.ctx
        at = ctx.instant(rxa, 3, where)
        sent = (ctx.sent, ctx.issued)
        self.group = Group(self.group.order, at or sent, Rank.UNKNOWN, ctx.issued, timed=at is not None)

    def observe(self, obx: Segment, where: str) -> None:
        """One OBX."""
        ctx = self.ctx
        size = len(obx)
        code_raw = obx[3] if size > 3 else ""
        kind = obx[2] if size > 2 else ""
        if ours.RISK_SYSTEM in code_raw:
            self.flush()
            self._obx_from = len(self.facts)
            ctx.drop(FilterReason.OWN_PREDICTION, f"{where}-3")
            return
        if kind in LONG:
            self._line(obx, code_raw, where)
            return
        if self._text is not None or self._comment:
            self.flush()
        self._obx_from = len(self.facts)
        if kind == "ED":
            self._encapsulated(obx, code_raw, where)
            return
        found = observed_code(ctx, code_raw)
        if found is None:
            ctx.drop(FilterReason.NO_CODE, f"{where}-3")
            return
        at = self._time(obx, where)
        if at is None:
            return
        raw = obx[5] if size > 5 else ""
        rank = self._rank(obx)
        unit_text = unit(ctx, obx[6] if size > 6 else "")
        mark = ctx.message.delimiters.repetition
        for repetition in raw.split(mark) if mark and mark in raw else (raw,):
            value = read(ctx, kind, repetition, unit_text) if repetition else FilterReason.NO_VALUE
            self._add(obx, found, at, rank, value, repetition, unit_text, where)

    def comment(self, nte: Segment, owner: str) -> None:
        """An NTE below a segment `owner`: of an OBX it is that result's comment, of an OBR its first result's."""
        comment = {"OBX": self._comment, "OBR": self.group.comment}.get(owner)
        if comment is None:
            self.ctx.drop(FilterReason.UNSUPPORTED_SEGMENT, "NTE")
        else:
            comment += [self.ctx.message.decoded(raw) for raw in self.ctx.message.repetitions(nte, 3) if raw != NULL]

    def finish(self) -> None:
        """End the group that is being read."""
        self.flush()
        if self.group.comment:
            self._annotate(self._group_from, self._group_from + 1, self.group.comment)
            self.group.comment = []
        self._group_from = len(self.facts)

    def flush(self) -> None:
        """End the result that is being read."""
        if self._text is not None:
            self._end_text()
        if self._comment:
            self._annotate(self._obx_from, len(self.facts), self._comment)
            self._comment = []

    def _annotate(self, start: int, end: int, comment: list[str]) -> None:
        """Add a comment to the facts from `start` to `end`; with none of them it is set aside as they were."""
        found, said = self.facts[start:end], "\n".join(comment).strip()
        if said and not found:
            self.ctx.drop(FilterReason.UNSUPPORTED_SEGMENT, "NTE")
        for n, fact in enumerate(found, start):
            if said and isinstance(fact, Observation | Document):
                self.facts[n] = _commented(fact, said)

    def _end_text(self) -> None:
        assert self._text is not None
        (obx, where), lines = self._text, self._lines
        self._text, self._lines = None, []
        ctx = self.ctx
        found = observed_code(ctx, obx[3] if len(obx) > 3 else "")
        if found is None:
            ctx.drop(FilterReason.NO_CODE, f"{where}-3")
            return
        at = self._time(obx, where)
        if at is None:
            return
        rank = self._rank(obx)
        text, raw = "\n".join(lines).strip(), obx[5] if len(obx) > 5 else ""
        if not text or (obx[2] == "TX" and len(lines) == 1 and len(text) <= SHORT_TEXT):
            raw_unit = unit(ctx, obx[6] if len(obx) > 6 else "")
            value = read(ctx, "ST", raw, raw_unit) if text or raw == NULL else FilterReason.NO_VALUE
            self._add(obx, found, at, rank, value, raw, raw_unit, where)
        else:
            version = ctx.version(text, rank=rank, issued=self.group.issued)
            timed = self._timed(obx)
            fact_id = self._identity(obx, found[1], at, timed)
            self.facts.append(report(fact_id, version, at[0], found[0], text, self.encounter, time_assumed=not timed))

    def _line(self, obx: Segment, code_raw: str, where: str) -> None:
        """A TX or FT: lines of one report follow each other under one code and time."""
        key = (code_raw, obx[14] if len(obx) > 14 else "")
        if self._text is not None and key != self._text_key:
            self.flush()
        if self._text is None:
            self._text, self._text_key = (obx, where), key
            self._obx_from = len(self.facts)
        self._lines += [self.ctx.message.decoded(r) for r in self.ctx.message.repetitions(obx, 5) if r != NULL] or [""]

    def _encapsulated(self, obx: Segment, code_raw: str, where: str) -> None:
        ctx = self.ctx
        at = self._time(obx, where)
        if at is None:
            return
        found = observed_code(ctx, code_raw)
        timed = self._timed(obx)
        fact_id = self._identity(obx, found[1] if found else Code("", ""), at, timed)
        version = ctx.version(rank=self._rank(obx), issued=self.group.issued)
        base = report(fact_id, version, at[0], found[0] if found else None, "", self.encounter, time_assumed=not timed)
        fact = encapsulated(ctx, obx[5] if len(obx) > 5 else "", base)
        if isinstance(fact, FilterReason):
            ctx.drop(fact, f"{where}-5")
            if not replaces(fact, base.version.rank):
                return
            fact = msgspec.structs.replace(base, unusable=True)
        self.facts.append(fact)

    def _add(
        self,
        obx: Segment,
        found: tuple[Code, Code],
        at: Instant,
        rank: int,
        value: Value | FilterReason,
        raw: str,
        unit_text: str,
        where: str,
    ) -> None:
        """One result. One whose value cannot be used is set aside and yet a fact, without a value: the sender says
        that what was told before does not hold."""
        ctx = self.ctx
        code, sent = found
        size = len(obx)
        value, unit_now = self._canonical(value, code, unit_text)
        if isinstance(value, FilterReason):
            if rank < Rank.CANCELLED:  # of what is withdrawn nobody asks for the value
                ctx.drop(value, f"{where}-{_FIELDS.get(value, 5)}")
            if not replaces(value, rank):
                return
            value = NOTHING
        number = value.value
        timed = self.group.timed or self._timed(obx)
        decoded = ctx.message.decoded
        reference = decoded(obx[7]) if size > 7 and obx[7] and obx[7] != NULL else ""
        flag = ctx.message.value(obx, 8) if size > 8 and obx[8] else ""
        self.facts.append(
            Observation(
                id=self._identity(obx, sent, at, timed),
                version=self._version(rank, raw, unit_text, reference, flag),
                code=code,
                time=at[0],
                value=number,
                unit=unit_now if isinstance(number, float) else "",
                comparator=value.comparator,
                interpretation=flag,
                reference_range=reference,
                encounter=self.encounter,
                original=self._original(value, raw, unit_text, unit_now, None if code is sent else sent),
                time_assumed=not timed,
            )
        )

    def _canonical(self, value: Value | FilterReason, code: Code, unit_text: str) -> tuple[Value | FilterReason, str]:
        """The value and its unit; a number in the canonical unit of its code, or why it cannot be had."""
        if isinstance(value, FilterReason) or not isinstance(value.value, float):
            return value, unit_text
        quantity = self.ctx.tables.canonical(code.code if code.system == LOINC else "", value.value, unit_text)
        if isinstance(quantity, FilterReason):
            return quantity, unit_text
        return Value(quantity.value, value.comparator), quantity.unit

    def _version(self, rank: int, *content: str) -> Version:
        return self.ctx.version(*content, rank=rank, issued=self.group.issued)

    def _original(self, value: Value, raw: str, unit_text: str, unit_now: str, sent: Code | None) -> Original:
        """What the sender wrote, where it differs from what we keep."""
        if isinstance(value.value, float):
            if unit_text == unit_now and not value.comparator:
                return Original(code=sent) if sent else _SAME
            return Original(self.ctx.message.decoded(raw), unit_text, sent)
        if unit_text or sent:
            return Original("", unit_text, sent)
        return _SAME

    def _identity(self, obx: Segment, code: Code, at: Instant, timed: bool) -> str:
        """(source, order, code, sub-id, time), whatever the type: "pending" gives way to the number or report after it.

        The sub-id counts from 2 on: senders number a report's lines in it, and its draft may have none. The time of
        reporting or sending tells no results of one order apart, so it is left out. A repeat within one message gets a
        number of its own.
        """
        sub_id = obx[4] if len(obx) > 4 else ""
        if sub_id in ("0", "1"):
            sub_id = ""
        when = str(at[1]) if timed or not self.group.order else ""
        found = self.ctx.id("observation", self.group.order, code.system, code.code, sub_id, when)
        seen = self._ids.get(found, 0)
        self._ids[found] = seen + 1
        return found if not seen else self.ctx.id("observation", found, str(seen))

    def _timed(self, obx: Segment) -> bool:
        """Whether somebody says when it was observed."""
        return self.group.timed or (len(obx) > 14 and obx[14] not in ("", NULL))

    def _time(self, obx: Segment, where: str) -> Instant | None:
        """OBX-14, else the group's time: moment and epoch milliseconds. None when it is bad or in the future."""
        raw = obx[14] if len(obx) > 14 else ""
        if not raw or raw == NULL:
            return self.group.at
        return self.ctx.instant(obx, 14, where)

    def _rank(self, obx: Segment) -> int:
        state = obx[11] if len(obx) > 11 else ""
        found = status.OBX_11.get(state)
        if found is None and state:
            found = status.OBX_11.get(self.ctx.message.value(obx, 11).upper())
        return self.group.rank if found is None else found

    def _number(self, segment: Segment, *fields: int) -> str:
        for field in fields:
            number = self.ctx.entity(segment, field)
            if number:
                return number
        return ""


_SAME = Original()

_FIELDS = {
    FilterReason.UNSUPPORTED_VALUE_TYPE: 2,
    FilterReason.UNKNOWN_UNIT: 6,
    FilterReason.INCOMPATIBLE_UNIT: 6,
}
"""The field of the OBX that makes a value unusable, where it is not the value itself."""


def _commented(fact: Observation | Document, comment: str) -> Observation | Document:
    """The fact with a further comment, which its version knows of."""
    known = fact.version
    version = Version(known.rank, known.issued, known.sequence, digest(known.digest, comment, size=4))
    whole = f"{comment}\n{fact.comment}" if fact.comment else comment
    return msgspec.structs.replace(fact, comment=whole, version=version)
