"""What we write: RiskAssessment, OperationOutcome, CapabilityStatement; and the R4 check of what comes in."""

from datetime import UTC, datetime

import orjson
import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.riskassessment import RiskAssessment
from hypothesis import example, given
from hypothesis import strategies as st

from services.domain.events import Identifier
from services.domain.prediction import MISSING, Contribution, ModalityState, Outcome, Prediction, Risk, Status
from services.domain.reasons import Filtered, FilterReason, Rejected, RejectReason
from services.domain.site import Site
from services.formats.fhir import outcome
from services.formats.fhir.capability import capability_statement
from services.formats.fhir.render import render, risk_assessment
from services.formats.fhir.validate import validate
from tests.unit.formats.fhir.build import observation, patient, refused, understood

AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
RISKS = [
    Risk(outcome=Outcome.SEPSIS_6H, probability=0.3125, alert=True, threshold=0.2,
         modalities=[Contribution("series", 0.8)],
         features=[Contribution("lactate", 0.5, 4.1), Contribution("wbc", 0.2, MISSING)]),
    Risk(outcome=Outcome.MORTALITY, status=Status.INDETERMINATE, reason="too_little_data"),
    Risk(outcome=Outcome.DETERIORATION, status=Status.FALLBACK, score=7, alert=True, reason="NEWS2"),
]  # fmt: skip


def prediction(**more) -> Prediction:
    fields = {
        "prediction_id": "ab" * 16, "patient": "cd" * 16, "record_version": "ef" * 16, "as_of": AT,
        "model": "risk_fusion", "model_version": "3", "risks": RISKS, "weights_sha256": "00ff",
        "modalities": [ModalityState("series", True), ModalityState("image", False)],
    }  # fmt: skip
    return Prediction(**(fields | more))


def test_a_prediction_is_a_valid_risk_assessment_and_says_all_it_knows():
    document = orjson.loads(render(prediction()))
    assert RiskAssessment.model_validate(document)
    assert document["status"] == "final"
    assert document["subject"]["identifier"] == {"system": "urn:wardstream:patient-key", "value": "cd" * 16}
    sepsis, death, decline = document["prediction"]
    assert sepsis["probabilityDecimal"] == 31.25  # R4: percentages
    assert sepsis["outcome"]["coding"][0]["code"] == "91302008"
    assert sepsis["whenPeriod"]["end"].startswith("2026-03-01T16:00:00")
    assert sepsis["qualitativeRisk"]["coding"][0]["code"] == "high"
    assert sepsis["rationale"].endswith("series +0.80; lactate +0.50; wbc (missing) +0.20")
    assert "probabilityDecimal" not in death
    assert "too_little_data" in death["rationale"]
    assert "probabilityDecimal" not in decline
    assert "score 7" in decline["rationale"]
    assert document["note"][0]["text"] == "without image"
    assert document["contained"][0]["version"][0]["value"] == "3"


def test_the_hospitals_own_identifier_goes_out_where_the_receiver_may_have_it():
    document = orjson.loads(render(prediction(), Identifier("urn:hospital", "m1")))
    assert document["subject"]["identifier"] == {"system": "urn:hospital", "value": "m1"}
    assert "cd" * 16 not in orjson.dumps(document).decode()


def test_a_superseded_records_assessment_is_cancelled():
    assert risk_assessment(prediction(superseded_by="12" * 16)).status == "cancelled"


@given(st.floats(0, 1), st.sampled_from(Outcome), st.booleans())
def test_every_probability_is_within_what_r4_allows(probability: float, which: Outcome, alert: bool):
    risk = Risk(outcome=which, probability=probability, alert=alert)
    document = orjson.loads(render(prediction(risks=[risk])))
    assert 0 <= document["prediction"][0]["probabilityDecimal"] <= 100


@example(RejectReason.EMPTY, FilterReason.UNSUPPORTED_MESSAGE_TYPE, "\x0c")
@given(st.sampled_from(RejectReason), st.sampled_from(FilterReason), st.text(max_size=5))
def test_every_reason_makes_a_valid_operation_outcome(reject: RejectReason, part: FilterReason, where: str):
    issues = [
        outcome.rejected(Rejected(reject, where, "do so")),
        outcome.set_aside(Filtered(part, "entry[3].code"), "line 2"),
    ]
    made = outcome.operation_outcome(issues)
    assert OperationOutcome.model_validate(made)
    assert made["issue"][0]["details"]["coding"][0]["code"] == reject
    assert made["issue"][1]["expression"] == ["line 2 entry[3].code"]


def test_an_outcome_without_issues_says_what_was_done():
    assert OperationOutcome.model_validate(outcome.operation_outcome([]))


def test_the_capability_statement_is_valid():
    assert CapabilityStatement.model_validate(capability_statement("1.0"))


CHECKED = Site(secret=b"test", check_fhir=True)


def test_the_r4_check_passes_what_is_right_and_names_the_place_of_what_is_wrong():
    assert understood(observation(), CHECKED).events
    wrong = observation(status=["Featherstonehaugh"], Featherstonehaugh=1)
    found = refused(wrong, CHECKED)
    assert (found.reason, found.where) == ("malformed", "status")
    assert "(unknown element)" in found.hint
    assert "Featherstonehaugh" not in repr(found)
    assert understood(wrong).events, "without the check it is read all the same"


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"resourceType": "Bundle", "type": "batch", "entry": [
            {"resource": patient()}, {"resource": observation(status=5)}]},
         "entry[1].status"),
        ({"resourceType": "Featherstonehaugh"}, "resourceType"),
        ({"resourceType": "Quantity"}, "resourceType"),
        (observation(valueString="x"), "Observation"),
        (observation(code={"coding": [{"code": 5}]}), "code.coding[0].code"),
    ],
)  # fmt: skip
def test_the_r4_check_says_where(document: dict, where: str):
    found = validate(document)
    assert found is not None
    assert found.where == where or where == "Observation"
    assert "Featherstonehaugh" not in repr(found)
