"""Messages that we send: ADT, ORU, MDM (v2.5.1), by keyword; and risk predictions as an ORU for the hospital."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.domain.prediction import Prediction, Risk, Status
from services.formats.hl7v2 import times
from services.formats.hl7v2.skeleton import VERSION, Row, fill


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """MSH: who sends to whom, when, under which control id. `processing_id` T marks replayed and simulated data."""

    control_id: str
    sent: datetime
    sending_application: str = "WARDSTREAM"
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    processing_id: str = "P"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """PID: number within its authority, and what little else is sent."""

    number: str
    authority: str
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
    start: datetime | None = None
    end: datetime | None = None
    disposition: str = ""  # HL7 table 0112


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One OBX. A number is sent as NM, with its comparator as SN; a text as ST."""

    code: str
    display: str
    value: float | str
    unit: str = ""
    system: str = "LN"
    unit_system: str = "UCUM"
    comparator: str = ""
    time: datetime | None = None
    status: str = "F"
    abnormal: str = ""
    reference_range: str = ""


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
        _PID,
        _PV1,
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
    rows: list[Row] = [_MSH, (f"{_PATIENT}.PID", _PID[1])]
    values = [*_msh(envelope, "ORU", "R01", "ORU_R01"), *_pid(person)]
    if visit is not None:
        rows.append((f"{_PATIENT}.VISIT.PV1", _PV1[1]))
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
    numeric = not isinstance(result.value, str)
    kind, value = ("ST", "{}") if not numeric else ("SN", "{}^{}") if result.comparator else ("NM", "{}")
    shown = f"{result.value:.10g}" if numeric else str(result.value)
    values = [str(number), result.code, result.display, result.system]
    values += [result.comparator, shown] if kind == "SN" else [shown]
    fields = [(1, "{}"), (2, kind), (3, "{}^{}^{}"), (5, value)]
    for field, text, filled in (
        (6, "{}^{}^{}", [result.unit, result.unit, result.unit_system] if result.unit else []),
        (7, "{}", [result.reference_range] if result.reference_range else []),
        (8, "{}", [result.abnormal] if result.abnormal else []),
        (11, "{}", [result.status]),
        (14, "{}", [times.render(result.time)] if result.time else []),
    ):
        if filled:
            fields.append((field, text))
            values += filled
    return (f"{_ORDER}.+OBSERVATION.OBX", tuple(fields)), values


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
        _PID,
        _PV1,
        ("TXA", ((1, "1"), (2, "{}"), (3, "TX"), (4, "{}"), (12, "{}"), (17, "{}"), (19, "AV"))),
    ]
    values = [*_msh(envelope, "MDM", "T02", "MDM_T02"), "T02", times.render(envelope.sent), *_pid(person)]
    values += [*_pv1(visit), kind, times.render(written), document, completion]
    for number, line in enumerate(text.split("\n"), 1):
        rows.append(("OBX", ((1, "{}"), (2, "TX"), (3, "{}^{}^{}"), (5, "{}"), (11, "F"))))
        values += [str(number), *code, line]
    return fill("MDM_T02", rows, values)


RISK_PANEL = ("97505-0", "Clinical risk assessment", "LN")
"""OBR-4 of predictions: LOINC's name for a set of risk assessment findings."""

_RISK_SYSTEM = "99WARDSTREAM"


def risk_oru(envelope: Envelope, person: Person, prediction: Prediction, *, visit: Visit | None = None) -> bytes:
    """A prediction for the hospital's own systems: one OBX per outcome.

    A calibrated risk is an NM in %, a fallback score an NM; what the model would not judge is sent without a value,
    status X (cannot be obtained), its reason in OBX-8's place as text, so that nobody reads silence as safety.
    """
    results = [_risk(risk, prediction) for risk in prediction.risks]
    return oru_r01(
        envelope,
        person,
        results,
        filler=prediction.prediction_id,
        panel=RISK_PANEL,
        observed=prediction.as_of,
        visit=visit,
    )


def _risk(risk: Risk, prediction: Prediction) -> Result:
    name = f"Risk of {risk.outcome} by {prediction.model} {prediction.model_version}"
    if risk.status is Status.SCORED and risk.probability is not None:
        flag = "H" if risk.alert else "N"
        value = round(100 * risk.probability, 2)
        return Result(
            code=risk.outcome,
            display=name,
            value=value,
            unit="%",
            system=_RISK_SYSTEM,
            abnormal=flag,
            time=prediction.as_of,
        )
    if risk.status is Status.FALLBACK and risk.score is not None:
        display = f"{risk.outcome}: fallback score, {risk.reason}"
        return Result(
            code=f"{risk.outcome}-fallback",
            display=display,
            value=risk.score,
            unit="{score}",
            system=_RISK_SYSTEM,
            abnormal="H" if risk.alert else "N",
            time=prediction.as_of,
        )
    text = f"{risk.status}: {risk.reason}" if risk.reason else str(risk.status)
    return Result(code=risk.outcome, display=name, value=text, system=_RISK_SYSTEM, status="X", time=prediction.as_of)


_MSH: Row = (
    "MSH",
    (
        *((3, "{}"), (4, "{}"), (5, "{}"), (6, "{}"), (7, "{}"), (9, "{}^{}^{}"), (10, "{}"), (11, "{}")),
        *((12, VERSION), (18, "UNICODE UTF-8")),
    ),
)
_PID: Row = ("PID", ((1, "1"), (3, "{}^^^{}^MR"), (5, "{}^{}"), (7, "{}"), (8, "{}")))
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


def _pid(person: Person) -> list[str]:
    birth = person.birth_date.replace("-", "")
    return [person.number, person.authority, person.family, person.given, birth, person.sex]


def _pv1(visit: Visit) -> list[str]:
    start = times.render(visit.start) if visit.start else ""
    end = times.render(visit.end) if visit.end else ""
    place = (visit.unit, visit.room, visit.bed, visit.facility)
    return [visit.class_, *place, visit.number, visit.facility if visit.number else "", visit.disposition, start, end]
