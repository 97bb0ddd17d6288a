"""One stay of a public data set, in Wardstream's terms: what the readers give, replay sends and training folds.

A stay's clock starts at `EPOCH`, the admission to the unit, since the public data sets have no dates. A birth
date is set half a year before the birthday that would fall on that day, so that the age in completed years is
the data set's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from services.domain.codes import BY_LOINC
from services.domain.events import (
    ClinicalEvent,
    Code,
    Encounter,
    EncounterStatus,
    Observation,
    Patient,
    Version,
    digest,
)
from services.domain.record import LOINC, PatientRecord, fold

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = Version(issued=1)


def course_of(outcome: str) -> str:
    """The name among the labels of how it went on, 0 to 1 and 1 for those with the outcome: a stay without it can have
    come near. Models learn from it beside the outcome and are never asked about it."""
    return f"{outcome}-course"


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement: hours after admission to the unit, LOINC code, value in `unit` (UCUM)."""

    hours: float
    loinc: str
    value: float
    unit: str

    @property
    def time(self) -> datetime:
        return moment(self.hours)


@dataclass(slots=True)
class Stay:
    """One patient's stay and what is to be predicted at which hours."""

    patient_id: str  # the data set's own
    source: str  # cinc2019, cinc2012, eicu
    birth_date: str | None
    sex: str | None
    unit: str | None
    admitted_hours: float  # admission to the hospital, in hours after that to the unit (not positive)
    results: list[Result]
    decisions: list[float]  # hours after admission to the unit at which a score is asked for
    labels: dict[str, NDArray[np.float32]] = field(
        default_factory=dict
    )  # by outcome and course, one per decision or NaN
    group: str = ""  # what must not be split: the hospital in eICU

    @property
    def decision_ms(self) -> list[int]:
        return [epoch_ms(h) for h in self.decisions]


def moment(hours: float) -> datetime:
    """The time so many hours after `EPOCH`, to the second (what an HL7 time stamp carries)."""
    return EPOCH + timedelta(seconds=round(hours * 3600))


def epoch_ms(hours: float) -> int:
    return round(moment(hours).timestamp() * 1000)


def birth_date(age_years: float) -> str | None:
    """ISO date of birth for an age in years at `EPOCH`; None for NaN or a negative age."""
    if not age_years >= 0:
        return None
    return (EPOCH - timedelta(days=365.2425 * (int(age_years) + 0.5))).date().isoformat()


def plausible(loinc: str, value: float) -> bool:
    """Whether the live normaliser would keep this value, which is in the canonical unit."""
    variable = BY_LOINC.get(loinc)
    return variable is None or variable.low <= value <= variable.high


def events(stay: Stay) -> Iterator[ClinicalEvent]:
    """The stay as clinical events, in time order: admission, then the results of each moment."""
    key = digest(stay.source, stay.patient_id, size=16)
    patient = Patient(id=key, version=FIRST, birth_date=stay.birth_date, sex=stay.sex)
    visit = Encounter(
        id=digest(key, "visit"),
        version=FIRST,
        status=EncounterStatus.IN_PROGRESS,
        class_="IMP",
        start=moment(stay.admitted_hours),
        unit=stay.unit,
        unit_since=EPOCH,
    )
    yield _event(key, "ADT^A01", EPOCH, [patient, visit])
    together: list[Observation] = []
    for number, result in enumerate(sorted(stay.results, key=lambda r: r.hours)):
        time = result.time
        if together and together[-1].time != time:
            yield _event(key, "ORU^R01", together[-1].time, together)
            together = []
        together.append(
            Observation(
                id=digest(key, str(number), result.loinc),
                version=FIRST,
                code=Code(LOINC, result.loinc),
                time=time,
                value=result.value,
                unit=result.unit,
            )
        )
    if together:
        yield _event(key, "ORU^R01", together[-1].time, together)


def _event(key: str, kind: str, occurred: datetime, facts: list) -> ClinicalEvent:  # type: ignore[type-arg]
    name = digest(key, kind, occurred.isoformat())
    return ClinicalEvent(event_id=name, patient=key, format="wardstream", type=kind, occurred=occurred, facts=facts)


def record_of(stay: Stay) -> PatientRecord:
    """The record that the whole stream gives for this stay, made by the same facts and the same fold."""
    record = PatientRecord(patient=digest(stay.source, stay.patient_id, size=16))
    for event in events(stay):
        fold(record, event)
    return record
