"""Features: a pure function of the record and a moment, the same for training, serving and evaluation."""

from services.domain.features.inputs import (
    ARRAYS,
    FEATURE_VERSION,
    MODALITIES,
    ModelInputs,
    inputs_at,
    inputs_of_many,
    labels,
    model_inputs,
)
from services.domain.features.variables import VARIABLE_NAMES

__all__ = [
    "ARRAYS",
    "FEATURE_VERSION",
    "MODALITIES",
    "VARIABLE_NAMES",
    "ModelInputs",
    "inputs_at",
    "inputs_of_many",
    "labels",
    "model_inputs",
]
