"""Real-looking FHIR: every resource is taken, or set aside with the right reason, and what is taken is right."""

from collections import Counter
from datetime import datetime

import pytest

from services.domain.codes import BY_LOINC
from services.domain.events import Encounter, Observation, Patient
from services.domain.identity import patient_key
from services.formats.reading import Reading
from tests.support import ROOT, shared
from tests.unit.formats.fhir.build import SITE
from tests.unit.formats.fhir.corpus import Count, bundles, page

pytestmark = pytest.mark.corpus

EXPECTED = {
    "Claim": "administrative",
    "ExplanationOfBenefit": "administrative",
    "CarePlan": "unsupported_resource",
    "Goal": "unsupported_resource",
    "Organization": "no_patient_reference",
    "Practitioner": "no_patient_reference",
    "DiagnosticReport": "no_clinical_content",  # they only list results that stand beside them
    "ImagingStudy": "unsupported_modality",
}


@pytest.fixture(scope="module")
def synthea() -> list:
    return list(bundles(shared("corpus/fhir_synthea")))


def test_every_resource_is_taken_or_set_aside_with_the_right_reason():
    count = Count(shared("corpus/fhir_synthea"))
    assert count.files == 38
    assert not count.rejected
    assert {kind for kind, _ in count.aside} == set(EXPECTED)
    assert all(EXPECTED[kind] == reason for kind, reason in count.aside)
    taken = ("Patient", "Encounter", "Observation", "Condition", "Procedure", "Immunization", "MedicationRequest")
    for kind in (*taken, "AllergyIntolerance"):
        assert count.whole[kind] == count.resources[kind] > 0, kind


def mrn(document: dict) -> str:
    (patient,) = (e["resource"] for e in document["entry"] if e["resource"]["resourceType"] == "Patient")
    numbers = patient["identifier"]
    (record,) = (n for n in numbers if n.get("type", {}).get("coding", [{}])[0].get("code") == "MR")
    return patient_key(record["system"], record["value"], SITE.secret)


def test_every_event_is_of_the_bundles_patient_keyed_by_the_medical_record_number(synthea):
    for name, document, reading in synthea:
        assert isinstance(reading, Reading), name
        assert {event.patient for event in reading.events} == {mrn(document)}, name


def test_demographics_and_visits_say_what_the_bundle_says(synthea):
    for _name, document, reading in synthea:
        resources = [entry["resource"] for entry in document["entry"]]
        patient = next(r for r in resources if r["resourceType"] == "Patient")
        facts = [fact for event in reading.events for fact in event.facts]
        fact = next(f for f in facts if isinstance(f, Patient))
        assert (fact.sex, fact.birth_date) == (patient["gender"], patient["birthDate"])
        visits = [r for r in resources if r["resourceType"] == "Encounter"]
        found = sorted((f.start, f.end, f.class_) for f in facts if isinstance(f, Encounter))
        assert found == sorted(
            (*(datetime.fromisoformat(v["period"][side]) for side in ("start", "end")), v["class"]["code"])
            for v in visits
        )


def expected_numbers(document: dict) -> Counter:
    """(LOINC, value, epoch s) of what was sent in the canonical unit and under the canonical code, read plainly."""
    wanted: Counter = Counter()
    for entry in document["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] != "Observation":
            continue
        at = datetime.fromisoformat(resource["effectiveDateTime"]).timestamp()
        for node in (resource, *resource.get("component", [])):
            code, quantity = node["code"]["coding"][0]["code"], node.get("valueQuantity")
            if quantity and code in BY_LOINC and BY_LOINC[code].unit == quantity["unit"]:
                wanted[code, float(quantity["value"]), at] += 1
    return wanted


def test_every_number_in_its_canonical_unit_arrives_unchanged_at_its_time(synthea):
    total = 0
    for name, document, reading in synthea:
        found = Counter(
            (f.code.code, f.value, f.time.timestamp())
            for event in reading.events
            for f in event.facts
            if isinstance(f, Observation) and f.code.code in BY_LOINC
        )
        wanted = expected_numbers(document)
        assert not wanted - found, name
        total += wanted.total()
    assert total > 1000


def test_sibling_codes_reach_the_variables_of_the_models(synthea):
    seen = {
        f.code.code
        for _, _, reading in synthea
        for event in reading.events
        for f in event.facts
        if isinstance(f, Observation)
    }
    assert {"2345-7", "3094-0", "2160-0", "2951-2", "2823-3", "2075-0", "1963-8", "8310-5", "4544-3"} <= seen
    assert not {"2339-0", "6299-2", "38483-4", "2947-0", "6298-4", "2069-3", "20565-8", "8331-1", "20570-8"} & seen


def test_every_result_knows_its_visit(synthea):
    for _, _, reading in synthea:
        facts = [fact for event in reading.events for fact in event.facts]
        visits = {f.id for f in facts if isinstance(f, Encounter)}
        assert {f.encounter for f in facts if isinstance(f, Observation)} <= visits


def test_no_name_or_address_of_any_patient_leaves_the_reader(synthea):
    for _, document, reading in synthea:
        patient = next(e["resource"] for e in document["entry"] if e["resource"]["resourceType"] == "Patient")
        shown = repr(reading)
        assert patient["name"][0]["family"] not in shown
        assert patient["address"][0]["line"][0] not in shown


def test_the_page_in_docs_is_what_the_code_gives():
    made = page(shared("corpus").parent)
    assert (ROOT / "docs/corpora-fhir.md").read_text() == made
