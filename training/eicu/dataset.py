"""Stays as the rest of the project sees patients: clinical events, records folded from them, notes and outcomes.

    stays = load_stays(Path("eicu"))                     # one `Stay` per unit stay, in order of stay id
    record = stay.record(embeddings=encoder(stay))       # what serving would hold 24 h after unit admission
    inputs = model_inputs(record, AS_OF_MS)

`stay.hospital` is the group to split by, `stay.patient` the one to bootstrap by, `stay.death` the label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path

from services.domain.codes import BY_LOINC
from services.domain.events import (
    AnyFact,
    ClinicalEvent,
    Code,
    Document,
    Embedding,
    Encounter,
    EncounterStatus,
    Observation,
    Patient,
    Version,
    digest,
)
from services.domain.record import LOINC, PatientRecord, fold
from training.eicu.cohort import read_cohort
from training.eicu.documents import Note, read_notes
from training.eicu.observations import read_observations
from training.eicu.tables import CUT_MINUTES

ADMITTED = datetime(2014, 7, 1, tzinfo=UTC)
"""eICU gives minutes from unit admission, no dates: every stay is put here. A year of birth is read as its 1 July."""

AS_OF = ADMITTED + timedelta(minutes=CUT_MINUTES)
AS_OF_MS = round(AS_OF.timestamp() * 1000)
V = Version()


@dataclass(frozen=True)
class Stay:
    """One unit stay as it was known 24 h after unit admission, and what became of the patient."""

    stay: int
    patient: str
    hospital: int
    death: bool
    course: float
    age: float
    sex: str
    ethnicity: str
    unit: str
    apache_iva: float  # published prediction or NaN; to compare with and to learn from, never an input
    facts: list[AnyFact] = field(repr=False)
    notes: list[Note] = field(repr=False)

    @property
    def key(self) -> str:
        """Patient key of the record: one record per stay, so that nothing of another stay leaks in."""
        return digest("eicu", str(self.stay), size=16)

    def record(self, embeddings: Sequence[Embedding] = ()) -> PatientRecord:
        """The record that these facts, and the notes' embeddings, fold to."""
        record = PatientRecord(patient=self.key)
        facts: list[AnyFact] = [*self.facts, *embeddings]
        event = ClinicalEvent(
            event_id=self.key, patient=self.key, format="wardstream", type="eicu", occurred=AS_OF, facts=facts
        )
        fold(record, event)
        return record

    def embedding(self, note: Note, vector: Sequence[float], model: str, version: str) -> Embedding:
        """The fact by which a note's vector reaches the record."""
        source = _note_id(self.stay, note)
        return Embedding(
            id=digest(source, model),
            version=V,
            of=source,
            modality="note",
            time=_at(note.minutes),
            model=model,
            model_version=version,
            vector=[float(v) for v in vector],
        )


def load_stays(folder: Path) -> list[Stay]:
    """All stays of the cohort (see `read_cohort`). Raises FileNotFoundError where there is no patient table."""
    cohort = read_cohort(folder)
    notes = read_notes(folder, cohort)
    observations = dict(list(read_observations(folder, cohort).groupby("stay", sort=True)))
    stays = []
    for row in cohort.itertuples():
        number = int(row.Index)
        facts: list[AnyFact] = [_patient(number, row), _encounter(number, row)]
        found = observations.get(number)
        if found is not None:
            facts += [
                _observation(number, int(m), code, float(value), source)
                for m, code, value, source in zip(
                    found["minutes"], found["loinc"], found["value"], found["source"], strict=True
                )
            ]
        facts += [_document(number, note) for note in notes[number]]
        stays.append(
            Stay(
                number,
                str(row.patient),
                int(row.hospital),
                bool(row.death),
                float(row.course),
                float(row.age),
                row.sex if isinstance(row.sex, str) else "unknown",
                str(row.ethnicity),
                str(row.unit),
                float(row.apache_iva),
                facts,
                notes[number],
            )
        )
    return stays


def _at(minutes: int) -> datetime:
    return ADMITTED + timedelta(minutes=minutes)


def _patient(stay: int, row: object) -> Patient:
    age, sex = float(row.age), row.sex  # type: ignore[attr-defined]
    born = None if isnan(age) else f"{ADMITTED.year - int(age):04d}"
    return Patient(
        id=digest("patient", str(stay)), version=V, birth_date=born, sex=sex if isinstance(sex, str) else None
    )


def _encounter(stay: int, row: object) -> Encounter:
    offset = min(0, int(row.admission_offset))  # type: ignore[attr-defined]
    return Encounter(
        id=digest("encounter", str(stay)),
        version=V,
        status=EncounterStatus.IN_PROGRESS,
        class_="IMP",
        start=_at(offset),
        unit_since=ADMITTED,
        unit=str(row.unit),  # type: ignore[attr-defined]
        facility=str(row.hospital),  # type: ignore[attr-defined]
    )


def _observation(stay: int, minutes: int, loinc: str, value: float, source: str) -> Observation:
    return Observation(
        id=digest(str(stay), source, loinc, str(minutes)),
        version=V,
        code=Code(LOINC, loinc),
        time=_at(minutes),
        value=value,
        unit=BY_LOINC[loinc].unit if loinc in BY_LOINC else "",
    )


def _note_id(stay: int, note: Note) -> str:
    return digest("note", str(stay), note.title)


def _document(stay: int, note: Note) -> Document:
    return Document(id=_note_id(stay, note), version=V, time=_at(note.minutes), title=note.title, text=note.text)
