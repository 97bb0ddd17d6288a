"""Features: a pure function of the record and a moment, the same for training, serving and evaluation."""

from services.domain.features.inputs import (
    ARRAYS,
    FEATURE_VERSION,
    MODALITIES,
    Batch,
    ModelInputs,
    labels,
    model_inputs,
)
from services.domain.features.variables import VARIABLE_NAMES

__all__ = [
    "ARRAYS",
    "FEATURE_VERSION",
    "MODALITIES",
    "VARIABLE_NAMES",
    "Batch",
    "ModelInputs",
    "labels",
    "model_inputs",
]
