"""Which message types are read, and how: one table, one walk over the segments of each patient."""

from collections.abc import Callable
from dataclasses import dataclass

from services.domain.events import AnyFact, Identifier
from services.domain.reasons import FilterReason, Rejected, RejectReason
from services.formats import ours
from services.formats.hl7v2.er7 import Message, Segment
from services.formats.hl7v2.header import Header
from services.formats.hl7v2.mapping import clinical, medications
from services.formats.hl7v2.mapping.context import Context
from services.formats.hl7v2.mapping.documents import document
from services.formats.hl7v2.mapping.encounter import encounter, encounter_id
from services.formats.hl7v2.mapping.merges import ACCOUNT_MERGES, PATIENT_MERGES, merges
from services.formats.hl7v2.mapping.observations import Results
from services.formats.hl7v2.mapping.orders import order
from services.formats.hl7v2.mapping.patient import key_of, patient, patient_identifiers, person_rank


@dataclass(frozen=True, slots=True)
class Family:
    """How messages of one code are read: the segments that become facts, and the events that are not read."""

    segments: frozenset[str]
    orders: bool = False  # OBR is a request, not the head of results alone
    vaccines: bool = False  # RXA is a vaccination

    @property
    def known(self) -> frozenset[str]:
        return self.segments | _CONTEXT


_CONTEXT = frozenset({"MSH", "EVN", "PID", "PV1"})
_RESULT = frozenset({"ORC", "OBR", "OBX", "NTE"})
_CLINICAL = frozenset({"DG1", "PR1", "AL1", "IAM"})
_DRUG = frozenset({"ORC", "OBX", "NTE", "TQ1", "RXR"})

_REPORT = Family(_RESULT | _CLINICAL)
_REQUEST = Family(_RESULT | _CLINICAL | {"RXO", "RXR", "TQ1"}, orders=True)

FAMILIES: dict[str, Family] = {
    "ADT": Family(_RESULT | _CLINICAL | {"MRG"}),
    "ORU": _REPORT,
    "OUL": _REPORT,
    "REF": _REPORT,
    "MDM": Family(frozenset({"ORC", "OBR", "OBX", "TXA"})),
    "ORM": _REQUEST,
    "OMG": _REQUEST,
    "OML": _REQUEST,
    "OMI": _REQUEST,
    "OMP": Family(_DRUG | _CLINICAL | {"RXO"}),
    "RDE": Family(_DRUG | _CLINICAL | {"RXE"}),
    "RDS": Family(_DRUG | _CLINICAL | {"RXE", "RXD"}),
    "RGV": Family(_DRUG | _CLINICAL | {"RXG"}),
    "RAS": Family(_DRUG | _CLINICAL | {"RXA"}),
    "VXU": Family(_RESULT | {"RXA"}, vaccines=True),
    "PPR": Family(_RESULT | {"PRB"}),
}
"""By MSH-9.1: what is read. The rest has its reason in `unsupported`."""

_KNOWN = {code: family.known for code, family in FAMILIES.items()}


@dataclass(slots=True)
class About:
    """What the message says of one patient."""

    key: str
    facts: list[AnyFact]


_REASONS = {
    FilterReason.ACKNOWLEDGEMENT: "ACK MCF MFK MFD ORR ORG ORL ORI ORP ORD ORS ORN ORB OPR ORA RRA RRD RRE RRG RRI SRR "
    "BRT EAR",
    FilterReason.QUERY: "QBP QCN QRY QSB QVR QCK EQQ SPQ VQQ RQQ RSP RTB TBR RDY DSR EDR ERP UDM VXQ VXR VXX OSQ OSR "
    "SQM SQR RQI RQP RQC RPI RPL RPR RCI RCL RAR RDR RER RGR ROR NMQ NMR MFQ MFR",
    FilterReason.ADMINISTRATIVE: "BAR DFT SIU SRM EHC RQA RPA PIN",
    FilterReason.NO_PATIENT_REFERENCE: "MFN PMU NMD EAC EAN ESU ESR INU INR LSU LSR SSU SSR TCU TCR SLR SLN SLS SDR "
    "SMD SCN SDN STC STI",
}
"""Codes of HL7 table 0076 by why they are not read: answers to messages of ours; questions and their answers; billing,
insurance and schedules; machines, staff and master files."""
_UNREAD = {code: reason for reason, codes in _REASONS.items() for code in codes.split()}

_UNREAD_ADT = {
    "A19": FilterReason.QUERY,
    "A20": FilterReason.NO_PATIENT_REFERENCE,  # a bed's status
    **dict.fromkeys(ACCOUNT_MERGES, FilterReason.ACCOUNT_NOT_PATIENT),
    # A24 and A37 link and unlink patients who stay two, A29 deletes a person, A43 moves numbers between two persons:
    # the record has no place for any of them.
    **dict.fromkeys(("A24", "A29", "A37", "A43"), FilterReason.UNSUPPORTED_MESSAGE_TYPE),
}


def unsupported(code: str, event: str) -> FilterReason | None:
    """Why a message of this type is not read; None when it is."""
    if code == "ADT":
        return _UNREAD_ADT.get(event)
    return None if code in FAMILIES else _UNREAD.get(code, FilterReason.UNSUPPORTED_MESSAGE_TYPE)


def own_prediction(message: Message, head: Header) -> str:
    """Where a message says that it is one of our own predictions on its way back; '' when it is none.

    Engines put their own name in MSH-3, so the codes of the results tell it, too.
    """
    if head.sending_application == ours.APPLICATION:
        return "MSH-3"
    results = message.all("OBX")
    first = next(results, None)
    if first is None or not _ours(first):
        return ""
    return "OBX-3" if all(map(_ours, results)) else ""


def _ours(obx: Segment) -> bool:
    return len(obx) > 3 and ours.RISK_SYSTEM in obx[3]


_ADMINISTRATIVE = frozenset(
    {
        *("PD1", "NK1", "GT1", "IN1", "IN2", "IN3", "ACC", "UB1", "UB2", "FT1", "BLG", "ROL", "PRT", "PRD", "CTD"),
        *("SCH", "RGS", "AIS", "AIG", "AIL", "AIP", "APR", "ARV", "AUT", "CON", "RF1", "SFT", "UAC", "RQ1", "RQD"),
        "CTI",
    }
)
"""Segments on insurance, relatives, staff, billing, schedules, consent and the sender's software."""


def _unread(name: str) -> FilterReason:
    return FilterReason.ADMINISTRATIVE if name in _ADMINISTRATIVE else FilterReason.UNSUPPORTED_SEGMENT


def facts(ctx: Context) -> list[About] | Rejected:
    """Everything the message says, by patient, in order of first mention. Rejects MISSING_PATIENT."""
    segments = ctx.message.segments
    for name in {segment[0] for segment in segments} - _KNOWN[ctx.head.code]:
        ctx.drop(_unread(name), name)
    found: dict[str, About] = {}
    starts = [n for n, segment in enumerate(segments) if segment[0] == "PID"]
    if not starts:
        return Rejected(RejectReason.MISSING_PATIENT, "PID", "a PID segment says whom the message is about")
    ends = [*starts[1:], len(segments)]
    for n, (start, end) in enumerate(zip(starts, ends, strict=True)):
        # What stands between MSH and the first PID (EVN, and what some senders misplace) belongs to the first.
        group = segments[start:end] if n else segments[1:end]
        where = "PID" if n == 0 else f"PID[{n + 1}]"
        problem = _patient(ctx, group, segments[start], where, found)
        if problem is not None:
            return problem
    return list(found.values())


def _patient(ctx: Context, group: list[Segment], pid: Segment, where: str, found: dict[str, About]) -> Rejected | None:
    numbers = patient_identifiers(ctx, pid)
    key = key_of(ctx, numbers)
    if key is None:
        if where != "PID":
            ctx.drop(FilterReason.OTHER_PATIENT, where)
            return None
        return Rejected(RejectReason.MISSING_PATIENT, "PID-3", "the patient's identifier and its assigning authority")
    known = found.get(key)
    about = known or About(key, [])
    rank = person_rank(ctx.head.code)
    if known is None:
        about.facts.append(patient(ctx, pid, numbers, rank, where))
    if ctx.head.code == "ADT" and ctx.head.event in PATIENT_MERGES:
        problem = _merge(ctx, group, numbers, about, found)
        if problem is not None:
            return problem
    found.setdefault(key, about)
    pv1 = _visit(ctx, group)
    visit_id = encounter_id(ctx, pv1)[0]
    if pv1 is not None and known is None:
        about.facts.append(encounter(ctx, pv1, ctx.message.first("EVN"), rank))
    if ctx.head.code == "MDM":
        about.facts += document(ctx, group, visit_id)
    else:
        about.facts += Walk(ctx, group, visit_id).facts()
    return None


def _merge(
    ctx: Context, group: list[Segment], numbers: list[Identifier], about: About, found: dict[str, About]
) -> Rejected | None:
    """Forwarding marks for the superseded keys of this PID, ahead of the survivor's own facts."""
    headers = [segment for segment in group if segment[0] == "MRG"]
    if not headers:
        return Rejected(RejectReason.MISSING_MERGE_PATIENT, "MRG", "an MRG segment follows each PID of a merge")
    for n, mrg in enumerate(headers):
        marks = merges(ctx, mrg, numbers, about.key, "MRG" if n == 0 else f"MRG[{n + 1}]")
        if isinstance(marks, Rejected):
            return marks
        for old, mark in marks:
            found.setdefault(old, About(old, [])).facts.append(mark)
    return None


def _visit(ctx: Context, group: list[Segment]) -> Segment | None:
    """The patient's PV1. In order messages one below an ORC or OBR belongs to a prior result."""
    orders = FAMILIES[ctx.head.code].orders
    chosen: Segment | None = None
    below = False
    number = 0
    for segment in group:
        name = segment[0]
        if name == "PV1":
            number += 1
            if chosen is None and not below:
                chosen = segment
            else:
                ctx.drop(FilterReason.UNSUPPORTED_SEGMENT, f"PV1[{number}]")
        elif orders and name in ("ORC", "OBR"):
            below = True
    return chosen


class Walk:
    """One pass over a patient's segments."""

    def __init__(self, ctx: Context, group: list[Segment], encounter_id: str) -> None:
        self.ctx = ctx
        self.group = group
        self.visit = encounter_id
        self.family = FAMILIES[ctx.head.code]
        self.results = Results(ctx, encounter_id)
        self.orc: Segment | None = None
        self.found: list[AnyFact] = []

    def facts(self) -> list[AnyFact]:
        """Results first, in message order, then the rest."""
        results, known = self.results, self.family.segments
        count: dict[str, int] = {}
        owner = ""
        for n, segment in enumerate(self.group):
            name = segment[0]
            if name == "NTE":
                results.comment(segment, owner)
                continue
            if name != "PRT":  # who took part, between a result and its comments (v2.8 chapter 7.3.1)
                owner = name
            if name not in known:
                continue
            count[name] = number = count.get(name, 0) + 1
            where = f"{name}[{number}]"
            if name == "OBX":
                results.observe(segment, where)
            elif name == "ORC":
                self.orc = segment
                results.order(segment)
            elif name == "OBR":
                results.request(segment, where)
                if self.family.orders:
                    self._keep(order(self.ctx, self.orc, segment, where, self.visit))
            else:
                self._other(name, n, segment, where)
        results.finish()
        return results.facts + self.found

    def _other(self, name: str, n: int, segment: Segment, where: str) -> None:
        ctx, visit = self.ctx, self.visit
        single = _SINGLE.get(name)
        if single is not None:
            self._keep(single(ctx, segment, where, visit))
        elif name in ("RXE", "RXO", "RXG"):
            parts = self._below(n)
            self._keep(medications.ordered(ctx, self.orc, segment, parts.get("TQ1"), parts.get("RXR"), where, visit))
        elif name == "RXD":
            self._keep(medications.dispensed(ctx, self.orc, segment, self._below(n).get("RXR"), where, visit))
        elif name == "RXA" and self.family.vaccines:
            self.results.administration(segment, where)
            self._keep(medications.immunization(ctx, self.orc, segment, where, visit))
        elif name == "RXA":
            self._keep(medications.administered(ctx, self.orc, segment, self._below(n).get("RXR"), where, visit))

    def _below(self, n: int) -> dict[str, Segment]:
        """The first segment of each name below the n-th, up to the next order or drug."""
        below: dict[str, Segment] = {}
        for segment in self.group[n + 1 :]:
            if segment[0] in _NEXT_ORDER:
                break
            below.setdefault(segment[0], segment)
        return below

    def _keep(self, fact: AnyFact | None) -> None:
        if fact is not None:
            self.found.append(fact)


_NEXT_ORDER = frozenset({"ORC", "OBR", "RXO", "RXE", "RXG", "RXD", "RXA"})
_SINGLE: dict[str, Callable[[Context, Segment, str, str], AnyFact | None]] = {
    "DG1": clinical.diagnosis,
    "PR1": clinical.procedure,
    "PRB": clinical.problem,
    "AL1": clinical.allergy,
    "IAM": clinical.adverse_reaction,
}
