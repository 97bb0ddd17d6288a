import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.board import Board
from services.deliver.rows import age_years
from services.deliver.views import patient_view
from services.domain.prediction import MISSING, Status
from services.domain.record import PatientRecord, encode_record
from tests.unit.deliver.support import board, observation, prediction, record, version_of
from tests.unit.strategies import T0


def view(made, patient="p"):
    return patient_view(*made.patient(patient), made.row(patient))


def test_a_row_says_where_the_patient_is_how_old_and_what_the_risks_are():
    row = board(prediction()).row("p")
    assert (row["unit"], row["age"], row["sex"], row["present"]) == ("ICU", 75, "female", True)
    assert row["risks"][0]["probability"] == 0.4


def test_nothing_that_leaves_for_the_page_holds_an_identifier_or_a_note_s_text():
    made = board(prediction())
    content = msgspec.json.encode([made.rows(), view(made)]).decode()
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
    made = board(
        prediction(hours=5, probability=0.5), prediction(hours=2, probability=0.9), facts=[observation(5, 80.0)]
    )
    assert made.row("p")["risks"][0]["probability"] == 0.5
    (course,) = view(made)["courses"]
    assert [point[1] for point in course["points"]] == [0.9, 0.5]


def test_a_scored_risk_is_shown_before_an_indeterminate_one_of_the_same_moment():
    made = board(prediction(), prediction(model="a_model", status=Status.INDETERMINATE))
    assert made.row("p")["risks"][0]["model"] == "risk_fusion"


def test_a_merged_record_leaves_the_board():
    made = board(prediction())
    tombstone = PatientRecord(patient="p", merged_into="q")
    made.take_record(encode_record(tombstone))
    assert made.rows() == []
    assert made.survivor("p") == "q"
    made.take_prediction(prediction(hours=3))  # an answer on its way when the merge came
    assert made.rows() == []
    assert made.prediction("p1risk-fusion").superseded_by == "q"


def test_a_chain_of_merges_ends_and_a_circle_of_them_does_too():
    made = Board()
    for old, new in (("a", "b"), ("b", "c"), ("x", "y"), ("y", "x")):
        made.take_record(encode_record(PatientRecord(patient=old, merged_into=new)))
    assert made.survivor("a") == "c"
    assert made.survivor("x") in ("x", "y")


def test_shadow_and_superseded_predictions_are_not_shown():
    made = board(prediction(shadow=True), prediction(superseded_by="q"))
    assert made.row("p")["risks"] == []


def test_simulated_patients_are_labelled():
    assert board(authority="SYNTHETIC").row("p")["synthetic"]
    assert not board().row("p")["synthetic"]


def test_when_the_newest_result_is_withdrawn_the_answer_for_what_is_left_shows():
    left, whole = record(), record(facts=[observation(5, 190.0)])
    withdrawn = record(facts=[observation(5, 190.0), observation(5, None, rank=5, sequence=2)])
    made = Board()
    made.take_record(whole)
    made.take_prediction(prediction(hours=5, probability=0.9, record_version=version_of(whole)))
    assert made.row("p")["risks"][0]["probability"] == 0.9
    # The answer may come before the record that it is about: they are different topics.
    answer = prediction(hours=1, probability=0.3, record_version=version_of(withdrawn))
    for order in ((withdrawn, answer), (answer, withdrawn)):
        for value in order:
            (made.take_record if value is withdrawn else made.take_prediction)(value)
        assert made.row("p")["risks"][0]["probability"] == 0.3
        assert [p[1] for p in made.row("p")["risks"][0]["trend"]] == [0.3]
        assert 190.0 not in [p[1] for s in view(made)["series"] for p in s["points"]]
    assert version_of(left) != version_of(withdrawn)


def test_a_fallback_score_goes_when_the_model_has_answered_and_stands_while_it_is_away():
    made = board(prediction(hours=1), prediction(hours=2, model="news2", status=Status.FALLBACK))
    assert [risk["outcome"] for risk in made.row("p")["risks"]] == ["deterioration", "mortality"]
    assert made.row("p")["urgency"] == 0.4 / 0.2
    made.take_prediction(prediction(hours=2))
    assert [risk["outcome"] for risk in made.row("p")["risks"]] == ["mortality"]


@given(st.permutations(range(7)))
def test_the_board_is_the_same_whatever_the_order_of_the_answers(order):
    values = [prediction(hours=n % 5, probability=(n % 5 + 1) / 10) for n in range(7)]
    made = board(facts=[observation(6, 90.0)])
    for n in order:
        made.take_prediction(values[n])
    assert made.row("p")["risks"][0]["probability"] == 0.5
    assert [point[1] for point in view(made)["courses"][0]["points"]] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_drivers_have_names_and_units_that_people_read():
    (why,) = view(board(prediction()))["explanations"]
    assert why["modalities"][0]["label"] == "Vitals and labs"
    assert [(f["label"], f["unit"], f["observed"]) for f in why["features"]] == [
        ("Heart rate", "/min", 88.0),
        ("Leukocytes", "×10³/µL", MISSING),
        ("Lactate", "mmol/L", 1.1),
    ]


def test_one_chart_has_one_unit_and_text_results_are_not_plotted():
    odd = [
        observation(2, 5.0, code="33959-8", unit="ng/mL"),
        observation(3, 7.0, code="33959-8", unit="ng/mL"),
        observation(1, 7000.0, code="33959-8", unit="ng/L"),
        observation(4, "Mrs Secret was seen", code="11506-3", unit=""),
    ]
    series = {one["code"]: one for one in view(board(facts=odd))["series"]}
    assert [p[1] for p in series["33959-8"]["points"]] == [5.0, 7.0]
    assert series["33959-8"]["name"] == "Procalcitonin"
    assert "11506-3" not in series


def test_who_was_discharged_makes_room_before_who_is_there():
    made = Board(max_patients=3)
    for n, finished in enumerate((False, True, False, False)):
        made.take_record(record(f"p{n}", finished=finished))
    assert made.evicted() == ["p1"]
    assert made.evicted() == []
    assert made.row("p0")


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
    assert age_years("not a date", at) is None
