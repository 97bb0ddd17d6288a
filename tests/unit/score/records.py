"""Records for the tests of scoring."""

from datetime import UTC, datetime, timedelta

from services.bus.messages import RECEIVED_AT, Message
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
from services.domain.record import LOINC, PatientRecord, encode_record, fold

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
CODES = {
    "hr": ("8867-4", "/min"),
    "spo2": ("59408-5", "%"),
    "temp": ("8310-5", "Cel"),
    "sbp": ("8480-6", "mm[Hg]"),
    "rr": ("9279-1", "/min"),
    "lactate": ("2524-7", "mmol/L"),
}
WELL = {"hr": 70.0, "spo2": 98.0, "temp": 37.0, "sbp": 120.0, "rr": 16.0}
SICK = {"hr": 135.0, "spo2": 90.0, "temp": 39.2, "sbp": 85.0, "rr": 28.0}


def record(patient: str = "p1", hours: int = 3, values: dict[str, float] = WELL, age: int = 60) -> PatientRecord:
    """A patient of some hours' stay with one set of results each hour."""
    made = PatientRecord(patient=patient)
    facts: list = [
        Patient(id="patient", version=Version(), birth_date=str(2026 - age), sex="female"),
        Encounter(id="e", version=Version(), status=EncounterStatus.IN_PROGRESS, start=START, unit="MICU"),
    ]
    for hour in range(hours):
        for name, value in values.items():
            code, unit = CODES[name]
            facts.append(
                Observation(
                    id=digest(code, str(hour), size=8),
                    version=Version(),
                    code=Code(LOINC, code),
                    time=START + timedelta(hours=hour),
                    value=value,
                    unit=unit,
                )
            )
    event = ClinicalEvent(event_id="e", patient=patient, format="hl7v2", type="ORU^R01", occurred=START, facts=facts)
    fold(made, event)
    encode_record(made)
    return made


def message(value: bytes, offset: int = 0, partition: int = 0, key: str = "p1") -> Message:
    headers = {RECEIVED_AT: b"1700000000000"}
    return Message("patient.records", partition, offset, key.encode(), value, headers, 1_700_000_000_500)


def record_message(made: PatientRecord, offset: int = 0, partition: int = 0) -> Message:
    return message(encode_record(made), offset, partition, made.patient)
