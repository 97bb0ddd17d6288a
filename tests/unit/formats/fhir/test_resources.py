"""Patient, Encounter, Condition, Procedure, orders, drugs, images, documents."""

import base64
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from msgspec import UNSET

from services.domain.events import Document, EncounterStatus, Identifier, Observation, Rank, digest
from services.domain.references import reference_of
from tests.unit.formats.fhir.build import bundle, facts, observation, only, patient, reasons, transaction, understood

WHO = {"subject": {"identifier": {"system": "urn:hospital", "value": "m1"}}}
WHEN = "2026-03-01T10:00:00Z"
AT = datetime(2026, 3, 1, 10, tzinfo=UTC)


def coded(code: str, system: str = "http://snomed.info/sct", display: str = "") -> dict:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def resource(kind: str, **more) -> dict:
    return {"resourceType": kind, **WHO, **more}


def test_demographics_are_what_is_said_and_no_more():
    fact = only(patient(gender="female", birthDate="1963-08", deceasedDateTime=WHEN))
    assert (fact.sex, fact.birth_date, fact.deceased, fact.deceased_at) == ("female", "1963-08", True, AT)
    assert fact.identifiers == [Identifier("urn:hospital", "m1", "MR")]
    quiet = only(patient())
    assert (quiet.sex, quiet.birth_date, quiet.deceased, quiet.deceased_at) == (UNSET,) * 4


def test_names_and_addresses_never_leave_the_reader():
    name = [{"family": "Featherstonehaugh", "given": ["Persephone"]}]
    shown = repr(facts(patient(name=name, address=[{"line": ["12 Acacia Avenue"]}], telecom=[{"value": "555"}])))
    assert not any(word in shown for word in ("Featherstonehaugh", "Persephone", "Acacia", "555"))


def test_a_wrong_date_of_birth_is_set_aside_alone():
    assert reasons(patient(birthDate="1963-02-30", gender="male")) == [("bad_item_timestamp", "birthDate")]
    assert only(patient(birthDate="1963-02-30", gender="male")).sex == "male"


def test_an_encounter_says_where_since_when_and_how_it_ended():
    fact = only(
        resource(
            "Encounter",
            id="e1",
            status="finished",
            **{"class": {"code": "IMP"}},
            identifier=[{"system": "urn:visits", "value": "v1"}],
            period={"start": "2026-02-27T08:00:00Z", "end": WHEN},
            location=[
                {"location": {"display": "ER"}, "status": "completed", "period": {"end": "2026-02-27T09:00:00Z"}},
                {"location": {"display": "MICU"}, "period": {"start": "2026-02-27T09:00:00Z"}},
                {"location": {"display": "B12"}, "physicalType": coded("bd")},
            ],
            hospitalization={"dischargeDisposition": coded("exp")},
            serviceProvider={"display": "General"},
        )
    )
    assert (fact.status, fact.class_, fact.unit, fact.bed) == (EncounterStatus.FINISHED, "IMP", "MICU", "B12")
    assert (fact.start, fact.end) == (datetime(2026, 2, 27, 8, tzinfo=UTC), AT)
    assert fact.unit_since == datetime(2026, 2, 27, 9, tzinfo=UTC)
    assert (fact.disposition, fact.facility, fact.number.value) == ("expired", "General", "v1")


def test_results_know_their_encounter_by_reference_and_by_urn():
    visit = resource("Encounter", id="e1", status="in-progress", **{"class": {"code": "IMP"}})
    lone = only(observation(encounter={"reference": "Encounter/e1"}))
    assert lone.encounter == only(visit).id
    both = facts(
        transaction(
            ("urn:uuid:e", {k: v for k, v in visit.items() if k != "id"} | {"identifier": [{"value": "v1"}]}),
            ("urn:uuid:o", observation(encounter={"reference": "urn:uuid:e"})),
        )
    )
    assert both[1].encounter == both[0].id == digest("encounter", "", "v1", size=8)


def test_a_planned_visit_may_lie_in_the_future():
    future = {"start": "2027-01-01T00:00:00Z"}
    assert only(resource("Encounter", status="planned", period=future)).start.year == 2027
    assert reasons(resource("Encounter", status="in-progress", period=future)) == [
        ("future_item_timestamp", "period.start")
    ]


@pytest.mark.parametrize(
    ("document", "kind", "expected"),
    [
        (resource("Condition", code=coded("233604007"), onsetDateTime=WHEN), "Condition", {"time": AT}),
        (
            resource("Condition", code=coded("1"), recordedDate=WHEN, abatementDateTime="2026-03-02"),
            "Condition",
            {"status": "resolved", "end": datetime(2026, 3, 2, tzinfo=UTC)},
        ),
        (
            resource("Condition", code=coded("1"), onsetDateTime=WHEN, verificationStatus=coded("entered-in-error")),
            "Condition",
            {"rank": Rank.ENTERED_IN_ERROR},
        ),
        (
            resource("Procedure", code=coded("1"), performedPeriod={"start": WHEN}, status="completed"),
            "Procedure",
            {"time": AT, "status": "completed"},
        ),
        (
            resource("Procedure", code=coded("1"), performedDateTime=WHEN, status="not-done"),
            "Procedure",
            {"rank": Rank.CANCELLED},
        ),
        (
            {"resourceType": "Immunization", "patient": WHO["subject"], "vaccineCode": coded("140"),
             "occurrenceDateTime": WHEN, "status": "completed"},
            "Procedure",
            {"time": AT},
        ),
        (resource("ServiceRequest", code=coded("1"), authoredOn=WHEN, status="active"), "Order", {"status": "active"}),
        (
            resource("MedicationRequest", medicationCodeableConcept=coded("2"), authoredOn=WHEN, status="active",
                     dosageInstruction=[{"route": {"text": "oral"}, "doseAndRate": [
                         {"doseQuantity": {"value": 500, "unit": "mg"}}]}]),
            "Medication",
            {"action": "ordered", "dose": 500.0, "unit": "mg", "route": "oral"},
        ),
        (
            resource("MedicationAdministration", medicationCodeableConcept=coded("2"), effectiveDateTime=WHEN,
                     status="completed", dosage={"dose": {"value": 1, "code": "g"}}),
            "Medication",
            {"action": "administered", "dose": 1.0, "unit": "g", "time": AT},
        ),
        (
            resource("MedicationDispense", medicationCodeableConcept=coded("2"), whenHandedOver=WHEN),
            "Medication",
            {"action": "dispensed"},
        ),
    ],
)  # fmt: skip
def test_each_resource_becomes_its_fact(document: dict, kind: str, expected: dict):
    fact = only(document)
    assert type(fact).__name__ == kind
    found = {name: fact.version.rank if name == "rank" else getattr(fact, name) for name in expected}
    assert found == expected


def test_a_drug_given_by_reference_has_the_medications_code():
    drug = {
        "resourceType": "Medication",
        "id": "m",
        "code": coded("855332", "http://www.nlm.nih.gov/research/umls/rxnorm"),
    }
    order = resource("MedicationRequest", medicationReference={"reference": "Medication/m"}, authoredOn=WHEN)
    assert only(bundle(drug, order)).code.code == "855332"
    held = resource("MedicationRequest", contained=[drug], medicationReference={"reference": "#m"}, authoredOn=WHEN)
    assert only(held).code.code == "855332"
    shown = resource("MedicationRequest", medicationReference={"display": "Aspirin"}, authoredOn=WHEN)
    assert only(shown).code.display == "Aspirin"
    assert reasons(resource("MedicationRequest", authoredOn=WHEN)) == [("no_code", "medication[x]")]


def test_an_imaging_study_meets_its_dicom_instances_by_their_uids():
    study = resource(
        "ImagingStudy",
        identifier=[{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
        started=WHEN,
        status="available",
        series=[
            {"uid": "1.2.3.1", "modality": {"code": "DX"}, "bodySite": {"code": "51185008", "display": "Chest"}},
            {"uid": "1.2.3.2", "modality": {"code": "US"}},
        ],
    )
    fact = only(study)
    assert (fact.modality, fact.body_part, fact.time) == ("DX", "CHEST", AT)
    assert (fact.study, fact.series) == (digest("dicom", "1.2.3"), digest("dicom", "1.2.3.1"))
    assert reasons(study) == [("unsupported_modality", "series[1].modality")]


def attached(text: str | bytes, kind: str = "text/plain") -> dict:
    data = text.encode() if isinstance(text, str) else text
    return {"contentType": kind, "data": base64.b64encode(data).decode()}


def test_a_note_keeps_its_text_its_type_and_its_hash():
    note = resource(
        "DocumentReference",
        id="d1",
        status="current",
        type=coded("11506-3", "http://loinc.org", "Progress note"),
        description="Mrs Featherstonehaugh",
        date=WHEN,
        content=[{"attachment": attached("Chest clear.\r\nPlan: home.")}],
    )
    fact = only(note)
    assert (fact.text, fact.title, fact.time) == ("Chest clear.\nPlan: home.", "Progress note", AT)
    assert fact.text_sha256 == sha256(fact.text.encode()).hexdigest()


def test_a_note_in_latin_1_is_read_as_it_was_written():
    data = attached("Besprechung: gute Prognose für Übergang".encode("latin-1"), "text/plain; charset=iso-8859-1")
    assert "für Übergang" in only(resource("DocumentReference", date=WHEN, content=[{"attachment": data}])).text


PDF = b"%PDF-1.7"


def test_a_pdf_is_an_attachment_that_the_document_names():
    document = resource("DocumentReference", date=WHEN, content=[{"attachment": attached(PDF, "application/pdf")}])
    fact = only(document)
    assert (fact.text, fact.content_type, fact.encapsulated) == ("", "application/pdf", reference_of(PDF))
    assert fact.text_sha256 == sha256(PDF).hexdigest()
    assert [one.data for one in understood(document).attachments] == [PDF]


def test_a_document_in_a_binary_of_the_same_message_is_found():
    binary = {"resourceType": "Binary", "contentType": "application/pdf", "data": attached(PDF)["data"]}
    for url, held in (
        ("urn:uuid:b1", transaction(("urn:uuid:b1", binary))),
        ("Binary/b1", bundle(binary | {"id": "b1"})),
    ):
        note = resource("DocumentReference", date=WHEN, content=[{"attachment": {"url": url}}])
        held["entry"].append({"resource": note})
        (fact,) = facts(held)
        assert (fact.encapsulated, fact.content_type) == (reference_of(PDF), "application/pdf")


def test_of_several_forms_of_a_report_the_text_counts_once():
    forms = [attached(PDF, "application/pdf"), attached("<p>Clear.", "text/html"), attached("Clear.")]
    found = facts(resource("DiagnosticReport", id="r", status="final", effectiveDateTime=WHEN, presentedForm=forms))
    assert [(one.content_type, one.text) for one in found] == [("application/pdf", ""), ("text/html", "Clear.")]


def test_nothing_is_kept_of_what_a_withdrawn_report_said():
    forms = [attached(PDF, "application/pdf")]
    report = resource(
        "DiagnosticReport", id="r", status="entered-in-error", effectiveDateTime=WHEN, presentedForm=forms
    )
    assert (only(report).encapsulated, understood(report).attachments) == ("", ())


@pytest.mark.parametrize(
    ("attachment", "reason"),
    [({"url": "https://x/y"}, "content_elsewhere"), ({"data": "***"}, "unsupported_value_type"), ({}, "no_value")],
)
def test_an_attachment_that_is_not_there_is_set_aside(attachment: dict, reason: str):
    document = resource("DocumentReference", date=WHEN, content=[{"attachment": attachment}])
    assert reasons(document) == [(reason, "content[0]")]


def test_a_document_that_replaces_another_withdraws_it():
    first = resource("DocumentReference", id="d1", date=WHEN, content=[{"attachment": attached("draft")}])
    second = resource(
        "DocumentReference",
        id="d2",
        date=WHEN,
        content=[{"attachment": attached("final")}],
        relatesTo=[{"code": "replaces", "target": {"reference": "DocumentReference/d1"}}],
    )
    kept, gone = facts(second)
    assert isinstance(gone, Document)
    assert gone.id == only(first).id != kept.id
    assert gone.version > only(first).version


def test_a_report_gives_its_forms_or_its_conclusion_and_the_results_within_it():
    base = {"code": coded("24331-1", "http://loinc.org", "Lipid panel"), "effectiveDateTime": WHEN, "status": "final"}
    assert only(resource("DiagnosticReport", conclusion="No acute finding.", **base)).text == "No acute finding."
    form = resource("DiagnosticReport", presentedForm=[attached("Long report")], conclusion="Short", **base)
    assert only(form).text == "Long report"
    inner = {k: v for k, v in observation(id="x").items() if k not in ("subject", "effectiveDateTime")}
    held = resource("DiagnosticReport", contained=[inner], result=[{"reference": "#x"}], **base)
    fact = only(held)
    assert isinstance(fact, Observation)
    assert (fact.value, fact.time) == (72, AT)
    alone = resource("DiagnosticReport", result=[{"reference": "Observation/1"}], **base)
    assert reasons(alone) == [("no_clinical_content", "DiagnosticReport")] or reasons(alone) == [
        ("no_clinical_content", "")
    ]


UNREAD = {
    **dict.fromkeys(("CarePlan", "NutritionIntake"), "unsupported_resource"),
    **dict.fromkeys(("Claim", "Coverage", "Provenance"), "administrative"),
    **dict.fromkeys(("Practitioner", "Organization"), "no_patient_reference"),
}


@pytest.mark.parametrize(("kind", "reason"), UNREAD.items())
def test_what_is_not_read_has_its_reason_and_its_place(kind: str, reason: str):
    assert reasons({"resourceType": kind}) == [(reason, kind)]
    assert reasons(bundle(observation(), {"resourceType": kind})) == [(reason, "entry[1]")]
    assert understood({"resourceType": kind}).events == ()


def test_an_allergy_says_to_what_since_when_and_how_bad():
    fact = only(
        {
            "resourceType": "AllergyIntolerance",
            "id": "a1",
            "patient": WHO["subject"],
            "clinicalStatus": coded("active", "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"),
            "category": ["food"],
            "criticality": "high",
            "code": coded("91935009", display="Allergy to peanut"),
            "onsetDateTime": WHEN,
            "reaction": [{"severity": "mild"}, {"severity": "severe", "manifestation": [coded("39579001")]}],
        }
    )
    assert (fact.code.code, fact.category, fact.criticality) == ("91935009", "food", "high")
    assert (fact.severity, fact.status, fact.time) == ("severe", "active", AT)


@pytest.mark.parametrize("verification", ["entered-in-error", "refuted"])
def test_an_allergy_that_is_none_is_withdrawn(verification: str):
    document = {"resourceType": "AllergyIntolerance", "id": "a1", "patient": WHO["subject"], "code": coded("1")}
    known = only({**document, "recordedDate": WHEN})
    gone = only({**document, "recordedDate": WHEN, "verificationStatus": coded(verification)})
    assert gone.id == known.id
    assert gone.version.rank >= Rank.CANCELLED


def test_a_photograph_is_a_document_that_came_as_a_file():
    photo = attached(b"\x89PNG\r\n\x1a\n", "image/png")
    fact = only(resource("Media", id="m1", status="completed", createdDateTime=WHEN, content=photo))
    assert (fact.content_type, fact.encapsulated, fact.time) == ("image/png", reference_of(b"\x89PNG\r\n\x1a\n"), AT)


def test_a_drug_that_is_taken_as_somebody_says_and_one_that_is_not():
    stated = resource("MedicationStatement", id="s1", medicationCodeableConcept=coded("1"), effectiveDateTime=WHEN)
    taken, not_taken = (only({**stated, "status": status}) for status in ("active", "not-taken"))
    assert (taken.action, taken.status, taken.version.rank) == ("stated", "active", Rank.FINAL)
    assert not_taken.version.rank == Rank.CANCELLED


def composed(*sections: dict, **more) -> dict:
    kind = coded("34133-9", "http://loinc.org")
    return resource("Composition", id="c1", type=kind, date=WHEN, section=list(sections), **more)


def said(title: str, text: str, **more) -> dict:
    return {"title": title, "text": {"status": "generated", "div": f"<div>{text}</div>"}, **more}


def test_the_narrative_of_a_composition_is_one_note():
    within = said("Medication", "Aspirin &amp; <b>rest</b>", section=[said("Dose", "100 mg")])
    note = only(composed({"title": "Empty"}, within, status="final"))
    assert note.text == "Medication\nAspirin & rest\n\nDose\n100 mg"
    assert (note.title, note.code.code, note.version.rank) == ("34133-9", "34133-9", Rank.FINAL)


def test_a_composition_that_only_lists_its_entries_says_nothing_and_one_in_error_is_withdrawn():
    assert reasons(composed({"entry": [{"reference": "Condition/1"}]}, status="final")) == [("no_clinical_content", "")]
    note, gone = (only(composed(said("a", "b"), status=status)) for status in ("final", "entered-in-error"))
    assert gone.id == note.id
    assert (gone.text, gone.version.rank) == ("", Rank.ENTERED_IN_ERROR)


def test_what_happened_in_a_visit_without_a_date_of_its_own_takes_the_visits():
    visit = resource("Encounter", id="e1", status="finished", period={"start": WHEN})
    diagnosis = resource("Condition", code=coded("1"), encounter={"reference": "Encounter/e1"})
    assert facts(bundle(visit, diagnosis))[1].time == AT
    assert reasons(resource("Condition", code=coded("1"))) == [("no_time", "")]
