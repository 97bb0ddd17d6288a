"""Which message types are read, and how: one table, one walk over the segments of each patient."""

from collections.abc import Callable
from dataclasses import dataclass

from services.domain.events import AnyFact, Identifier
from services.domain.reasons import FilterReason, Rejected, RejectReason
from services.formats.hl7v2.er7 import Segment
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
    refused: frozenset[str] = frozenset()

    @property
    def known(self) -> frozenset[str]:
        return self.segments | _CONTEXT


_CONTEXT = frozenset({"MSH", "EVN", "PID", "PV1"})
_RESULT = frozenset({"ORC", "OBR", "OBX"})
_CLINICAL = frozenset({"DG1", "PR1"})
_DRUG = frozenset({"ORC", "OBX", "TQ1", "RXR"})

_ADT = Family(
    _RESULT | _CLINICAL | {"MRG"},
    refused=frozenset({"A19", "A20", "A24", "A29", "A37", "A43"}),
    # A19 query, A20 bed status, A24/A37 link and unlink, A29 delete person, A43 move identifiers between persons:
    # none says anything about one patient's state that a record could hold.
)
_REPORT = Family(_RESULT | _CLINICAL)
_REQUEST = Family(_RESULT | _CLINICAL | {"RXO", "RXR", "TQ1"}, orders=True)

FAMILIES: dict[str, Family] = {
    "ADT": _ADT,
    "ORU": _REPORT,
    "OUL": _REPORT,
    "MDM": Family(_RESULT | {"TXA"}),
    "ORM": _REQUEST,
    "OMG": _REQUEST,
    "OML": _REQUEST,
    "OMI": _REQUEST,
    "OMP": Family(_DRUG | _CLINICAL | {"RXO"}),
    "RDE": Family(_DRUG | _CLINICAL | {"RXE"}),
    "RDS": Family(_DRUG | _CLINICAL | {"RXE", "RXD"}),
    "RAS": Family(_DRUG | _CLINICAL | {"RXA"}),
    "VXU": Family(_RESULT | {"RXA"}, vaccines=True),
    "PPR": Family(_RESULT | {"PRB"}),
}
"""By MSH-9.1. What is not here is filtered as an unsupported message type."""

_KNOWN = {code: family.known for code, family in FAMILIES.items()}


@dataclass(slots=True)
class About:
    """What the message says of one patient."""

    key: str
    facts: list[AnyFact]


def unsupported(ctx_code: str, event: str) -> FilterReason | None:
    """Why a message of this type is not read; None when it is."""
    family = FAMILIES.get(ctx_code)
    if family is None or event in family.refused:
        return FilterReason.UNSUPPORTED_MESSAGE_TYPE
    if ctx_code == "ADT" and event in ACCOUNT_MERGES:
        return FilterReason.ACCOUNT_NOT_PATIENT
    return None


def facts(ctx: Context) -> list[About] | Rejected:
    """Everything the message says, by patient, in order of first mention. Rejects MISSING_PATIENT."""
    segments = ctx.message.segments
    for name in {segment[0] for segment in segments} - _KNOWN[ctx.head.code]:
        ctx.drop(FilterReason.UNSUPPORTED_SEGMENT, name)
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
        for n, segment in enumerate(self.group):
            name = segment[0]
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
        results.flush()
        return results.facts + self.found

    def _other(self, name: str, n: int, segment: Segment, where: str) -> None:
        ctx, visit = self.ctx, self.visit
        single = _SINGLE.get(name)
        if single is not None:
            self._keep(single(ctx, segment, where, visit))
        elif name in ("RXE", "RXO"):
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


_NEXT_ORDER = frozenset({"ORC", "OBR", "RXO", "RXE", "RXD", "RXA"})
_SINGLE: dict[str, Callable[[Context, Segment, str, str], AnyFact | None]] = {
    "DG1": clinical.diagnosis,
    "PR1": clinical.procedure,
    "PRB": clinical.problem,
}
