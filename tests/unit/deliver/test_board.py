from datetime import timedelta

import msgspec

from services.deliver.board import Board, age_years
from services.deliver.views import patient_view
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
from services.domain.prediction import Outcome, Prediction, Risk, Status
from services.domain.record import PatientRecord, encode_record, fold
from tests.unit.strategies import T0


def record(patient="p", *, unit="ICU", finished=False, authority="HOSPITAL"):
    content = PatientRecord(patient=patient)
    status = EncounterStatus.FINISHED if finished else EncounterStatus.IN_PROGRESS
    facts = [
        Patient(
            id="d",
            version=Version(),
            birth_date="1950-06-15",
            sex="female",
            identifiers=[Identifier(authority, "SECRET-MRN-1", "MR")],
        ),
        Encounter(id="v", version=Version(), unit=unit, start=T0, status=status),
        Observation(
            id="o",
            version=Version(),
            code=Code("http://loinc.org", "8867-4"),
            time=T0 + timedelta(hours=1),
            value=88.0,
            unit="/min",
        ),
        Document(id="n", version=Version(), time=T0, title="Progress note", text="Mrs Secret feels better"),
    ]
    event = ClinicalEvent(event_id="e", patient=patient, format="hl7v2", type="ADT^A01", occurred=T0, facts=facts)
    fold(content, event)
    return encode_record(content)


def prediction(patient="p", hours=1, probability=0.4, model="risk_fusion", status=Status.SCORED, **more):
    risk = Risk(
        outcome=Outcome.MORTALITY,
        status=status,
        probability=probability if status is Status.SCORED else None,
        threshold=0.2,
    )
    return Prediction(
        prediction_id=f"{patient}{hours}{model}",
        patient=patient,
        record_version=str(hours),
        as_of=T0 + timedelta(hours=hours),
        model=model,
        model_version="1",
        risks=[risk],
        **more,
    )


def board(*predictions, **records):
    made = Board()
    made.take_record(record(**records))
    for one in predictions:
        made.take_prediction(one)
    return made


def test_a_row_says_where_the_patient_is_how_old_and_what_the_risks_are():
    row = board(prediction()).row("p")
    assert (row["unit"], row["age"], row["sex"], row["present"]) == ("ICU", 75, "female", True)
    assert row["risks"][0]["probability"] == 0.4


def test_nothing_that_leaves_for_the_page_holds_an_identifier_or_a_note_s_text():
    made = board(prediction())
    content = msgspec.json.encode([made.rows(), patient_view(*made.patient("p"), made.row("p"))]).decode()
    assert "SECRET" not in content
    assert "feels better" not in content
    assert "Progress note" in content


def test_patients_come_by_urgency_and_those_who_left_come_last():
    made = Board()
    for name, risk, finished in (("low", 0.1, False), ("high", 0.9, False), ("gone", 0.95, True)):
        made.take_record(record(name, finished=finished))
        made.take_prediction(prediction(name, probability=risk))
    assert [row["patient"] for row in made.rows()] == ["high", "low", "gone"]


def test_a_late_answer_for_an_older_record_does_not_replace_the_newest():
    made = board(prediction(hours=5, probability=0.5), prediction(hours=2, probability=0.9))
    assert made.row("p")["risks"][0]["probability"] == 0.5
    (course,) = patient_view(*made.patient("p"), made.row("p"))["courses"]
    assert [point[1] for point in course["points"]] == [0.9, 0.5]


def test_a_scored_risk_is_shown_before_an_indeterminate_one_of_the_same_moment():
    made = board(prediction(), prediction(model="a_model", status=Status.INDETERMINATE))
    assert made.row("p")["risks"][0]["model"] == "risk_fusion"


def test_a_merged_record_leaves_the_board():
    made = board(prediction())
    tombstone = PatientRecord(patient="p", merged_into="q")
    assert made.take_record(encode_record(tombstone)) is None
    assert made.rows() == []


def test_shadow_and_superseded_predictions_are_not_shown():
    made = board(prediction(shadow=True), prediction(superseded_by="q"))
    assert made.row("p")["risks"] == []


def test_simulated_patients_are_labelled():
    assert board(authority="SYNTHETIC").row("p")["synthetic"]
    assert not board().row("p")["synthetic"]


def test_memory_is_bounded_by_the_number_of_patients():
    made = Board(max_patients=3)
    for n in range(9):
        made.take_record(record(f"p{n}"))
    assert len(made) == 3
    assert made.row("p8")


def test_age_is_in_whole_years_at_the_record_s_own_time():
    at = round(T0.timestamp() * 1000)  # 2026-03-01
    assert age_years("1950-03-01", at) == 76
    assert age_years("1950-03-02", at) == 75
    assert age_years("1950", at) == 76
    assert age_years(None, at) is None
