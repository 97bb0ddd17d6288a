"""The allow-list, the pseudonyms, the shifts and the ages, each by itself."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deidentify import facts, words
from services.deidentify.facts import FIELDS, KINDS
from services.deidentify.people import People
from services.deidentify.pseudonyms import Pseudonyms
from services.domain.events import (
    AnyFact,
    ClinicalEvent,
    Code,
    Embedding,
    Encounter,
    Merge,
    Observation,
    Original,
    Patient,
    Transfer,
    Version,
)
from services.domain.features.static import age_at, unit_kind
from tests.unit.strategies import T0

NAMES = Pseudonyms(b"a secret of the tests", 365)
KEYS = st.text("0123456789abcdef", min_size=4, max_size=8)


def event(*told, patient="p", at=T0):
    return ClinicalEvent(event_id="e", patient=patient, format="hl7v2", type="ADT^A01", occurred=at, facts=list(told))


def born(date, patient="p", at=T0):
    return event(Patient(id="patient", version=Version(), birth_date=date), patient=patient, at=at)


def merge(old, into):
    return event(Merge(id="merge", version=Version(), into=into), patient=old)


def learnt(*told):
    people = People(NAMES)
    for one in told:
        people.learn(one)
    return people


def out(told, people=None):
    dropped = []
    found = facts.deidentified(told, people or learnt(told), NAMES, False, dropped.append)
    return found.facts, dropped


def test_every_field_of_every_fact_has_its_rule():
    for kind in KINDS:
        assert set(FIELDS[kind]) == set(kind.__struct_fields__), kind.__name__
    assert set(FIELDS) == set(KINDS)
    every = set(AnyFact.__args__)
    assert every - set(KINDS) == {Embedding, Transfer}, "decide what becomes of a new kind of fact"


def test_a_fact_that_recorded_traffic_does_not_give_is_left_out():
    told = Embedding(
        id="x", version=Version(), of="d", modality="note", time=T0, model="m", model_version="1", vector=[1.0]
    )
    assert out(event(told)) == ([], ["not_recorded_traffic"])


@given(KEYS, st.integers(1, 500))
def test_a_shift_is_of_whole_days_within_its_bound_and_never_none(key, days):
    shift = Pseudonyms(b"a secret of the tests", days).shift(key)
    assert 1 <= abs(shift) <= days


def test_shifts_use_their_whole_range():
    shifts = {Pseudonyms(b"a secret of the tests", 3).shift(str(n)) for n in range(200)}
    assert shifts == {-3, -2, -1, 1, 2, 3}


@given(st.lists(st.tuples(KEYS, KEYS), max_size=12), st.randoms())
def test_merged_numbers_move_by_the_same_days_whatever_the_order(pairs, shuffled):
    merges = [merge(*pair) for pair in pairs]
    people = learnt(*merges)
    for old, into in pairs:
        assert people.shift(old) == people.shift(into)
    again = list(merges)
    shuffled.shuffle(again)
    other = learnt(*again)
    assert all(people.shift(key) == other.shift(key) for pair in pairs for key in pair)


@given(st.integers(0, 120 * 365))
def test_nobody_is_shown_older_than_about_ninety_and_younger_ages_stay(days):
    date = (T0 - timedelta(days=days)).date().isoformat()
    told = born(date)
    people = learnt(told)
    shown = people.birth_date("p", date)
    moved = round((T0 + people.shift("p")).timestamp() * 1000)
    age = age_at(date, round(T0.timestamp() * 1000))
    if age > 89:
        assert len(shown) == 4
        assert 90 <= age_at(shown, moved) <= 91
    else:
        assert age_at(shown, moved) == age
        assert shown != date


def test_who_grows_older_than_89_during_the_recording_never_shows_an_exact_birth_date():
    early, late = born("1930-01-05", at=datetime(2019, 1, 1, tzinfo=UTC)), event(at=datetime(2021, 1, 1, tzinfo=UTC))
    shown = learnt(early, late).birth_date("p", "1930-01-05")
    assert len(shown) == 4


@pytest.mark.parametrize("date", ["1963", "1963-08", "1963-08-15"])
def test_a_birth_date_stays_as_precise_as_it_was(date):
    assert len(learnt(born(date)).birth_date("p", date)) == len(date)


def test_the_kind_of_a_ward_stays_and_its_name_does_not():
    told = Encounter(id="v", version=Version(), unit="MICU Dr Zqxvjk", room="12", bed="B", facility="Zqxvjk General")
    (found,), _ = out(event(told))
    assert unit_kind(found.unit) == unit_kind(told.unit) == "unit_medical"
    assert "Zqx" not in repr(found)
    assert found.room is found.bed is found.facility is msgspec.UNSET


def test_an_explicit_null_stays_one():
    (found,), _ = out(event(Patient(id="patient", version=Version(), birth_date=None, deceased_at=None)))
    assert found.birth_date is None
    assert found.deceased_at is None


def test_results_of_one_encounter_still_name_it():
    visit = Encounter(id="v1", version=Version())
    result = Observation(
        id="o",
        version=Version(),
        code=Code("http://loinc.org", "8867-4"),
        time=T0,
        value=72.0,
        unit="/min",
        encounter="v1",
        original=Original("Zqxvjk"),
    )
    (one, other), _ = out(event(visit, result))
    assert one.id == other.encounter != "v1"
    assert other.original == Original()


def test_one_secret_gives_the_same_names_and_another_gives_others():
    told = event(Encounter(id="v1", version=Version(), unit="7 West"))
    one = facts.deidentified(told, learnt(told), NAMES, False, lambda _: None)
    again = facts.deidentified(told, learnt(told), NAMES, False, lambda _: None)
    others = Pseudonyms(b"another secret of the tests", 365)
    other = facts.deidentified(told, People(others), others, False, lambda _: None)
    assert one == again
    assert one.event_id != other.event_id
    assert one.facts[0].unit != other.facts[0].unit


def test_a_time_that_cannot_be_moved_takes_its_fact_along_and_no_other():
    far = datetime(1, 1, 1, tzinfo=UTC)
    told = event(Encounter(id="v", version=Version(), start=far, end=far), Encounter(id="w", version=Version()))
    for n in range(20):  # some patient's shift is backwards
        one = msgspec.structs.replace(told, patient=str(n))
        found, dropped = out(one)
        if dropped:
            assert dropped == ["impossible_time"]
            assert len(found) == 1
            return
    pytest.fail("no shift was backwards")


@pytest.mark.parametrize(
    ("value", "kept"), [(72.0, 72.0), (999_999.0, 999_999.0), (1e6, None), (7_305_519.0, None), (1.23456789, 1.234568)]
)
def test_long_numbers_of_codes_without_bounds_do_not_pass(value, kept):
    assert words.number(value, bounded=False) == kept


def test_codes_pass_by_the_form_and_check_digit_of_their_system():
    passing = [("http://loinc.org", "8867-4"), ("http://snomed.info/sct", "91302008")]
    passing += [
        ("http://hl7.org/fhir/sid/icd-10-cm", "A41.9"),
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "314231"),
    ]
    failing = [("http://loinc.org", "8867-5"), ("http://snomed.info/sct", "91302009"), ("HOSP", "GLU"), ("", "Smith")]
    failing += [("http://loinc.org", "Smith"), ("http://hl7.org/fhir/sid/icd-10-cm", "SMITH")]
    for system, code in passing:
        assert words.code(Code(system, code, "Smith"), NAMES).code == code
        assert "Smith" not in words.code(Code(system, code, "Smith"), NAMES).display
    for system, code in failing:
        found = words.code(Code(system, code), NAMES)
        assert found.system == words.LOCAL
        assert found.code == words.code(Code(system, code), NAMES).code != code


@given(st.text(max_size=40))
def test_an_answer_is_a_known_word_a_small_number_or_a_token(text):
    found = words.answer(text, NAMES)
    assert found == text or found.startswith("t-")
    if found == text:
        assert text.casefold() in words.VALUES or len(text) < 25
        assert not any(len(run) > 6 for run in "".join(c if c.isdigit() else " " for c in text).split())


def test_a_short_secret_is_refused():
    with pytest.raises(ValueError, match="16 bytes"):
        Pseudonyms(b"short", 365)
