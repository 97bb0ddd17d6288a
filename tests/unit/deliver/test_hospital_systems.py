"""What the hospital's own systems ask: FHIR RiskAssessment and CDS Hooks."""

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.riskassessment import RiskAssessment
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.cds_hooks import SUMMARY_LENGTH, cards
from services.domain.events import Version
from services.domain.identity import patient_key
from services.domain.prediction import Outcome, Prediction, Risk, Status
from services.domain.record import PatientRecord, encode_record
from tests.unit.deliver.support import MRN, SECRET, board, hospital_board, prediction, record
from tests.unit.deliver.test_web import app
from tests.unit.strategies import T0


@pytest.fixture
async def hospital():
    made, key = hospital_board()
    async with TestClient(TestServer(app(made))) as client:
        yield client, made, key


def hook(**more):
    return {
        "hook": "patient-view",
        "hookInstance": "1",
        "context": {"userId": "Practitioner/1", "patientId": "7"},
        **more,
    }


async def test_a_prediction_is_read_by_its_id_as_valid_r4(hospital):
    client, _, key = hospital
    answer = await client.get(f"/fhir/RiskAssessment/{key}1risk-fusion")
    assert answer.content_type == "application/fhir+json"
    resource = RiskAssessment.model_validate_json(await answer.read())
    assert float(resource.prediction[0].probabilityDecimal) == 40.0
    missing = await client.get("/fhir/RiskAssessment/none")
    assert (missing.status, (await missing.json())["resourceType"]) == (404, "OperationOutcome")


@pytest.mark.parametrize("form", ["{key}", "Patient/{key}"])
async def test_a_patient_s_predictions_are_found_by_key_newest_first(hospital, form):
    client, made, key = hospital
    made.take_prediction(prediction(key, hours=3))
    answer = await client.get("/fhir/RiskAssessment", params={"patient": form.format(key=key)})
    bundle = Bundle.model_validate_json(await answer.read())
    assert [entry.resource.id for entry in bundle.entry] == [f"{key}3risk-fusion", f"{key}1risk-fusion"]
    assert bundle.entry[0].resource.subject.identifier.value == key
    one = await client.get("/fhir/RiskAssessment", params={"patient": key, "_count": "1"})
    page = await one.json()
    assert (page["total"], len(page["entry"])) == (2, 1)


async def test_the_hospital_s_number_finds_its_patient_and_is_the_subject_it_is_answered_with(hospital):
    client, _, _ = hospital
    token = f"urn:oid:HOSPITAL|{MRN}"
    found = await (await client.post("/fhir/RiskAssessment/_search", data={"patient.identifier": token})).json()
    assert found["entry"][0]["resource"]["subject"]["identifier"]["value"] == MRN
    assert MRN not in found["link"][0]["url"]
    other = await client.get("/fhir/RiskAssessment", params={"patient.identifier": "HOSPITAL|other"})
    assert (await other.json())["total"] == 0


@pytest.mark.parametrize("query", [{}, {"patient": "p", "_count": "many"}])
async def test_what_is_no_question_is_refused_with_a_way_out(hospital, query):
    answer = await hospital[0].get("/fhir/RiskAssessment", params=query)
    assert answer.status == 400
    assert (await answer.json())["issue"][0]["diagnostics"]


async def test_the_assessment_of_a_record_that_was_merged_since_is_cancelled(hospital):
    client, made, key = hospital
    made.take_record(encode_record(PatientRecord(patient=key, merged_into="q")))
    answer = await (await client.get(f"/fhir/RiskAssessment/{key}1risk-fusion")).json()
    assert answer["status"] == "cancelled"


async def test_what_cannot_be_rendered_tells_and_logs_no_content(hospital, caplog):
    client, made, key = hospital
    made.take_prediction(prediction(key, hours=4, prediction_id="not a FHIR id"))
    answer = await client.get("/fhir/RiskAssessment", params={"patient.identifier": f"HOSPITAL|{MRN}"})
    assert answer.status == 500
    assert MRN not in await answer.text() + caplog.text
    assert "not a FHIR id" not in caplog.text


async def test_the_hook_is_discovered_and_asks_for_the_patient(hospital):
    (service,) = (await (await hospital[0].get("/cds-services")).json())["services"]
    assert (service["hook"], service["id"]) == ("patient-view", "wardstream")
    assert service["prefetch"]["patient"] == "Patient/{{context.patientId}}"


async def test_opening_a_chart_shows_the_alert_and_a_link_to_the_page(hospital):
    client, _, key = hospital
    patient = {"resourceType": "Patient", "id": "7", "identifier": [{"system": "urn:oid:HOSPITAL", "value": MRN}]}
    answer = await client.post("/cds-services/wardstream", json=hook(prefetch={"patient": patient}))
    (card,) = (await answer.json())["cards"]
    assert card["indicator"] == "warning"
    assert card["summary"] == "Death in hospital: 40.0 %"
    assert "raised by Heart rate, Leukocytes (missing)" in card["detail"]
    assert card["links"][0]["url"].endswith(f"/#ward/{key}")
    assert card["source"]["label"]
    assert MRN not in str(card)


async def test_without_prefetch_the_chart_is_found_by_its_id_on_the_ehr_s_server():
    key = patient_key("https://ehr.example/r4", "Patient/7", SECRET)
    made = board(prediction(key, probability=0.1), patient=key)
    async with TestClient(TestServer(app(made, page_url="https://ward.example/"))) as client:
        answer = await client.post("/cds-services/wardstream", json=hook(fhirServer="https://ehr.example/r4/"))
        (card,) = (await answer.json())["cards"]
        assert card["indicator"] == "info"
        assert card["links"][0]["url"] == f"https://ward.example/#ward/{key}"
        unknown = await client.post("/cds-services/wardstream", json=hook())
        assert (await unknown.json()) == {"cards": []}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"hook": "order-sign", "context": {}}'])
async def test_what_is_no_call_of_the_hook_is_refused(hospital, body):
    assert (await hospital[0].post("/cds-services/wardstream", data=body)).status == 400


async def test_simulated_patients_say_so_on_their_cards():
    made, _ = hospital_board(authority="SYNTHETIC")
    patient = {"resourceType": "Patient", "identifier": [{"system": "SYNTHETIC", "value": MRN}]}
    async with TestClient(TestServer(app(made))) as client:
        answer = await client.post("/cds-services/wardstream", json=hook(prefetch={"patient": patient}))
        assert (await answer.json())["cards"][0]["summary"].startswith("SYNTHETIC patient: ")


risks = st.builds(
    Risk,
    outcome=st.sampled_from(Outcome),
    status=st.sampled_from(Status),
    probability=st.none() | st.floats(0, 1),
    score=st.none() | st.integers(0, 20).map(float),
    alert=st.booleans(),
    threshold=st.none() | st.floats(0.01, 1),
    reason=st.sampled_from(["", "too_little_data", "NEWS2"]),
)


@given(st.lists(risks, max_size=3), st.booleans())
def test_cards_fit_the_specification_whatever_the_risks(found, synthetic):
    one = Prediction(
        prediction_id="i", patient="p", record_version="v", as_of=T0, model="m", model_version="1", risks=found
    )
    made = cards([(one, risk) for risk in found], "https://ward.example/#ward/p", synthetic=synthetic)
    assert bool(made) == bool(found)
    for card in msgspec.to_builtins(made):
        assert 0 < len(card["summary"]) <= SUMMARY_LENGTH
        assert card["indicator"] in ("info", "warning", "critical")
        assert card["source"]["label"]


async def test_a_lone_record_without_predictions_has_no_cards():
    key = patient_key("HOSPITAL", MRN, SECRET)
    made = board(patient=key)
    assert made.take_record(record(key)) == key
    assert cards(made.latest(key), "x") == []
    assert Version()
