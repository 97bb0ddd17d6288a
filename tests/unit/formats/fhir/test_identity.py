"""Whom a message is about: every way in which FHIR names a patient leads to the right key."""

import pytest

from services.domain.events import Merge, Observation
from services.domain.site import Site
from services.formats import fhir
from services.formats.fhir import routing
from tests.unit.formats.fhir.build import (
    SITE,
    bundle,
    key,
    observation,
    patient,
    raw,
    reasons,
    refused,
    transaction,
    understood,
)

UUID = "urn:uuid:1c6a3a60-8d7e-4b3b-9f0e-0f6c2b0f7a11"
SS = {"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "SS"}]}}


def about(document) -> list[str]:
    return [event.patient for event in understood(document).events]


def subject(reference: str) -> dict:
    return observation(subject={"reference": reference})


@pytest.mark.parametrize(
    "document",
    [
        observation(),
        transaction((UUID, patient()), ("urn:uuid:2", subject(UUID))),
        bundle(patient(id="7"), subject("Patient/7")) | {"entry": [
            {"fullUrl": "urn:uuid:7", "resource": patient(id="7"), "request": {"method": "POST", "url": "Patient"}},
            {"resource": subject("Patient/7")},
        ]},
        transaction((UUID, patient()), ("urn:uuid:2", subject("Patient?identifier=urn:hospital|m1"))),
        subject("Patient?identifier=urn%3Ahospital%7Cm1"),
        observation(contained=[patient(id="p")], subject={"reference": "#p"}),
        observation(subject={"reference": "Patient/9", "identifier": {"system": "urn:hospital", "value": "m1"}}),
        transaction((UUID, patient(identifier=[
            {"system": "http://ssa", "value": "1", **SS}, {"system": "urn:hospital", "value": "m1"}])),
            ("urn:uuid:2", subject(UUID))),
    ],
)  # fmt: skip
def test_every_way_to_name_the_patient_leads_to_the_record_of_the_mrn(document):
    assert about(document) == [key()]
    assert fhir.routing(raw(document), SITE) == key()


def test_results_that_say_only_patient_id_reach_the_mrn_by_a_forwarding_mark():
    lone = understood(subject("Patient/7"))
    events = understood(patient(id="7")).events
    assert [e.patient for e in events] == [key(), lone.events[0].patient]
    (mark,) = events[1].facts
    assert isinstance(mark, Merge)
    assert mark.into == key()


def test_an_id_that_the_server_will_replace_is_no_name():
    assert about(transaction((UUID, patient(id="7")))) == [key()]


def test_the_same_id_on_two_servers_is_two_patients():
    one, two = about(subject("https://a.example/fhir/Patient/7")), about(subject("https://b.example/fhir/Patient/7"))
    assert one != two
    assert about(subject("https://a.example/fhir/Patient/7/_history/3")) == one
    relative = about(subject("Patient/7"))
    elsewhere = fhir.read(raw(subject("Patient/7")), Site(secret=b"test", name="other"), 1_790_000_000_000)
    assert relative != one
    assert [e.patient for e in elsewhere.events] != relative


def test_a_history_version_in_a_reference_is_the_same_patient():
    assert about(subject("Patient/7/_history/2")) == about(subject("Patient/7"))


def test_old_identifiers_do_not_key_the_record():
    old = {"system": "urn:hospital", "value": "before", "use": "old"}
    assert about(bundle(patient(identifier=[old, {"system": "urn:hospital", "value": "m1"}]))) == [key()]


def test_an_oid_is_the_same_authority_as_in_hl7_v2():
    document = observation(subject={"identifier": {"system": "urn:oid:2.16.840.1.1", "value": "m1"}})
    assert about(document) == [key(authority="2.16.840.1.1")]


def test_one_event_for_each_patient_of_a_bundle():
    other = observation(subject={"identifier": {"system": "urn:hospital", "value": "m2"}})
    assert about(bundle(observation(), other, observation(code="9279-1"))) == [key(), key("m2")]


@pytest.mark.parametrize(
    "reference", [None, {}, {"display": "somebody"}, {"reference": "Group/1"}, {"reference": "Device/1"}]
)
def test_a_result_about_no_patient_is_set_aside(reference):
    document = observation(subject=reference)
    assert reasons(bundle(observation(), document)) == [("no_patient_reference", "entry[1].subject")]
    assert reasons(document) == [("no_patient_reference", "subject")]
    assert fhir.routing(raw(document), SITE) is None


def test_a_reference_that_leads_nowhere_in_its_bundle_is_refused_with_its_place():
    found = refused(transaction((UUID, patient()), ("urn:uuid:2", subject("urn:uuid:nobody"))))
    assert (found.reason, found.where) == ("unresolved_reference", "entry[1].subject")
    assert "fullUrl" in found.hint


def test_a_patient_without_any_name_is_refused():
    found = refused({"resourceType": "Patient", "gender": "female"})
    assert (found.reason, found.where) == ("missing_patient", "identifier")


def test_replaced_by_and_replaces_say_the_same():
    here = {"identifier": {"system": "urn:hospital", "value": "m2"}}
    by = understood(patient("m1", link=[{"type": "replaced-by", "other": here}]))
    mine = {"identifier": {"system": "urn:hospital", "value": "m1"}}
    over = understood(patient("m2", link=[{"type": "replaces", "other": mine}]))
    for reading in (by, over):
        marks = [(e.patient, f.into) for e in reading.events for f in e.facts if isinstance(f, Merge)]
        assert marks == [(key("m1"), key("m2"))]


def test_other_links_are_no_merges():
    link = [{"type": "seealso", "other": {"reference": "Patient/2"}}]
    assert about(patient(link=link)) == [key()]


def test_a_merge_to_nowhere_is_refused_not_lost():
    found = refused(bundle(patient(link=[{"type": "replaced-by", "other": {"reference": "urn:uuid:x"}}])))
    assert (found.reason, found.where) == ("unresolved_reference", "entry[0].link[0].other")


def test_namesakes_of_two_servers_in_one_bundle_stay_apart():
    def served(base: str, number: str) -> list[dict]:
        return [
            {"fullUrl": f"{base}/Patient/7", "resource": patient(number, id="7")},
            {"fullUrl": f"{base}/Observation/1", "resource": subject("Patient/7") | {"id": "1"}},
        ]

    entries = [*served("https://a.example/fhir", "m1"), *served("https://b.example/fhir", "m2")]
    events = understood({"resourceType": "Bundle", "type": "collection", "entry": entries}).events
    results = {e.patient: [f for f in e.facts if type(f).__name__ == "Observation"] for e in events}
    assert (len(results[key("m1")]), len(results[key("m2")])) == (1, 1)


def test_an_absolute_reference_never_means_another_servers_namesake():
    here = {"fullUrl": UUID, "resource": patient(id="7")}
    there = {"fullUrl": "urn:uuid:2", "resource": subject("https://b.example/fhir/Patient/7")}
    events = understood({"resourceType": "Bundle", "type": "collection", "entry": [here, there]}).events
    assert [e.patient for e in events] == [key(), key("Patient/7", "https://b.example/fhir")]


def test_a_bundle_within_a_bundle_answers_to_its_own_references():
    """Two documents whose patients have the same local id are two patients."""
    documents = []
    for number, rate in (("m1", 60), ("m2", 90)):
        result = observation(id=f"o{number}", value=rate, subject={"reference": "Patient/1"})
        documents.append(bundle(patient(number, id="1"), result))
    reading = understood(bundle(*documents))
    rates = {
        event.patient: [fact.value for fact in event.facts if isinstance(fact, Observation)] for event in reading.events
    }
    assert rates[key("m1")] == [60]
    assert rates[key("m2")] == [90]
    assert routing(raw(bundle(*documents)), SITE) == key("m1")


def test_what_is_set_aside_within_a_bundle_has_its_place():
    inner = bundle(observation(code="", valueQuantity=None))
    assert reasons(bundle(patient(), inner))[0][1].startswith("entry[1].entry[0]")


def test_bundles_nested_deeper_than_anybody_builds_are_set_aside():
    document = bundle(patient())
    for _ in range(60):
        document = bundle(document)
    assert reasons(document) == [("unsupported_resource", ".".join(["entry[0]"] * 6))]
