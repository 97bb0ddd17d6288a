"""Messages that we send: ADT, ORU, MDM (v2.5.1), by keyword."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from services.formats.hl7v2 import times
from services.formats.hl7v2.skeleton import VERSION, Row, fill
from services.formats.ours import APPLICATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """MSH: who sends to whom, when, under which control id. `processing_id` T marks replayed and simulated data."""

    control_id: str
    sent: datetime
    sending_application: str = APPLICATION
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    processing_id: str = "P"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """PID: number within its authority, and what little else is sent."""

    number: str
    authority: str  # CX.4: a namespace, or an OID or a URI, which are sent as universal ids
    type: str = "MR"  # HL7 table 0203
    family: str = ""
    given: str = ""
    birth_date: str = ""  # ISO 8601 date
    sex: str = ""  # M, F, O, U


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """PV1."""

    class_: str = "I"  # HL7 table 0004
    unit: str = ""
    room: str = ""
    bed: str = ""
    facility: str = ""
    number: str = ""
    number_authority: str = ""  # the facility when empty
    start: datetime | None = None
    end: datetime | None = None
    disposition: str = ""  # HL7 table 0112


class Coded(NamedTuple):
    """A coded value (CWE)."""

    code: str
    text: str
    system: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One OBX. A number is sent as NM, with its comparator as SN; a text as ST, a coded value as CWE."""

    code: str
    display: str
    value: float | str | Coded
    unit: str = ""
    system: str = "LN"
    unit_system: str = "UCUM"
    comparator: str = ""
    time: datetime | None = None
    status: str = "F"
    abnormal: str = ""
    reference_range: str = ""
    method: Coded | None = None  # OBX-17


_EVENTS = {"A01": "ADT_A01", "A02": "ADT_A02", "A03": "ADT_A03", "A04": "ADT_A01", "A08": "ADT_A01", "A13": "ADT_A01"}


def adt(event: str, envelope: Envelope, person: Person, visit: Visit, *, occurred: datetime | None = None) -> bytes:
    """ADT^A01 (admit), A02 (transfer), A03 (discharge), A04 (register), A08 (update), A13 (cancel discharge).

    `occurred` is EVN-6, when it happened; without it, when it was sent. Raises KeyError for other events.
    """
    structure = _EVENTS[event]
    moment = times.render(occurred or envelope.sent)
    rows: list[Row] = [
        _MSH,
        ("EVN", ((1, "{}"), (2, "{}"), (6, "{}"))),
        ("PID", _pid_fields(person)),
        ("PV1", _pv1_fields(visit)),
    ]
    values = [
        *_msh(envelope, "ADT", event, structure),
        *(event, times.render(envelope.sent), moment),
        *_pid(person),
        *_pv1(visit),
    ]
    return fill(structure, rows, values)


def oru_r01(
    envelope: Envelope,
    person: Person,
    results: Sequence[Result],
    *,
    filler: str,
    panel: tuple[str, str, str],
    observed: datetime,
    placer: str = "",
    visit: Visit | None = None,
    status: str = "F",
) -> bytes:
    """ORU^R01: one order's results. `panel` is OBR-4 as code, text, system; `observed` OBR-7."""
    rows: list[Row] = [_MSH, (f"{_PATIENT}.PID", _pid_fields(person))]
    values = [*_msh(envelope, "ORU", "R01", "ORU_R01"), *_pid(person)]
    if visit is not None:
        rows.append((f"{_PATIENT}.VISIT.PV1", _pv1_fields(visit)))
        values += _pv1(visit)
    rows.append((f"{_ORDER}.OBR", ((1, "1"), (2, "{}"), (3, "{}"), (4, "{}^{}^{}"), (7, "{}"), (22, "{}"), (25, "{}"))))
    values += [placer, filler, *panel, times.render(observed), times.render(envelope.sent), status]
    for number, result in enumerate(results, 1):
        row, filled = _obx(number, result)
        rows.append(row)
        values += filled
    return fill("ORU_R01", rows, values)


_PATIENT = "PATIENT_RESULT.PATIENT"
_ORDER = "PATIENT_RESULT.ORDER_OBSERVATION"


def _obx(number: int, result: Result) -> tuple[Row, list[str]]:
    """One OBX in a group of its own."""
    kind, parts = _value(result)
    values = [str(number), result.code, result.display, result.system, *parts]
    fields = [(1, "{}"), (2, kind), (3, "{}^{}^{}"), (5, "^".join("{}" for _ in parts))]
    for field, text, filled in (
        (6, "{}^{}^{}", [result.unit, result.unit, result.unit_system] if result.unit else []),
        (7, "{}", [result.reference_range] if result.reference_range else []),
        (8, "{}", [result.abnormal] if result.abnormal else []),
        (11, "{}", [result.status]),
        (14, "{}", [times.render(result.time)] if result.time else []),
        (17, "{}^{}^{}", [*result.method] if result.method else []),
    ):
        if filled:
            fields.append((field, text))
            values += filled
    return (f"{_ORDER}.+OBSERVATION.OBX", tuple(fields)), values


def _value(result: Result) -> tuple[str, list[str]]:
    """OBX-2 and the components of OBX-5."""
    if isinstance(result.value, Coded):
        return "CWE", [*result.value]
    if isinstance(result.value, str):
        return "ST", [result.value]
    shown = f"{result.value:.10g}"
    return ("SN", [result.comparator, shown]) if result.comparator else ("NM", [shown])


def mdm_t02(
    envelope: Envelope,
    person: Person,
    visit: Visit,
    *,
    document: str,
    kind: str,
    written: datetime,
    text: str,
    code: tuple[str, str, str] = ("11506-3", "Progress note", "LN"),
    completion: str = "AU",
) -> bytes:
    """MDM^T02: a document with its text, a TX line each. `document` is TXA-12, `kind` TXA-2 (HL7 table 0270)."""
    rows: list[Row] = [
        _MSH,
        ("EVN", ((1, "{}"), (2, "{}"))),
        ("PID", _pid_fields(person)),
        ("PV1", _pv1_fields(visit)),
        ("TXA", ((1, "1"), (2, "{}"), (3, "TX"), (4, "{}"), (12, "{}"), (17, "{}"), (19, "AV"))),
    ]
    values = [*_msh(envelope, "MDM", "T02", "MDM_T02"), "T02", times.render(envelope.sent), *_pid(person)]
    values += [*_pv1(visit), kind, times.render(written), document, completion]
    for number, line in enumerate(text.split("\n"), 1):
        rows.append(("OBX", ((1, "{}"), (2, "TX"), (3, "{}^{}^{}"), (5, "{}"), (11, "F"))))
        values += [str(number), *code, line]
    return fill("MDM_T02", rows, values)


_MSH: Row = (
    "MSH",
    (
        *((3, "{}"), (4, "{}"), (5, "{}"), (6, "{}"), (7, "{}"), (9, "{}^{}^{}"), (10, "{}"), (11, "{}")),
        *((12, VERSION), (18, "UNICODE UTF-8")),
    ),
)
_OID = re.compile(r"[012](\.\d+)+\Z", re.ASCII)
_OID = re.compile(r"[012](\.\d+)+\Z", re.ASCII)
_PV1: Row = (
    "PV1",
    ((1, "1"), (2, "{}"), (3, "{}^{}^{}^{}"), (19, "{}^^^{}^VN"), (36, "{}"), (44, "{}"), (45, "{}")),
)


def _msh(envelope: Envelope, code: str, event: str, structure: str) -> list[str]:
    return [
        *(envelope.sending_application, envelope.sending_facility),
        *(envelope.receiving_application, envelope.receiving_facility),
        *(times.render(envelope.sent), code, event, structure, envelope.control_id, envelope.processing_id),
    ]


def _pid_fields(person: Person) -> tuple[tuple[int, str], ...]:
    number = f"{{}}^^^{_assigner(person.authority)}^{{}}"
    return (1, "1"), (3, number), (5, "{}^{}" if _is_named(person) else _UNNAMED), (7, "{}"), (8, "{}")


_UNNAMED = "^^^^^^U"  # HL7 table 0200: unspecified


def _is_named(person: Person) -> bool:
    return bool(person.family or person.given)


def _assigner(authority: str) -> str:
    """CX.4 (HD): `NAMESPACE`, `&1.2.3&ISO` or `&https://hosp.example&URI`."""
    if _OID.match(authority):
        return "&{}&ISO"
    return "&{}&URI" if ":" in authority else "{}"


def _pid(person: Person) -> list[str]:
    birth = person.birth_date.replace("-", "")
    name = [person.family, person.given] if _is_named(person) else []
    return [person.number, person.authority, person.type, *name, birth, person.sex]


def _pv1_fields(visit: Visit) -> tuple[tuple[int, str], ...]:
    number = ((19, "{}^^^{}^VN"),) if visit.number else ()
    return (1, "1"), (2, "{}"), (3, "{}^{}^{}^{}"), *number, (36, "{}"), (44, "{}"), (45, "{}")


def _pv1(visit: Visit) -> list[str]:
    start = times.render(visit.start) if visit.start else ""
    end = times.render(visit.end) if visit.end else ""
    place = (visit.unit, visit.room, visit.bed, visit.facility)
    number = [visit.number, visit.number_authority or visit.facility] if visit.number else []
    return [visit.class_, *place, *number, visit.disposition, start, end]
