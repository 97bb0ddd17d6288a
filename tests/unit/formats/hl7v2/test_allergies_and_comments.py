"""AL1 and IAM: allergies. NTE: comments, kept with what they are on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.events import Allergy, Document, Observation
from services.domain.record import PatientRecord, encode_record, fold
from tests.unit.formats.hl7v2.samples import PID, PV1, event, facts, message, msh, oru, reasons, withdrawn

HEART = "OBX|1|NM|8867-4^Heart rate^LN||80|/min|||||F"
TEMPERATURE = "OBX|2|NM|8310-5^Temperature^LN||37|Cel|||||F"
REPORT = ["OBX|1|TX|18748-4^Report^LN|1|Line one||||||F", "OBX|2|TX|18748-4^Report^LN|2|Line two||||||F"]


def adt(*segments: str, control: str = "C1", kind: str = "ADT^A08") -> bytes:
    return message(msh(kind, control=control), PID, PV1, *segments)


def allergies(*segments: str) -> list[Allergy]:
    return facts(adt(*segments), Allergy)


def test_an_allergy_says_to_what_since_when_and_how_bad() -> None:
    (penicillin, dust) = allergies(
        "AL1|1|DA^Drug allergy^HL70127|7980^Penicillin^RXNORM|SV^Severe^HL70128|Anaphylaxis|20190304",
        "AL1|2|EA|^House dust|U",
    )
    assert (penicillin.code.system, penicillin.code.code) == ("http://www.nlm.nih.gov/research/umls/rxnorm", "7980")
    assert (penicillin.category, penicillin.severity, penicillin.status) == ("medication", "severe", "active")
    assert (penicillin.time.year, penicillin.time.month) == (2019, 3)
    assert (dust.code.code, dust.category, dust.severity) == ("House dust", "environment", "")
    assert ("no_code", "AL1[1]-3") in reasons(adt("AL1|1|DA||SV"))


def test_the_same_allergy_told_again_is_one_and_a_deleted_one_is_withdrawn() -> None:
    record = PatientRecord(patient="p")
    told = "IAM|1|DA|7980^Penicillin^RXNORM|SV||{}|A7^H"
    for n, action in enumerate("AUD"):
        fold(record, event(adt(told.format(action), control=str(n), kind="ADT^A60")))
    (only,) = record.allergies.values()
    assert withdrawn(only)


def results(*segments: str) -> list[Observation | Document]:
    found = facts(oru(*segments), Observation | Document)  # type: ignore[arg-type]
    return list(found)


def test_a_comment_belongs_to_the_result_above_it() -> None:
    heart, temperature = results(HEART, "PRT|1|UC||EQUIP", "NTE|1||irregular", "NTE|2||told\\.br\\twice", TEMPERATURE)
    assert (heart.comment, temperature.comment) == ("irregular\ntold\ntwice", "")


def test_a_comment_between_a_report_s_lines_does_not_cut_it() -> None:
    first, second = REPORT
    (report,) = results(first, "NTE|1||one", second, "NTE|1||two")
    assert isinstance(report, Document)
    assert (report.text, report.comment) == ("Line one\nLine two", "one\ntwo")


def test_a_comment_on_the_order_stands_with_its_first_result() -> None:
    heart, temperature = results("NTE|1||haemolysed", HEART, "NTE|1||irregular", TEMPERATURE)
    assert (heart.comment, temperature.comment) == ("haemolysed\nirregular", "")


@pytest.mark.parametrize("segments", [[PID, "NTE|1||of the patient", PV1], [PID, PV1, "NTE|1||of the visit"]])
def test_other_comments_are_set_aside_by_name(segments: list[str]) -> None:
    assert ("unsupported_segment", "NTE") in reasons(message(msh("ORU^R01"), *segments, HEART))
    assert ("unsupported_segment", "NTE") in reasons(oru("OBX|1|NM|8867-4^HR^LN|||/min", "NTE|1||no value"))


COMMENTS = st.lists(st.sampled_from(["", "haemolysed", "repeated"]), min_size=2, max_size=4)


@given(COMMENTS, st.data())
def test_results_that_differ_in_their_comment_alone_are_ordered_whatever_the_order(
    comments: list[str], data: st.DataObject
) -> None:
    events = [
        event(oru(HEART, *([f"NTE|1||{said}"] if said else []), control=str(n))) for n, said in enumerate(comments)
    ]
    one, other = PatientRecord(patient="p"), PatientRecord(patient="p")
    for told in events:
        fold(one, told)
    for told in data.draw(st.permutations(events)):
        fold(other, told)
    assert encode_record(one) == encode_record(other)
    assert b"haemolysed" not in encode_record(one), "free text is not kept in the record"
