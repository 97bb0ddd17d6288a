from datetime import timedelta

from services.domain.events import ClinicalEvent, Code, Condition, Encounter, EncounterStatus, Version
from services.domain.prediction import Outcome, Prediction, Risk
from services.monitor.stays import Stays
from tests.unit.strategies import T0, merge


def prediction(patient, hours, probability, outcome=Outcome.MORTALITY):
    return Prediction(
        prediction_id=f"{patient}-{hours}",
        patient=patient,
        record_version=f"{patient}-{hours}",
        as_of=T0 + timedelta(hours=hours),
        model="risk_fusion",
        model_version="1",
        risks=[Risk(outcome=outcome, probability=probability)],
    )


def event(patient, *facts):
    return ClinicalEvent(event_id="e", patient=patient, format="hl7v2", type="ADT^A03", occurred=T0, facts=list(facts))


def discharge(patient, disposition="home"):
    fact = Encounter(id="v", version=Version(), status=EncounterStatus.FINISHED, disposition=disposition)
    return event(patient, fact)


def sepsis(patient, hours):
    code = Code("http://hl7.org/fhir/sid/icd-10-cm", "A41.9")
    return event(patient, Condition(id="c", version=Version(), code=code, time=T0 + timedelta(hours=hours)))


def test_an_open_stay_is_not_counted():
    stays = Stays()
    stays.note_prediction(prediction("p", 1, 0.3))
    assert stays.labelled("risk_fusion", Outcome.MORTALITY) == ([], [])


def test_death_and_survival_label_every_prediction_of_their_stay():
    stays = Stays()
    for patient, risk in (("p", 0.9), ("q", 0.1)):
        stays.note_prediction(prediction(patient, 1, risk))
        stays.note_prediction(prediction(patient, 2, risk))
    stays.note_event(discharge("p", "expired"))
    stays.note_event(discharge("q"))
    assert stays.labelled("risk_fusion", Outcome.MORTALITY) == ([1, 1, 0, 0], [0.9, 0.9, 0.1, 0.1])


def test_sepsis_labels_the_six_hours_before_onset_and_leaves_out_what_comes_long_after():
    stays = Stays()
    for hours in (3, 4, 10, 13, 14):
        stays.note_prediction(prediction("p", hours, hours / 100, Outcome.SEPSIS_6H))
    stays.note_event(sepsis("p", 10))
    stays.note_event(discharge("p"))
    assert stays.labelled("risk_fusion", Outcome.SEPSIS_6H) == ([0, 1, 1, 1], [0.03, 0.04, 0.1, 0.13])


def test_a_cancelled_discharge_opens_the_stay_again():
    stays = Stays()
    stays.note_prediction(prediction("p", 1, 0.3))
    stays.note_event(discharge("p", "expired"))
    stays.note_event(event("p", Encounter(id="v", version=Version(), status=EncounterStatus.IN_PROGRESS)))
    stays.note_event(discharge("p"))
    assert stays.labelled("risk_fusion", Outcome.MORTALITY) == ([0], [0.3])


def test_how_the_patient_left_the_stay_before_labels_nobody_after_a_readmission():
    stays = Stays()
    stays.note_prediction(prediction("p", 1, 0.3))
    stays.note_event(discharge("p"))
    stays.note_event(event("p", Encounter(id="v", version=Version(), status=EncounterStatus.IN_PROGRESS, end=None)))
    assert stays.labelled("risk_fusion", Outcome.MORTALITY) == ([], [])
    stays.note_event(event("p", Encounter(id="v", version=Version(), status=EncounterStatus.FINISHED)))
    assert stays.labelled("risk_fusion", Outcome.MORTALITY) == ([], [])
    stays.note_event(discharge("p", "expired"))
    assert stays.labelled("risk_fusion", Outcome.MORTALITY) == ([1], [0.3])


def test_a_repeat_of_a_prediction_counts_once():
    stays = Stays()
    stays.note_prediction(prediction("p", 1, 0.3))
    stays.note_prediction(prediction("p", 1, 0.3))
    stays.note_event(discharge("p"))
    assert stays.labelled("risk_fusion", Outcome.MORTALITY) == ([0], [0.3])


def test_a_merged_patient_s_predictions_get_the_survivor_s_outcome():
    stays = Stays()
    stays.note_prediction(prediction("a", 1, 0.3))
    stays.note_event(merge("a", "b", 1))
    stays.note_event(discharge("b", "expired"))
    assert stays.labelled("risk_fusion", Outcome.MORTALITY) == ([1], [0.3])


def test_memory_is_bounded_by_the_number_of_stays():
    stays = Stays(max_stays=3)
    for n in range(10):
        stays.note_prediction(prediction(f"p{n}", 1, 0.3))
    assert len(stays) == 3


def test_a_discharge_that_does_not_say_how_the_patient_left_is_no_survival():
    stays = Stays()
    stays.note_prediction(prediction("p", 1, 0.3))
    stays.note_event(discharge("p", None))
    assert stays.labelled("risk_fusion", Outcome.MORTALITY) == ([], [])


def test_merges_of_merged_and_of_surviving_numbers_keep_one_stay():
    stays = Stays()
    for old, into in (("b", "c"), ("a", "b"), ("c", "a"), ("a", "b")):
        stays.note_event(merge(old, into, 1))
    for patient in "abc":
        stays.note_prediction(prediction(patient, ord(patient), 0.3))
    stays.note_event(discharge("a", "expired"))
    assert stays.labelled("risk_fusion", Outcome.MORTALITY) == ([1, 1, 1], [0.3, 0.3, 0.3])
