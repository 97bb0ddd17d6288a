"""Results: values, units, codes, times, versions."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.events import Code, Observation, Rank
from services.domain.record import PatientRecord, encode_record, fold
from services.domain.site import Site
from services.formats.fhir import routing
from tests.unit.formats.fhir.build import SITE, bundle, facts, key, observation, only, patient, raw, reasons, understood

LOINC = "http://loinc.org"


def without(document: dict, *names: str) -> dict:
    return {name: value for name, value in document.items() if name not in names}


def valued(**value) -> dict:
    return without(observation("11111-1"), "valueQuantity") | value


def test_a_result_has_its_canonical_value_and_keeps_what_was_sent():
    fact = only(observation("14682-9", 88.4, "umol/L"))
    assert (fact.code.code, fact.value, fact.unit) == ("2160-0", pytest.approx(1.0, rel=1e-4), "mg/dL")
    assert (fact.original.value, fact.original.unit, fact.original.code) == ("88.4", "umol/L", Code(LOINC, "14682-9"))
    assert fact.time == datetime(2026, 3, 1, 10, tzinfo=timezone(timedelta(hours=1)))


def test_a_unit_that_is_no_ucum_is_read_from_what_people_see():
    quantity = {"value": 7.2, "unit": "K/uL", "code": "thou-per-ul"}
    assert only(observation("6690-2", valueQuantity=quantity)).value == 7.2


def test_a_blood_pressure_panel_is_one_fact_for_each_component():
    panel = without(observation("85354-9"), "valueQuantity") | {
        "id": "bp1",
        "component": [
            {"code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": {"value": v, "unit": "mmHg"}}
            for code, v in (("8480-6", 120), ("8462-4", 80))
        ],
    }
    found = facts(panel)
    assert [(f.code.code, f.value, f.unit) for f in found] == [("8480-6", 120, "mm[Hg]"), ("8462-4", 80, "mm[Hg]")]
    assert len({f.id for f in found}) == 2
    assert reasons(panel) == []


def test_a_component_keeps_its_identity_when_the_panel_is_corrected_in_another_order():
    def panel(*values: tuple[str, float], **more) -> dict:
        parts = [
            {"code": {"coding": [{"system": LOINC, "code": c}]}, "valueQuantity": {"value": v, "unit": "mm[Hg]"}}
            for c, v in values
        ]
        return without(observation("85354-9", **more), "valueQuantity") | {"id": "bp1", "component": parts}

    first = {f.code.code: f.id for f in facts(panel(("8480-6", 120), ("8462-4", 80)))}
    second = {f.code.code: f.id for f in facts(panel(("8462-4", 70), ("8480-6", 110), status="amended"))}
    assert first == second


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"valueString": "Alert"}, "Alert"),
        ({"valueInteger": 3}, 3.0),
        ({"valueBoolean": True}, "true"),
        ({"valueCodeableConcept": {"coding": [{"code": "260385009", "display": "Negative"}]}}, "Negative"),
        ({"valueCodeableConcept": {"text": "trace"}}, "trace"),
        ({"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}}, "1:128"),
        ({"valueRange": {"low": {"value": 3}, "high": {"value": 5}}}, "3-5"),
        ({"valueDateTime": "2026-02-01"}, "2026-02-01"),
        ({"valueQuantity": {"value": 5, "comparator": "<", "unit": "mg/L"}}, 5.0),
        ({"dataAbsentReason": {"coding": [{"code": "not-performed"}]}}, None),
    ],
)
def test_every_kind_of_value_that_means_something_is_kept(value: dict, expected):
    assert only(valued(**value)).value == expected


@pytest.mark.parametrize(
    ("value", "reason", "place"),
    [
        ({}, "no_value", ""),
        ({"valueSampledData": {"data": "1 2 3"}}, "unsupported_value_type", "value[x]"),
        ({"valuePeriod": {"start": "2026"}}, "unsupported_value_type", "value[x]"),
        ({"valueQuantity": {"unit": "mg/dL"}}, "no_value", "valueQuantity"),
        ({"valueQuantity": {"value": "12", "unit": "mg/dL"}}, "not_a_number", "valueQuantity"),
        ({"valueQuantity": {"value": 12, "unit": "furlongs"}}, "unknown_unit", "valueQuantity"),
        ({"valueString": ""}, "no_value", "valueString"),
        ({"valueDateTime": "yesterday"}, "bad_item_timestamp", "valueDateTime"),
    ],
)
def test_what_cannot_be_used_is_set_aside_with_the_reason_and_the_place(value: dict, reason: str, place: str):
    assert reasons(valued(**value)) == [(reason, place)]
    assert reasons(bundle(valued(**value))) == [(reason, f"entry[0].{place}".rstrip("."))]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": {}}, "no_code"),
        ({"effectiveDateTime": "2026-13-01"}, "bad_item_timestamp"),
        ({"effectiveDateTime": "2999-01-01"}, "future_item_timestamp"),
        ({"effectiveDateTime": "0001-01-01"}, "bad_item_timestamp"),
        ({"effectiveDateTime": None}, "no_time"),
    ],
)
def test_a_result_that_cannot_be_placed_is_set_aside(change: dict, reason: str):
    assert [r for r, _ in reasons(observation(**change))] == [reason]
    assert understood(observation(**change)).events == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"valueQuantity": {"value": 900, "unit": "/min"}}, "implausible_value"),
        ({"valueQuantity": {"value": 72, "unit": "mmol/L"}}, "incompatible_unit"),
    ],
)
def test_a_result_whose_value_cannot_be_used_is_one_without_a_value(change: dict, reason: str):
    assert [r for r, _ in reasons(observation(**change))] == [reason]
    assert only(observation(**change)).value is None


def test_a_partial_date_means_its_beginning_in_the_sites_zone():
    site = Site(secret=b"test", time_zone="America/New_York")
    fact = only(observation(effectiveDateTime="2025-07"), site)
    assert fact.time == datetime(2025, 7, 1, 4, tzinfo=UTC)
    assert fact.time.utcoffset() == timedelta(hours=-4)


def test_a_result_over_a_period_is_known_at_its_end():
    period = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}
    document = without(observation("9187-6", 1500, "mL"), "effectiveDateTime") | {"effectivePeriod": period}
    assert only(document).time == datetime(2026, 3, 2, tzinfo=UTC)


def test_a_result_without_a_time_takes_that_of_the_report_that_lists_it():
    result = without(observation(id="o1"), "effectiveDateTime")
    report = {
        "resourceType": "DiagnosticReport", "id": "r1", "status": "final", "code": {"text": "panel"},
        "subject": result["subject"], "effectiveDateTime": "2026-03-01", "result": [{"reference": "Observation/o1"}],
    }  # fmt: skip
    assert only(bundle(result, report)).time == datetime(2026, 3, 1, tzinfo=UTC)


def test_issued_serves_where_there_is_no_effective_time():
    document = without(observation(), "effectiveDateTime") | {"issued": "2026-03-01T11:00:00Z"}
    assert only(document).time == datetime(2026, 3, 1, 11, tzinfo=UTC)


STATUSES = {"registered": 1, "preliminary": 2, "final": 3, "amended": 4, "corrected": 4, "cancelled": 5, "unknown": 0}


@pytest.mark.parametrize(("status", "rank"), [*STATUSES.items(), ("entered-in-error", 6), ("", 0)])
def test_the_status_decides_the_rank(status: str, rank: int):
    assert only(observation(status=status)).version.rank == Rank(rank)


def test_a_withdrawn_result_arrives_though_its_value_cannot_be_used():
    fact = only(observation(status="entered-in-error", valueQuantity={"value": 9e9, "unit": "?"}))
    assert fact.value is None
    assert fact.version.rank == Rank.ENTERED_IN_ERROR


def test_a_version_has_the_servers_order():
    fact = only(observation(meta={"versionId": "4", "lastUpdated": "2026-03-02T00:00:00Z"}))
    assert (fact.version.issued, fact.version.sequence) == (1_772_409_600_000, 4)


@given(st.permutations(["Pending", "long " * 50, "All clear"]))
def test_a_text_short_or_long_takes_the_place_of_the_one_before_it(order: list[str]):
    status = {"Pending": "preliminary", "long " * 50: "final", "All clear": "amended"}
    record = PatientRecord(patient="p")
    for said in order:
        text = {"id": "o1", "status": status[said], "valueQuantity": None, "valueString": said}
        for event in understood(observation("18748-4", **text)).events:
            fold(record, event)
    assert [row.value for row in record.values("18748-4")] == ["All clear"]
    (report,) = record.documents.values()
    assert (report.title, record.stands(report)) == ("", False)


def test_a_result_that_says_no_time_takes_when_it_was_issued_and_says_so():
    said = only(observation())
    told = only(observation(effectiveDateTime=None, issued="2026-03-01T11:00:00Z"))
    assert (said.time_assumed, told.time_assumed, told.time.hour) == (False, True, 11)


def updates() -> list[dict]:
    return [
        observation(id="o1", value=70, status="preliminary", meta={"versionId": "1"}),
        observation(id="o1", value=71, meta={"versionId": "2"}),
        observation(id="o1", value=75, status="amended", meta={"versionId": "3"}),
        observation(id="o2", value=90, effectiveDateTime="2026-03-01T12:00:00Z"),
        bundle(patient(gender="female", birthDate="1963-08-15")),
    ]


@given(st.permutations(updates()), st.lists(st.sampled_from(updates())))
def test_a_late_correction_wins_whatever_the_order_and_the_repeats(order: list[dict], again: list[dict]):
    record = PatientRecord(patient="p")
    for document in (*order, *again):
        for event in understood(document).events:
            fold(record, event)
    expected = PatientRecord(patient="p")
    for document in updates():
        for event in understood(document).events:
            fold(expected, event)
    assert encode_record(record) == encode_record(expected)
    assert [row.value for row in record.values("8867-4")] == [75, 90]


def test_the_same_bytes_are_the_same_event_whenever_they_are_read():
    from services.domain.events import encode_event
    from services.formats import fhir
    from tests.unit.formats.fhir.build import SITE, raw

    document = raw(bundle(patient(id="1"), observation()))
    early, late = (fhir.read(document, SITE, at) for at in (1_780_000_000_000, 1_990_000_000_000))
    assert [encode_event(e) for e in early.events] == [encode_event(e) for e in late.events]


def test_a_patient_with_very_much_in_one_message_has_several_events():
    many = [observation(id=str(n), value=60 + n % 50) for n in range(1201)]
    events = understood(bundle(*many)).events
    assert [len(e.facts) for e in events] == [500, 500, 201]
    assert len({e.event_id for e in events}) == 3
    assert all(isinstance(f, Observation) for e in events for f in e.facts)


def test_oxygen_saturation_by_the_fhir_profile_is_the_pulse_oximeters():
    both = {"coding": [{"system": LOINC, "code": "2708-6"}, {"system": LOINC, "code": "59408-5"}]}
    assert only(observation(value=97, unit="%") | {"code": both}).code.code == "59408-5"


def test_interpretation_and_reference_range_are_kept():
    fact = only(
        observation(
            interpretation=[{"coding": [{"code": "H"}]}],
            referenceRange=[{"low": {"value": 60}, "high": {"value": 100}}],
        )
    )
    assert (fact.interpretation, fact.reference_range) == ("H", "60-100")


def listed(**observed) -> dict:
    """A report of a panel of one result, which says neither when nor of whom."""
    result = observation(id="o1", effectiveDateTime=None, **observed)
    del result["subject"], result["effectiveDateTime"]
    report = {
        "resourceType": "DiagnosticReport",
        "id": "r1",
        "status": "final",
        "subject": observation()["subject"],
        "effectiveDateTime": "2026-03-01T08:00:00Z",
        "result": [{"reference": "Observation/panel"}],
    }
    panel = {
        "resourceType": "Observation",
        "id": "panel",
        "status": "final",
        "code": {"text": "Panel"},
        "hasMember": [{"reference": "Observation/o1"}],
    }
    return bundle(result, panel, report)


def test_a_result_within_a_panel_has_its_reports_patient_and_time():
    document = listed()
    (event,) = understood(document).events
    (fact,) = event.facts
    assert (event.patient, fact.time.hour, fact.time_assumed) == (key(), 8, True)
    assert routing(raw(document), SITE) == key()
    assert reasons(document) == [("no_clinical_content", "entry[1]"), ("no_clinical_content", "entry[2]")]


def test_panels_that_list_each_other_are_no_endless_search():
    one, other = ({"reference": f"Observation/{name}"} for name in ("a", "b"))
    parts = [
        {"resourceType": "Observation", "id": name, "code": {"text": "Panel"}, "hasMember": [member]}
        for name, member in (("a", other), ("b", one))
    ]
    assert {reason for reason, _ in reasons(bundle(*parts))} == {"no_patient_reference"}
