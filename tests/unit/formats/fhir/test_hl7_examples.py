"""HL7's own examples of FHIR R4: a few that stand here, and all of them where the artefact that carries them is."""

import os
import zipfile
from collections import Counter
from pathlib import Path

import orjson
import pytest

from services.domain.events import Allergy, Document, Medication, Observation, Rank
from services.domain.reasons import Rejected
from services.formats import fhir
from services.formats.reading import Reading
from tests.unit.formats.fhir.build import NOW, SITE, facts, only, reasons, refused

HERE = Path(__file__).parent / "hl7_examples"
ARTEFACT = "com.ibm.fhir:fhir-examples:4.11.1"
JAR = Path.home() / ".m2/repository/com/ibm/fhir/fhir-examples/4.11.1/fhir-examples-4.11.1.jar"


def example(name: str) -> dict:
    return orjson.loads((HERE / f"{name}.json").read_bytes())


def test_an_allergy_to_cashew_nuts_with_its_two_reactions():
    allergy = only(example("allergyintolerance-example"))
    assert isinstance(allergy, Allergy)
    assert (allergy.code.display, allergy.category, allergy.criticality) == ("Cashew nuts", "food", "high")
    assert (allergy.severity, allergy.time.year) == ("severe", 2004)


def test_a_consultation_note_is_its_sections_narrative():
    note, replaced = facts(example("composition-example"))
    assert isinstance(note, Document)
    assert (note.title, note.code.code) == ("Consult note", "11488-4")
    assert note.text.startswith("History of present illness\nCode Date Type BodySite Severity")
    assert (replaced.text, replaced.version.rank) == ("", Rank.CANCELLED)


def test_results_in_panels_of_a_report_have_the_reports_time_and_patient():
    document = example("diagnosticreport-example-f202-bloodculture")
    found = [fact for fact in facts(document) if isinstance(fact, Observation)]
    report = next(e["resource"] for e in document["entry"] if e["resource"]["resourceType"] == "DiagnosticReport")
    assert {fact.time.isoformat() for fact in found if fact.time_assumed} <= {report["issued"]}


def test_a_conclusion_in_codes_alone_is_the_report():
    assert only(example("diagnosticreport-example-dxa")).text == "At risk of osteoporotic fracture"


def test_a_mixture_is_named_by_what_is_in_it():
    given = only(example("medicationadministration0302"))
    assert isinstance(given, Medication)
    assert given.code.code == "Potassium Chloride / Sodium Chloride 0.9% injectable solution"


def test_what_somebody_says_that_the_patient_takes_is_a_stated_drug():
    assert only(example("medicationstatementexample1")).action == "stated"


def test_a_panel_that_lists_its_members_and_a_bundle_of_questions_say_nothing():
    assert reasons(example("observation-example-bgpanel")) == [("no_clinical_content", "")]
    assert {reason for reason, _ in reasons(example("bundle-request-simplesummary"))} == {"query"}


def test_a_patient_whom_nothing_names_is_refused_with_the_place():
    rejected = refused(example("bundle-references"))
    assert (rejected.reason, rejected.where) == ("missing_patient", "entry[1].identifier")


EXPECTED = {
    "AllergyIntolerance": {"taken": 6},
    "Composition": {"taken": 2},
    "Condition": {"taken": 10, "no_time": 2},
    "DiagnosticReport": {"taken": 4, "no_clinical_content": 1, "no_patient_reference": 1},
    "DocumentReference": {"content_elsewhere": 1},
    "Encounter": {"taken": 10},
    "ImagingStudy": {"taken": 2},
    "Immunization": {"taken": 4, "no_time": 1},
    "Media": {"taken": 1, "content_elsewhere": 1, "no_time": 2},
    "MedicationAdministration": {"taken": 14},
    "MedicationDispense": {"taken": 30, "no_time": 1},
    "MedicationRequest": {"taken": 40},
    "MedicationStatement": {"taken": 6, "no_time": 1},
    "Observation": {
        "taken": 54,  # one of them a curve (sampled data), a result without a value
        "no_clinical_content": 3,  # panels
        "no_patient_reference": 3,  # without a subject, of a herd, of an oyster bed
        "no_time": 2,
        "no_value": 2,
    },
    "Patient": {"taken": 23},
    "Procedure": {"taken": 10, "no_time": 3, "no_patient_reference": 2, "no_code": 1},
    "ServiceRequest": {"taken": 15, "no_patient_reference": 3, "no_time": 2},
}
"""Of each type that is read: how many become facts, and why the others do not. Bundles are told apart below."""


@pytest.fixture(scope="module")
def spec() -> list[tuple[dict, Reading | Rejected]]:
    jar = Path(os.environ.get("WARDSTREAM_FHIR_EXAMPLES", JAR))
    if not jar.exists():
        pytest.skip(
            f"no HL7 examples: `mvn dependency:get -Dartifact={ARTEFACT}`, or name it in WARDSTREAM_FHIR_EXAMPLES"
        )
    with zipfile.ZipFile(jar) as held:
        names = [name for name in held.namelist() if name.startswith("json/spec/") and name.endswith(".json")]
        return [(orjson.loads(raw), fhir.read(raw, SITE, NOW)) for raw in map(held.read, names)]


def outcome(reading: Reading | Rejected) -> str:
    if isinstance(reading, Rejected):
        return f"refused: {reading.reason}"
    return "taken" if reading.events else "+".join(sorted({part.reason for part in reading.filtered}))


def test_every_example_is_taken_or_set_aside_for_the_right_reason(spec):
    found: dict[str, Counter[str]] = {kind: Counter() for kind in EXPECTED}
    for document, reading in spec:
        if (kind := document.get("resourceType")) in EXPECTED:
            found[kind][outcome(reading)] += 1
    assert {kind: dict(counts) for kind, counts in found.items()} == EXPECTED


def test_of_all_examples_only_patients_without_a_name_and_what_is_no_resource_are_refused(spec):
    refusals = Counter(outcome(r) for d, r in spec if isinstance(r, Rejected) and d.get("resourceType"))
    assert refusals == {"refused: missing_patient": 2}
    assert all(reading.events or reading.filtered for _, reading in spec if isinstance(reading, Reading))
