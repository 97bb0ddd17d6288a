"""What the note encoder learns to tell from the notes: the physiology of the first day, its course, its outcome, and
the risk of death that APACHE IVa expected, which knows what a diagnosis is worth from more stays than are here.

Labels for training alone; the encoder reads the text and nothing else when it serves.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit

from training.eicu.cohort import apache_iva
from training.eicu.tables import read_table

PHYSIOLOGY = (
    *("vent", "intubated", "dialysis", "motor", "verbal", "urine", "wbc", "temperature", "respiratoryrate", "sodium"),
    *("heartrate", "meanbp", "ph", "hematocrit", "creatinine", "albumin", "pao2", "pco2", "bun", "glucose"),
    *("bilirubin", "fio2"),
)
LIMITS = (0.001, 0.999)
COURSE = ("death", "unit_death", "unit_days", "hospital_days", "home", "nursing", "rehabilitation", "other_hospital")
EXPECTED = "apache_iva"
TARGETS = (*COURSE, "age", "emergency", *PHYSIOLOGY, EXPECTED)
"""The last one must stay the last: `training.fusion.trees` reads it by its place."""


def read_targets(folder: Path, stays: "pd.Index[int]") -> pd.DataFrame:
    """float [stays, TARGETS], NaN where unknown, in the tables' units (days as log(1 + minutes), risk as log-odds)."""
    patient, aps = read_table(folder, "patient"), read_table(folder, "apacheApsVar")
    if patient is None or aps is None:
        raise FileNotFoundError(f"patient.csv.gz or apacheApsVar.csv.gz is not in {folder}")
    patient = patient.set_index("patientunitstayid").loc[stays]
    where = patient["hospitaldischargelocation"].fillna("")
    table = pd.DataFrame(index=stays)
    table["death"] = (patient["hospitaldischargestatus"] == "Expired").astype(float)
    table["unit_death"] = (patient["unitdischargestatus"] == "Expired").astype(float)
    table["unit_days"] = np.log1p(patient["unitdischargeoffset"].clip(lower=0))
    table["hospital_days"] = np.log1p(patient["hospitaldischargeoffset"].clip(lower=0))
    table["home"] = (where == "Home").astype(float)
    table["nursing"] = (where == "Skilled Nursing Facility").astype(float)
    table["rehabilitation"] = (where == "Rehabilitation").astype(float)
    table["other_hospital"] = (where == "Other Hospital").astype(float)
    table["age"] = pd.to_numeric(patient["age"].replace("> 89", "90"), errors="coerce")
    table["emergency"] = (patient["unitadmitsource"] == "Emergency Department").astype(float)
    aps = aps.drop_duplicates("patientunitstayid").set_index("patientunitstayid").reindex(stays)
    for name in PHYSIOLOGY:
        table[name] = aps[name].where(aps[name] >= 0)
    table[EXPECTED] = logit(apache_iva(folder).reindex(stays).clip(*LIMITS))
    return table[list(TARGETS)].astype(float)


def standardised(table: pd.DataFrame) -> NDArray[np.float64]:
    """Zero mean, unit variance, clipped to 3 standard deviations; 0 where unknown."""
    scaled = (table - table.mean()) / table.std(ddof=0).replace(0, 1)
    return np.asarray(scaled.clip(-3, 3).fillna(0.0), dtype=np.float64)
