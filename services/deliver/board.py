"""What the page knows: the newest record and predictions of each patient, in memory, bounded; no I/O."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

import msgspec

from services.deliver.rows import present, row_of
from services.domain.events import Identifier
from services.domain.prediction import Outcome, Prediction, Risk, Status
from services.domain.record import Cell, PatientRecord, decode_record

MAX_PATIENTS = 5000  # the discharged and then the least recently touched go first
MAX_HISTORY = 500  # points of one model and outcome
MAX_PREDICTIONS = 20_000  # kept to be asked for by id; about 3 KB each
MAX_MERGED = 20_000  # forwarding marks, old key -> surviving key
EVICTION_LOOK = 100  # oldest patients among which a discharged one is looked for

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
_PREDICTION = msgspec.json.Decoder(Prediction)


class Point(msgspec.Struct, array_like=True):
    """One moment of a risk's course: epoch ms, probability (or null), NEWS2 points (or null), alert, status."""

    as_of: int
    probability: float | None
    score: float | None
    alert: bool
    status: str


class Entry:
    """One patient on the board. `latest` is the answer to show of each model, `last` the one that came last."""

    __slots__ = ("head", "history", "last", "latest", "predictions", "record")

    def __init__(self) -> None:
        self.record = b""
        self.head: Head | None = None
        self.latest: dict[str, Prediction] = {}
        self.last: dict[str, Prediction] = {}
        self.history: dict[tuple[Outcome, str], deque[Point]] = {}
        self.predictions: deque[str] = deque(maxlen=MAX_HISTORY)  # ids, in the order of arrival

    def rank(self, prediction: Prediction) -> tuple[bool, float]:
        """What is about the record as it stands comes first, then the newest.

        The first matters when a result is withdrawn: the record's newest moment then moves back.
        """
        stands = self.head is not None and prediction.record_version == self.head.record_version
        return stands, prediction.as_of.timestamp()

    def put_head(self, head: Head, record: bytes) -> None:
        self.head, self.record = head, record
        for model, last in self.last.items():  # it may have come before the record that it is about
            if self.rank(last) >= self.rank(self.latest[model]):
                self.latest[model] = last

    def put_prediction(self, prediction: Prediction) -> None:
        model, as_of = prediction.model, round(prediction.as_of.timestamp() * 1000)
        self.last[model] = prediction
        if model not in self.latest or self.rank(prediction) >= self.rank(self.latest[model]):
            self.latest[model] = prediction
        for risk in prediction.risks:
            course = self.history.setdefault((risk.outcome, model), deque(maxlen=MAX_HISTORY))
            _insert(course, Point(as_of, risk.probability, risk.score, risk.alert, risk.status))
        if prediction.prediction_id not in self.predictions:
            self.predictions.append(prediction.prediction_id)

    def course(self, outcome: Outcome, model: str) -> list[Point]:
        """A risk over time, up to the record's newest moment: later ones were withdrawn with their results."""
        until = self.head.as_of if self.head else 0
        return [point for point in self.history.get((outcome, model), ()) if point.as_of <= until]

    def risks(self) -> Iterator[tuple[Prediction, Risk]]:
        """For each outcome the risk to show: the newest; at the same moment a scored one before the others.

        A fallback score goes once a model has answered for that moment or a later one.
        """
        best: dict[Outcome, tuple[Any, Prediction, Risk]] = {}
        answered = max((p.as_of for p in self.latest.values() if not _is_fallback(p)), default=None)
        for prediction in self.latest.values():
            if _is_fallback(prediction) and answered is not None and answered >= prediction.as_of:
                continue
            for risk in prediction.risks:
                rank = (prediction.as_of, _PRECEDENCE[risk.status], prediction.model)
                if risk.outcome not in best or rank > best[risk.outcome][0]:
                    best[risk.outcome] = (rank, prediction, risk)
        for outcome in sorted(best):
            yield best[outcome][1], best[outcome][2]


class Board:
    """All patients, the most recently touched last."""

    def __init__(self, max_patients: int = MAX_PATIENTS) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._predictions: OrderedDict[str, bytes] = OrderedDict()
        self._merged: OrderedDict[str, str] = OrderedDict()
        self._max = max_patients
        self._evicted: list[str] = []

    def __len__(self) -> int:
        return len(self._entries)

    def take_record(self, value: bytes) -> str:
        """Keep a record's bytes; returns the patient key. A record that was merged into another leaves the board."""
        head = _HEAD.decode(value)
        if head.merged_into:
            self._entries.pop(head.patient, None)
            self._merged[head.patient] = head.merged_into
            if len(self._merged) > MAX_MERGED:
                self._merged.popitem(last=False)
        else:
            self._merged.pop(head.patient, None)
            self._entry(head.patient).put_head(head, value)
        return head.patient

    def take_prediction(self, value: bytes) -> str:
        """Keep a prediction; returns the patient key. Shadow ones and those of superseded records do not show."""
        prediction = _PREDICTION.decode(value)
        if prediction.shadow:
            return prediction.patient
        self._predictions[prediction.prediction_id] = value
        if len(self._predictions) > MAX_PREDICTIONS:
            self._predictions.popitem(last=False)
        if not prediction.superseded_by and prediction.patient not in self._merged:
            self._entry(prediction.patient).put_prediction(prediction)
        return prediction.patient

    def evicted(self) -> list[str]:
        """Patients that had to make room since the last call."""
        gone, self._evicted = self._evicted, []
        return gone

    def survivor(self, patient: str) -> str:
        """The key that a patient's record goes by now, after all merges."""
        seen = {patient}
        while patient in self._merged and self._merged[patient] not in seen:
            patient = self._merged[patient]
            seen.add(patient)
        return patient

    def row(self, patient: str) -> dict[str, Any] | None:
        """One line of the ward list; None while the patient's record has not been seen."""
        entry = self._entries.get(patient)
        return row_of(entry) if entry and entry.head else None

    def rows(self) -> list[dict[str, Any]]:
        """The ward list: present patients by their highest risk, then those who have left."""
        rows = [row for row in map(self.row, list(self._entries)) if row]
        return sorted(rows, key=lambda row: (not row["present"], -row["urgency"], row["patient"]))

    def patient(self, patient: str) -> tuple[PatientRecord, Entry] | None:
        """The decoded record and the entry; None when it is not on the board."""
        entry = self._entries.get(patient)
        return (decode_record(entry.record), entry) if entry and entry.head else None

    def identifiers(self, patient: str) -> list[Identifier]:
        """The hospital's own identifiers of a patient: for the hospital's systems, never for the page."""
        entry = self._entries.get(patient)
        return list(entry.head.identifiers) if entry and entry.head else []

    def latest(self, patient: str) -> list[tuple[Prediction, Risk]]:
        """The risks that stand for a patient now."""
        entry = self._entries.get(patient)
        return list(entry.risks()) if entry else []

    def prediction(self, prediction_id: str) -> Prediction | None:
        """A prediction by its id, marked superseded when its record has been merged since; None when not known."""
        value = self._predictions.get(prediction_id)
        if value is None:
            return None
        prediction = _PREDICTION.decode(value)
        now = self.survivor(prediction.patient)
        return msgspec.structs.replace(prediction, superseded_by=now) if now != prediction.patient else prediction

    def predictions(self, patient: str) -> list[Prediction]:
        """All that are known of a patient, newest event time first."""
        entry = self._entries.get(patient)
        found = [p for p in map(self.prediction, entry.predictions if entry else ()) if p]
        return sorted(found, key=lambda p: (p.as_of, p.prediction_id), reverse=True)

    def _entry(self, patient: str) -> Entry:
        entry = self._entries.get(patient)
        if entry is None:
            entry = self._entries[patient] = Entry()
            if len(self._entries) > self._max:
                self._evict()
        self._entries.move_to_end(patient)
        return entry

    def _evict(self) -> None:
        oldest = [key for key, _ in zip(self._entries, range(EVICTION_LOOK), strict=False)][: self._max]
        gone = next((key for key in oldest if not _is_present(self._entries[key])), oldest[0])
        del self._entries[gone]
        self._evicted.append(gone)


def _is_present(entry: Entry) -> bool:
    return entry.head is None or present(entry.head.encounters)


def _is_fallback(prediction: Prediction) -> bool:
    return bool(prediction.risks) and all(risk.outcome is Outcome.DETERIORATION for risk in prediction.risks)


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
