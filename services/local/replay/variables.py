"""How results are called in the messages: the labels of the models' variables, by LOINC code."""

from services.domain.features.variables import MODEL_VARIABLES

LABELS: dict[str, str] = {variable.loinc: variable.label for variable in MODEL_VARIABLES}
