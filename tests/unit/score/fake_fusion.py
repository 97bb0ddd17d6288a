"""The fusion model as a Python function of the last heart rate, for tests of what is around it."""

import numpy as np

from services.domain.features import FEATURE_VERSION, MODALITIES, VARIABLE_NAMES
from services.domain.features.variables import INDEX
from services.domain.prediction import Outcome
from services.inference.manifest import Gate, Manifest, OutcomeSpec

MANIFEST = Manifest(
    model="risk_fusion",
    version="1",
    feature_version=FEATURE_VERSION,
    weights_sha256="ab" * 32,
    max_batch=16,
    outcomes=[OutcomeSpec(name=Outcome.SEPSIS_6H, threshold=0.5), OutcomeSpec(name=Outcome.MORTALITY, threshold=0.9)],
    gate=Gate(min_variables=2),
)
HEART_RATE = INDEX["heart_rate"]


def risk_of(inputs):
    """P = heart rate / 200 for sepsis, half of that for death."""
    rate = np.nan_to_num(inputs["series"][:, HEART_RATE, 0], nan=0.0)
    risk = np.stack([rate / 200, rate / 400], axis=1).astype(np.float32)
    return {"risk": risk, "raw": risk * 0.9, **explanation_of(inputs)}


def explanation_of(inputs):
    n = len(inputs["series"])
    modality = np.zeros((n, 2, len(MODALITIES)), np.float32)
    modality[:, :, 0] = 1.5
    variable = np.zeros((n, 2, len(VARIABLE_NAMES)), np.float32)
    variable[:, :, HEART_RATE] = 1.25
    variable[:, :, INDEX["sbp"]] = -0.5
    variable[:, :, INDEX["lactate"]] = 0.25
    return {"modality_contribution": modality, "variable_contribution": variable}


MODELS = {"risk_fusion": risk_of}
