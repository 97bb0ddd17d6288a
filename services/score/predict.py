"""From a record and a model's checked answer to the `Prediction` that is published.

Pure: the same in, the same bytes out.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np

from services.domain.features import FEATURE_VERSION, VARIABLE_NAMES, ModelInputs
from services.domain.prediction import (
    MISSING,
    Contribution,
    IndeterminateReason,
    Prediction,
    Risk,
    Status,
    prediction_id,
)
from services.domain.record import PatientRecord
from services.inference.checks import Invalid
from services.inference.manifest import Manifest, OutcomeSpec
from services.score import gate

DIGITS = 7
"""Decimals of what is published: float32 carries no more."""
TOP_FEATURES = 10
LEAST_CONTRIBUTION = 1e-4  # log-odds; less moves no risk by a thousandth of a percent

Row = Mapping[str, np.ndarray]

_ENCODER = msgspec.json.Encoder(order="deterministic")


def encode_prediction(prediction: Prediction) -> bytes:
    """The prediction's JSON, deterministic."""
    return _ENCODER.encode(prediction)


def superseded(record: PatientRecord, manifest: Manifest) -> Prediction:
    """For a record that was merged into another: its risks no longer stand."""
    risks = [Risk(outcome=spec.name, status=Status.SUPERSEDED) for spec in manifest.outcomes]
    return msgspec.structs.replace(_frame(record, manifest), risks=risks, superseded_by=record.merged_into)


def indeterminate(
    record: PatientRecord, inputs: ModelInputs, manifest: Manifest, reason: IndeterminateReason
) -> Prediction:
    """For a record that the model should not judge."""
    return _filled(record, inputs, manifest, [_withheld(spec, reason) for spec in manifest.outcomes])


def scored(record: PatientRecord, inputs: ModelInputs, manifest: Manifest, answer: Row | Invalid) -> Prediction:
    """From the model's answer, float32: `risk`, `raw` [outcomes], `modality_contribution` [outcomes, modalities],
    `variable_contribution` [outcomes, variables]."""
    if isinstance(answer, Invalid):
        return indeterminate(record, inputs, manifest, IndeterminateReason.INVALID_ANSWER)
    risks = [_risk(k, spec, answer, inputs) for k, spec in enumerate(manifest.outcomes)]
    return _filled(record, inputs, manifest, risks)


def _risk(k: int, spec: OutcomeSpec, answer: Row, inputs: ModelInputs) -> Risk:
    probability = round(float(answer["risk"][k]), DIGITS)
    reason = gate.after(probability, spec)
    if reason is not None:
        return _withheld(spec, reason)
    modalities, features = _contributions(k, answer, inputs)
    return Risk(
        outcome=spec.name,
        probability=probability,
        raw=round(float(answer["raw"][k]), DIGITS),
        alert=spec.threshold is not None and probability >= spec.threshold,
        threshold=spec.threshold,
        modalities=modalities,
        features=features,
    )


def _withheld(spec: OutcomeSpec, reason: IndeterminateReason) -> Risk:
    return Risk(outcome=spec.name, status=Status.INDETERMINATE, threshold=spec.threshold, reason=reason)


def _contributions(k: int, answer: Row, inputs: ModelInputs) -> tuple[list[Contribution], list[Contribution]]:
    by_modality = answer["modality_contribution"][k]
    modalities = [
        Contribution(state.name, round(float(value), DIGITS), None, state.age_hours)
        for state, value in zip(inputs.modalities, by_modality, strict=True)
        if state.present
    ]
    by_variable = answer["variable_contribution"][k]
    order = sorted(range(len(by_variable)), key=lambda v: (-abs(round(float(by_variable[v]), DIGITS)), v))
    features = [_feature(VARIABLE_NAMES[v], float(by_variable[v]), inputs) for v in order[:TOP_FEATURES]]
    return modalities, [f for f in features if abs(f.value) >= LEAST_CONTRIBUTION]


def _feature(name: str, value: float, inputs: ModelInputs) -> Contribution:
    observed, age_hours = inputs.observed(name)
    return Contribution(name, round(value, DIGITS), MISSING if observed is None else observed, age_hours)


def _filled(record: PatientRecord, inputs: ModelInputs, manifest: Manifest, risks: Sequence[Risk]) -> Prediction:
    return msgspec.structs.replace(
        _frame(record, manifest), risks=list(risks), modalities=inputs.modalities, input_sha256=inputs.sha256
    )


def _frame(record: PatientRecord, manifest: Manifest) -> Prediction:
    return Prediction(
        prediction_id=prediction_id(record.record_version, manifest.model, manifest.version),
        patient=record.patient,
        record_version=record.record_version,
        as_of=datetime.fromtimestamp(record.as_of / 1000, UTC),
        model=manifest.model,
        model_version=manifest.version,
        weights_sha256=manifest.weights_sha256,
        feature_version=FEATURE_VERSION,
        risks=[],
    )
