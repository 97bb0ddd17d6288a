"""What the page knows: the newest record and predictions of each patient, in memory, bounded; no I/O."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.domain.events import Identifier
from services.domain.prediction import Outcome, Prediction, Risk, Status
from services.domain.record import Cell, PatientRecord, decode_record, epoch_ms

MAX_PATIENTS = 5000  # the least recently touched go first
MAX_HISTORY = 500  # points of one model and outcome
SYNTHETIC = "SYNTHETIC"
"""Assigning authority of simulated patients: their rows are labelled wherever they show."""

_PRECEDENCE = {Status.SCORED: 3, Status.INDETERMINATE: 2, Status.FALLBACK: 1, Status.SUPERSEDED: 0}


class Head(msgspec.Struct):
    """The few fields of a record that the ward list needs; the rest of its bytes is not decoded."""

    patient: str
    record_version: str = ""
    as_of: int = 0
    merged_into: str = ""
    identifiers: list[Identifier] = []
    demographics: dict[str, Cell] = {}
    encounters: dict[str, dict[str, Cell]] = {}


_HEAD = msgspec.json.Decoder(Head)


class Point(msgspec.Struct, array_like=True):
    """One moment of a risk's course: epoch ms, probability (or null), NEWS2 points (or null), alert."""

    as_of: int
    probability: float | None
    score: float | None
    alert: bool
    status: str


class Entry:
    """One patient on the board."""

    __slots__ = ("head", "history", "latest", "record")

    def __init__(self) -> None:
        self.record = b""
        self.head: Head | None = None
        self.latest: dict[str, Prediction] = {}  # by model
        self.history: dict[tuple[Outcome, str], deque[Point]] = {}


class Board:
    """All patients, newest last."""

    def __init__(self, max_patients: int = MAX_PATIENTS) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._max = max_patients

    def __len__(self) -> int:
        return len(self._entries)

    def take_record(self, value: bytes) -> str | None:
        """Keep a record's bytes; returns the patient key whose row changed, None when it left the board."""
        head = _HEAD.decode(value)
        if head.merged_into:
            self._entries.pop(head.patient, None)
            return None
        entry = self._entry(head.patient)
        entry.record, entry.head = value, head
        return head.patient

    def take_prediction(self, prediction: Prediction) -> str | None:
        """Keep a prediction; returns the patient key whose row changed, None when there is none to change."""
        if prediction.superseded_by or prediction.shadow:
            return None
        entry = self._entry(prediction.patient)
        newest = entry.latest.get(prediction.model)
        if newest is None or prediction.as_of >= newest.as_of:
            entry.latest[prediction.model] = prediction
        as_of = round(prediction.as_of.timestamp() * 1000)
        for risk in prediction.risks:
            course = entry.history.setdefault((risk.outcome, prediction.model), deque(maxlen=MAX_HISTORY))
            _insert(course, Point(as_of, risk.probability, risk.score, risk.alert, risk.status))
        return prediction.patient

    def row(self, patient: str) -> dict[str, Any] | None:
        """One line of the ward list; None while the patient's record has not been seen."""
        entry = self._entries.get(patient)
        return _row(entry) if entry and entry.head else None

    def rows(self) -> list[dict[str, Any]]:
        """The ward list: present patients by their highest risk, then those who have left."""
        rows = [row for row in map(self.row, list(self._entries)) if row]
        return sorted(rows, key=lambda row: (not row["present"], -row["urgency"], row["patient"]))

    def patient(self, patient: str) -> tuple[PatientRecord, Entry] | None:
        """The decoded record and the entry; None when it is not on the board."""
        entry = self._entries.get(patient)
        return (decode_record(entry.record), entry) if entry and entry.head else None

    def _entry(self, patient: str) -> Entry:
        entry = self._entries.get(patient)
        if entry is None:
            entry = self._entries[patient] = Entry()
            if len(self._entries) > self._max:
                self._entries.popitem(last=False)
        self._entries.move_to_end(patient)
        return entry


def _insert(course: deque[Point], point: Point) -> None:
    """Keep the course in time order; the same moment again replaces its point (a corrected record)."""
    if course and course[-1].as_of == point.as_of:
        course[-1] = point
    elif not course or course[-1].as_of < point.as_of:
        course.append(point)
    else:
        merged = {p.as_of: p for p in course} | {point.as_of: point}
        course.clear()
        course.extend(merged[as_of] for as_of in sorted(merged))


def risks_of(entry: Entry) -> Iterator[tuple[Prediction, Risk]]:
    """For each outcome the risk to show: the newest; at the same moment a scored one before the others."""
    best: dict[Outcome, tuple[Any, Prediction, Risk]] = {}
    for prediction in entry.latest.values():
        for risk in prediction.risks:
            rank = (prediction.as_of, _PRECEDENCE[risk.status], prediction.model)
            if risk.outcome not in best or rank > best[risk.outcome][0]:
                best[risk.outcome] = (rank, prediction, risk)
    for outcome in sorted(best):
        yield best[outcome][1], best[outcome][2]


def _row(entry: Entry) -> dict[str, Any]:
    head = entry.head
    assert head is not None
    place = _place(head)
    risks = [
        {
            "outcome": risk.outcome,
            "status": risk.status,
            "probability": risk.probability,
            "score": risk.score,
            "alert": risk.alert,
            "threshold": risk.threshold,
            "reason": risk.reason,
            "model": prediction.model,
        }
        for prediction, risk in risks_of(entry)
    ]
    newest = max(entry.latest.values(), key=lambda p: p.as_of, default=None)
    return {
        "patient": head.patient,
        "record_version": head.record_version,
        "as_of": head.as_of,
        "sex": _value(head.demographics, "sex"),
        "age": age_years(_value(head.demographics, "birth_date"), head.as_of),
        **place,
        "source": head.identifiers[0].authority if head.identifiers else "",
        "synthetic": any(identifier.authority == SYNTHETIC for identifier in head.identifiers),
        "risks": risks,
        "urgency": max(map(_urgency, risks), default=0.0),
        "modalities": msgspec.to_builtins(newest.modalities) if newest else [],
    }


def _urgency(risk: dict[str, Any]) -> float:
    """How high a risk ranks its patient: the probability over its threshold, so that outcomes can be compared."""
    if risk["probability"] is not None:
        return float(risk["probability"] / risk["threshold"] if risk["threshold"] else risk["probability"])
    return float(risk["score"] or 0) / 7  # NEWS2: 7 and above is the emergency threshold (RCP 2017)


def _place(head: Head) -> dict[str, Any]:
    """Ward, bed and whether the patient is still there: of the encounter that began last."""
    encounters = [{name: cell.value for name, cell in cells.items()} for cells in head.encounters.values()]
    encounters = [e for e in encounters if e.get("status") != "cancelled"]
    newest = max(encounters, key=lambda e: epoch_ms(e.get("start")) or epoch_ms(e.get("unit_since")) or 0, default={})
    present = not newest or (newest.get("end") is None and newest.get("status") != "finished")
    return {
        "unit": newest.get("unit") or "",
        "bed": newest.get("bed") or "",
        "present": present,
        "disposition": newest.get("disposition") or "",
    }


def _value(cells: dict[str, Cell], name: str) -> Any:
    return cells[name].value if name in cells else None


def age_years(birth_date: str | None, as_of_ms: int) -> int | None:
    """Whole years from a birth date (ISO, as precise as known) to a moment; None when unknown."""
    if not birth_date or not as_of_ms:
        return None
    year, month, day = (int(part) for part in (*birth_date.split("-"), "1", "1")[:3])
    moment = datetime.fromtimestamp(as_of_ms / 1000, UTC)
    return moment.year - year - ((moment.month, moment.day) < (month, day))
