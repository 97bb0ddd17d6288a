"""A correction that cannot be used: what its sender said before does not hold any more, in any order."""

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.events import ClinicalEvent, Observation
from services.domain.features.series import timeline
from services.domain.record import PatientRecord, encode_record, fold, newest_time
from services.formats.reading import Reading
from tests.unit.formats.fhir import build
from tests.unit.formats.hl7v2 import samples
from tests.unit.formats.hl7v2.samples import PID, message, msh

HEART_RATE = "8867-4"
REPORT = "18748-4"
FAR = 4_000_000_000_000

Said = Callable[[str, int], Reading]
"""The n-th message about one result, with a status of HL7 table 0085."""


def hl7(kind: str, value: str, unit: str = "/min", code: str = f"{HEART_RATE}^HR^LN") -> Said:
    def said(status: str, n: int) -> Reading:
        obr = "OBR|1|P1|F1|24323-8^CMP^LN|||20260501100000"
        obx = f"OBX|1|{kind}|{code}||{value}|{unit}|||||{status}"
        return samples.reading(message(msh("ORU^R01", sent=f"2026050112{n:02}00", control=str(n)), PID, obr, obx))

    return said


_FHIR_STATUS = {"P": "preliminary", "F": "final", "C": "corrected", "X": "cancelled", "D": "entered-in-error"}


def fhir(**value: object) -> Said:
    def said(status: str, n: int) -> Reading:
        result = build.observation(HEART_RATE, id="o1", status=_FHIR_STATUS[status], meta={"versionId": str(n + 1)})
        del result["valueQuantity"]
        return build.understood(result | value)

    return said


def quantity(value: object, unit: str = "/min") -> dict[str, object]:
    return {"value": value, "unit": unit}


USABLE = {"hl7v2": hl7("NM", "80"), "fhir": fhir(valueQuantity=quantity(80))}
UNUSABLE: dict[str, dict[str, Said]] = {
    "hl7v2": {
        "implausible_value": hl7("NM", "8000"),
        "unknown_unit": hl7("NM", "82", "furlong"),
        "incompatible_unit": hl7("NM", "82", "mg/dL"),
        "not_a_number": hl7("NM", "8O"),
        "no_value": hl7("NM", ""),
        "content_elsewhere": hl7("RP", "https://x^^image^PICT"),
        "unsupported_value_type": hl7("HD", "1.2"),
        "bad_item_timestamp": hl7("DT", "yesterday"),
    },
    "fhir": {
        "implausible_value": fhir(valueQuantity=quantity(8000)),
        "unknown_unit": fhir(valueQuantity=quantity(82, "furlong")),
        "incompatible_unit": fhir(valueQuantity=quantity(82, "mg/dL")),
        "not_a_number": fhir(valueQuantity=quantity("82")),
        "no_value": fhir(),
        "unsupported_value_type": fhir(valueSampledData={"data": "82"}),
        "bad_item_timestamp": fhir(valueDateTime="yesterday"),
    },
}
CASES = [(form, reason) for form, said in UNUSABLE.items() for reason in said]
FORMS = sorted(USABLE)


def record_of(*readings: Reading) -> PatientRecord:
    record = PatientRecord(patient="p")
    for event in _events(readings):
        fold(record, event)
    return record


def _events(readings: tuple[Reading, ...]) -> list[ClinicalEvent]:
    return [event for reading in readings for event in reading.events]


def shown(record: PatientRecord) -> list[object]:
    """What of the result is shown, and what models are given; both must be the same."""
    values = [row.value for row in record.values(HEART_RATE)]
    assert timeline(record, FAR, whole=True).value.tolist() == values
    return values


@pytest.mark.parametrize(("form", "reason"), CASES)
def test_what_a_correction_replaces_is_gone_though_the_correction_cannot_be_used(form: str, reason: str) -> None:
    told, corrected = USABLE[form]("F", 0), UNUSABLE[form][reason]("C", 1)
    assert [part.reason for part in corrected.filtered] == [reason]
    for order in ((told, corrected), (corrected, told), (told, corrected, told, corrected)):
        assert shown(record_of(*order)) == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("before", "after"), ["PF", "FF", "PP"])
def test_a_later_word_that_cannot_be_used_takes_the_place_of_the_one_before(form: str, before: str, after: str) -> None:
    told, later = USABLE[form](before, 0), UNUSABLE[form]["implausible_value"](after, 1)
    assert shown(record_of(told, later)) == shown(record_of(later, told)) == []


@pytest.mark.parametrize("form", FORMS)
def test_a_correction_that_can_be_used_takes_the_place_of_one_that_could_not(form: str) -> None:
    wrong, right = UNUSABLE[form]["implausible_value"]("C", 1), USABLE[form]("C", 2)
    assert shown(record_of(right, wrong, USABLE[form]("F", 0))) == [80.0]


@pytest.mark.parametrize("form", FORMS)
def test_a_draft_that_cannot_be_used_leaves_the_final_result_alone(form: str) -> None:
    assert shown(record_of(USABLE[form]("F", 0), UNUSABLE[form]["implausible_value"]("P", 1))) == [80.0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", "XD")
def test_a_withdrawal_counts_whatever_value_it_carries(form: str, status: str) -> None:
    for gone in UNUSABLE[form].values():
        assert shown(record_of(USABLE[form]("F", 0), gone(status, 1))) == []


def test_an_empty_field_that_corrects_nothing_leaves_the_result_as_it_is() -> None:
    for status in ("F", "U"):
        assert shown(record_of(USABLE["hl7v2"]("P", 0), UNUSABLE["hl7v2"]["no_value"](status, 1))) == [80.0]


@pytest.mark.parametrize("form", FORMS)
def test_what_has_no_value_does_not_make_the_record_newer(form: str) -> None:
    record = record_of(UNUSABLE[form]["implausible_value"]("F", 0))
    assert newest_time(record) == 0
    assert newest_time(record_of(USABLE[form]("F", 0))) > 0


def resource(n: int, status: str, value: float | None = 80, **more: object) -> Reading:
    """The n-th version of Observation/o1; `effectiveDateTime=None` says no time."""
    meta = {"versionId": str(n + 1), "lastUpdated": f"2026-03-02T00:0{n}:00Z"}
    made = build.observation(HEART_RATE, id="o1", status=status, meta=meta) | more
    made["valueQuantity"]["value"] = value
    return build.understood({name: said for name, said in made.items() if said is not None})


@pytest.mark.parametrize("time", [None, "2026-03-01T12:00:00Z", "2026-13-01"], ids=["none", "another", "unreadable"])
@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_a_resource_is_withdrawn_whatever_time_its_withdrawal_says(status: str, time: str | None) -> None:
    told, gone = resource(0, "final"), resource(1, status, effectiveDateTime=time)
    assert shown(record_of(told, gone)) == shown(record_of(gone, told)) == []


def test_a_result_that_is_corrected_to_another_time_stands_there_alone() -> None:
    told, moved = resource(0, "final"), resource(1, "amended", 81, effectiveDateTime="2026-03-01T08:00:00Z")
    assert shown(record_of(told, moved)) == shown(record_of(moved, told)) == [81.0]


def test_a_resource_that_a_device_writes_anew_with_each_reading_keeps_them_all() -> None:
    readings = [resource(n, "final", 80 + n, effectiveDateTime=f"2026-03-01T1{n}:00:00Z") for n in range(3)]
    assert shown(record_of(*readings)) == shown(record_of(*reversed(readings))) == [80.0, 81.0, 82.0]


SAYINGS = st.lists(st.tuples(st.booleans(), st.sampled_from("PFCXD"), st.integers(0, 6)), min_size=1, max_size=6)


@given(st.sampled_from(FORMS), SAYINGS, st.data())
def test_the_highest_version_alone_counts_in_any_order_with_any_repeats(
    form: str, sayings: list[tuple[bool, str, int]], data: st.DataObject
) -> None:
    unusable = list(UNUSABLE[form].values())
    readings = tuple(
        (USABLE[form] if usable else unusable[which])(status, n) for n, (usable, status, which) in enumerate(sayings)
    )
    order = data.draw(st.permutations(readings + readings[:2]))
    assert encode_record(record_of(*order)) == encode_record(record_of(*readings))
    facts = [fact for event in _events(readings) for fact in event.facts if isinstance(fact, Observation)]
    last = max(facts, key=lambda fact: fact.version, default=None)
    stands = last is not None and last.value is not None and last.version.rank < 5
    assert shown(record_of(*order)) == ([80.0] if stands else [])


PDF = base64.b64encode(b"%PDF-1.7").decode()


def standing(*readings: Reading) -> int:
    record = record_of(*readings)
    return sum(map(record.stands, record.documents.values())) + len(list(record.values(REPORT)))


@pytest.mark.parametrize("coded", [f"{REPORT}^Report^LN", ""], ids=["coded", "no code"])
def test_a_file_that_is_corrected_to_one_that_cannot_be_read_does_not_stand(coded: str) -> None:
    file, broken = (hl7("ED", f"RAD^AP^PDF^Base64^{data}", "", coded) for data in (PDF, "%%%"))
    for order in ((file("F", 0), broken("C", 1)), (broken("C", 1), file("F", 0))):
        assert standing(*order) == 0
    assert standing(broken("C", 1), file("C", 2)) == 1


@pytest.mark.parametrize("kind", ["TX", "FT", "ED"])
def test_a_report_that_is_corrected_to_nothing_does_not_stand(kind: str) -> None:
    said, nothing = hl7("FT", "All clear", "", f"{REPORT}^Report^LN"), hl7(kind, "", "", f"{REPORT}^Report^LN")
    assert standing(said("F", 0), nothing("C", 1)) == standing(nothing("C", 1), said("F", 0)) == 0
    assert standing(said("F", 0), nothing("F", 1)) == 1


def note(n: int, data: str) -> Reading:
    txa = "TXA|1|CN|TX|20260501100000||||||||D7|||||AU"
    raw = message(
        msh("MDM^T08", sent=f"2026050112{n:02}00", control=str(n)), PID, txa, f"OBX|1|ED|x^y||^AP^PDF^Base64^{data}"
    )
    return samples.reading(raw)


def test_a_note_whose_new_edition_cannot_be_read_does_not_stand() -> None:
    assert standing(note(0, PDF)) == 1
    assert standing(note(0, PDF), note(1, "%%%")) == standing(note(1, "%%%"), note(0, PDF)) == 0


def diagnostic_report(n: int, status: str, **more: object) -> Reading:
    return build.understood(
        {
            "resourceType": "DiagnosticReport",
            "id": "r1",
            "meta": {"versionId": str(n + 1)},
            "status": status,
            "code": {"text": "Chest"},
            "subject": build.observation()["subject"],
            "effectiveDateTime": "2026-03-01T10:00:00Z",
            **more,
        }
    )


@pytest.mark.parametrize(
    "more", [{}, {"presentedForm": [{"contentType": "text/plain", "data": "%%%"}]}], ids=["nothing", "unreadable"]
)
def test_a_fhir_report_that_is_corrected_to_nothing_does_not_stand(more: dict[str, object]) -> None:
    said, corrected = diagnostic_report(0, "final", conclusion="All clear"), diagnostic_report(1, "corrected", **more)
    assert standing(said) == 1
    assert standing(said, corrected) == standing(corrected, said) == 0
    assert corrected.filtered
