"""Records and predictions for the tests of the page."""

from datetime import timedelta

import msgspec

from services.deliver.board import Board
from services.domain.events import (
    ClinicalEvent,
    Code,
    Document,
    Encounter,
    EncounterStatus,
    Identifier,
    Observation,
    Patient,
    Version,
)
from services.domain.identity import patient_key
from services.domain.prediction import MISSING, Contribution, ModalityState, Outcome, Prediction, Risk, Status
from services.domain.record import PatientRecord, decode_record, encode_record, fold
from tests.unit.strategies import T0

SECRET = b"secret"
MRN = "SECRET-MRN-1"


def record(patient="p", *, unit="ICU", finished=False, authority="HOSPITAL", number=MRN, facts=()):
    content = PatientRecord(patient=patient)
    status = EncounterStatus.FINISHED if finished else EncounterStatus.IN_PROGRESS
    known = [
        Patient(
            id="d",
            version=Version(),
            birth_date="1950-06-15",
            sex="female",
            identifiers=[Identifier(authority, number, "MR")],
        ),
        Encounter(id="v", version=Version(), unit=unit, start=T0, status=status),
        observation(1, 88.0),
        Document(id="n", version=Version(), time=T0, title="Progress note", text="Mrs Secret feels better"),
        *facts,
    ]
    event = ClinicalEvent(event_id="e", patient=patient, format="hl7v2", type="ADT^A01", occurred=T0, facts=known)
    fold(content, event)
    return encode_record(content)


def observation(hours, value, *, code="8867-4", unit="/min", rank=3, sequence=1):
    return Observation(
        id=f"o{code}{hours}",
        version=Version(rank=rank, sequence=sequence),
        code=Code("http://loinc.org", code),
        time=T0 + timedelta(hours=hours),
        value=value,
        unit=unit,
    )


def version_of(value):
    return decode_record(value).record_version


def prediction(patient="p", hours=1, probability=0.4, model="risk_fusion", status=Status.SCORED, **more):
    fallback = status is Status.FALLBACK
    risk = Risk(
        outcome=Outcome.DETERIORATION if fallback else Outcome.MORTALITY,
        status=status,
        probability=probability if status is Status.SCORED else None,
        threshold=None if fallback else 0.2,
        alert=status is Status.SCORED and probability >= 0.2,
        score=9.0 if fallback else None,
        reason="NEWS2" if fallback else "",
        modalities=[Contribution("series", 0.5)],
        features=[
            Contribution("heart_rate", 0.3, 88.0, 0.0),
            Contribution("wbc", 0.2, MISSING),
            Contribution("lactate", -0.1, 1.1, 2.0),
        ],
    )
    settings = {
        "prediction_id": f"{patient}{hours}{model}".replace("_", "-"),
        "patient": patient,
        "record_version": str(hours),
        "as_of": T0 + timedelta(hours=hours),
        "model": model,
        "model_version": "1",
        "risks": [risk],
        "modalities": [ModalityState(name="series", present=True, count=1), ModalityState(name="note", present=False)],
    }
    return msgspec.json.encode(Prediction(**{**settings, **more}))


def board(*predictions, **records):
    made = Board()
    made.take_record(record(**records))
    for one in predictions:
        made.take_prediction(one)
    return made


def hospital_board(number=MRN, authority="HOSPITAL", **more):
    """A board with one patient under the key that the hospital's number resolves to, and the key."""
    key = patient_key(authority, number, SECRET)
    return board(prediction(key, **more), patient=key, authority=authority, number=number), key
