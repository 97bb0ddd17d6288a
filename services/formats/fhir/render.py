"""RiskAssessment: a prediction as FHIR R4 (section 9.9), through fhir.resources' R4B models, so that it is valid."""

from datetime import timedelta
from typing import Any

from fhir.resources.R4B.riskassessment import RiskAssessment

from services.domain.events import Identifier
from services.domain.prediction import MISSING, Outcome, Prediction, Risk, Status
from services.formats.ours import OUTCOME_SYSTEM, PREDICTION_SYSTEM

PATIENT_KEY_SYSTEM = "urn:wardstream:patient-key"

_CODES: dict[Outcome, tuple[str, str, str]] = {
    Outcome.SEPSIS_6H: ("http://snomed.info/sct", "91302008", "Sepsis"),
    Outcome.MORTALITY: ("http://snomed.info/sct", "419620001", "Death"),
}
_HORIZON: dict[Outcome, timedelta] = {Outcome.SEPSIS_6H: timedelta(hours=6)}
_MODEL = "model"


def risk_assessment(prediction: Prediction, subject: Identifier | None = None) -> RiskAssessment:
    """The prediction as one RiskAssessment with a `prediction` per risk.

    `subject` is the hospital's own identifier of the patient, for a receiver that may have it; else the pseudonymous
    key. Probabilities are percentages, as R4 asks (`probability[x]`). A risk without a probability (indeterminate,
    or the fallback score) says why in `rationale`; an assessment of a superseded record is `cancelled`.
    """
    superseded = bool(prediction.superseded_by) or any(r.status is Status.SUPERSEDED for r in prediction.risks)
    who = subject or Identifier(PATIENT_KEY_SYSTEM, prediction.patient)
    document: dict[str, Any] = {
        "resourceType": "RiskAssessment",
        "id": prediction.prediction_id,
        "contained": [_device(prediction)],
        "identifier": [{"system": PREDICTION_SYSTEM, "value": prediction.prediction_id}],
        "status": "cancelled" if superseded else "final",
        "method": {"text": f"{prediction.model} {prediction.model_version}".strip()},
        "subject": {"type": "Patient", "identifier": {"system": who.authority or None, "value": who.value}},
        "occurrenceDateTime": prediction.as_of.isoformat(),
        "performer": {"reference": f"#{_MODEL}"},
        "prediction": [_prediction(risk, prediction) for risk in prediction.risks],
    }
    note = _note(prediction)
    if note:
        document["note"] = [{"text": note}]
    return RiskAssessment.model_validate(_pruned(document))


def render(prediction: Prediction, subject: Identifier | None = None) -> bytes:
    """`risk_assessment` as JSON."""
    return risk_assessment(prediction, subject).model_dump_json().encode()


def _device(prediction: Prediction) -> dict[str, Any]:
    """What made the prediction: model, version, and the hashes that tell one build from another."""
    versions = {
        "model": prediction.model_version,
        "weights-sha256": prediction.weights_sha256,
        "features": prediction.feature_version,
    }
    return {
        "resourceType": "Device",
        "id": _MODEL,
        "deviceName": [{"name": prediction.model, "type": "model-name"}],
        "version": [{"type": {"text": kind}, "value": value} for kind, value in versions.items() if value],
    }


def _prediction(risk: Risk, prediction: Prediction) -> dict[str, Any]:
    system, code, display = _CODES.get(risk.outcome, (OUTCOME_SYSTEM, risk.outcome.value, risk.outcome.value))
    codings = [{"system": system, "code": code, "display": display}]
    if system != OUTCOME_SYSTEM:
        codings.append({"system": OUTCOME_SYSTEM, "code": risk.outcome.value, "display": risk.outcome.value})
    said: dict[str, Any] = {"outcome": {"coding": codings}, "rationale": _rationale(risk)}
    if risk.probability is not None:
        said["probabilityDecimal"] = round(risk.probability * 100, 4)
        said["qualitativeRisk"] = _level("high" if risk.alert else "low")
    elif risk.alert:
        said["qualitativeRisk"] = _level("high")
    horizon = _HORIZON.get(risk.outcome)
    if horizon is not None:
        end = prediction.as_of + horizon
        said["whenPeriod"] = {"start": prediction.as_of.isoformat(), "end": end.isoformat()}
    return said


def _level(code: str) -> dict[str, Any]:
    """FHIR's risk-probability code: at or above the alert threshold, or below it."""
    system = "http://terminology.hl7.org/CodeSystem/risk-probability"
    return {"coding": [{"system": system, "code": code, "display": f"{code.capitalize()} likelihood"}]}


def _rationale(risk: Risk) -> str:
    """Why there is this number, or none: status, reason, the score, and what moved it (log-odds)."""
    parts = [risk.status.value]
    if risk.score is not None:
        parts.append(f"score {risk.score:g}")
    if risk.reason:
        parts.append(risk.reason)
    if risk.threshold is not None:
        parts.append(f"alert from {risk.threshold * 100:.4g} %")
    moved = [
        f"{c.name}{' (missing)' if c.observed == MISSING else ''} {c.value:+.2f}"
        for c in (*risk.modalities, *risk.features)
    ]
    return "; ".join([*parts, *moved])


def _note(prediction: Prediction) -> str:
    """Which modalities were missing or old."""
    missing = [m.name for m in prediction.modalities if not m.present]
    stale = [m.name for m in prediction.modalities if m.present and m.stale]
    parts = [f"without {', '.join(missing)}"] if missing else []
    parts += [f"stale: {', '.join(stale)}"] if stale else []
    parts += ["shadow"] if prediction.shadow else []
    return "; ".join(parts)


def _pruned(value: Any) -> Any:
    """The document without empty members, which FHIR does not allow."""
    if isinstance(value, dict):
        return {k: v for k, v in ((k, _pruned(v)) for k, v in value.items()) if v not in (None, "", [], {})}
    return [_pruned(v) for v in value] if isinstance(value, list) else value
