"""The clinical variables that the models read: the order of the rows of `series` in `ModelInputs`.

The order is part of the trained models. Adding a variable means a new `FEATURE_VERSION` and new training.
Units are the canonical ones of `services.domain.codes`; a test holds the two tables together.
"""

from typing import NamedTuple


class ModelVariable(NamedTuple):
    """One row of `series`: its short name, what people call it, the LOINC code read for it, its unit."""

    name: str
    label: str
    loinc: str
    unit: str  # UCUM


def _v(name: str, label: str, loinc: str, unit: str) -> ModelVariable:
    return ModelVariable(name, label, loinc, unit)


MODEL_VARIABLES: tuple[ModelVariable, ...] = (
    _v("heart_rate", "Heart rate", "8867-4", "/min"),
    _v("spo2", "Oxygen saturation by pulse oximetry", "59408-5", "%"),
    _v("temperature", "Body temperature", "8310-5", "Cel"),
    _v("sbp", "Systolic blood pressure", "8480-6", "mm[Hg]"),
    _v("map", "Mean blood pressure", "8478-0", "mm[Hg]"),
    _v("dbp", "Diastolic blood pressure", "8462-4", "mm[Hg]"),
    _v("resp_rate", "Respiratory rate", "9279-1", "/min"),
    _v("etco2", "End-tidal CO2", "19889-5", "mm[Hg]"),
    _v("gcs", "Glasgow coma score", "9269-2", "{score}"),
    _v("urine_output", "Urine output", "9187-6", "mL"),
    _v("fio2", "Inspired oxygen fraction", "3150-6", "1"),
    _v("ventilated", "Mechanical ventilation", "20124-4", "1"),
    _v("ph", "Arterial pH", "2744-1", "[pH]"),
    _v("paco2", "Arterial CO2 pressure", "2019-8", "mm[Hg]"),
    _v("pao2", "Arterial O2 pressure", "2703-7", "mm[Hg]"),
    _v("sao2", "Arterial O2 saturation", "2708-6", "%"),
    _v("base_excess", "Base excess", "1925-7", "mmol/L"),
    _v("bicarbonate", "Bicarbonate", "1963-8", "mmol/L"),
    _v("lactate", "Lactate", "2524-7", "mmol/L"),
    _v("sodium", "Sodium", "2951-2", "mmol/L"),
    _v("potassium", "Potassium", "2823-3", "mmol/L"),
    _v("chloride", "Chloride", "2075-0", "mmol/L"),
    _v("calcium", "Calcium", "17861-6", "mg/dL"),
    _v("magnesium", "Magnesium", "19123-9", "mg/dL"),
    _v("phosphate", "Phosphate", "2777-1", "mg/dL"),
    _v("glucose", "Glucose", "2345-7", "mg/dL"),
    _v("bun", "Urea nitrogen", "3094-0", "mg/dL"),
    _v("creatinine", "Creatinine", "2160-0", "mg/dL"),
    _v("bilirubin_total", "Total bilirubin", "1975-2", "mg/dL"),
    _v("bilirubin_direct", "Direct bilirubin", "1968-7", "mg/dL"),
    _v("ast", "AST", "1920-8", "U/L"),
    _v("alt", "ALT", "1742-6", "U/L"),
    _v("alp", "Alkaline phosphatase", "6768-6", "U/L"),
    _v("albumin", "Albumin", "1751-7", "g/dL"),
    _v("cholesterol", "Cholesterol", "2093-3", "mg/dL"),
    _v("troponin_i", "Troponin I", "10839-9", "ng/mL"),
    _v("troponin_t", "Troponin T", "6598-7", "ng/mL"),
    _v("wbc", "Leukocytes", "6690-2", "10*3/uL"),
    _v("hemoglobin", "Haemoglobin", "718-7", "g/dL"),
    _v("hematocrit", "Haematocrit", "4544-3", "%"),
    _v("platelets", "Platelets", "777-3", "10*3/uL"),
    _v("ptt", "Partial thromboplastin time", "14979-9", "s"),
    _v("fibrinogen", "Fibrinogen", "3255-7", "mg/dL"),
    _v("weight", "Body weight", "29463-7", "kg"),
    _v("height", "Body height", "8302-2", "cm"),
)

INDEX: dict[str, int] = {v.name: n for n, v in enumerate(MODEL_VARIABLES)}
VARIABLE_NAMES: tuple[str, ...] = tuple(v.name for v in MODEL_VARIABLES)
VITALS: tuple[str, ...] = ("heart_rate", "spo2", "temperature", "sbp", "map", "dbp", "resp_rate")
LABS: tuple[str, ...] = VARIABLE_NAMES[INDEX["ph"] : INDEX["weight"]]
