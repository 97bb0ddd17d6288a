"""Who is studied, and what became of them: in-hospital death, asked 24 hours after admission to the unit."""

from pathlib import Path

import pandas as pd

from training.eicu.tables import CUT_MINUTES, read_table

AGE_TOP_CODED = 90.0
"""eICU writes '> 89' for these."""
NOT_HOME = 0.25
"""The course of a patient who was discharged alive, and not to home as far as is known; 1 for death, 0 for home."""


def read_cohort(folder: Path) -> pd.DataFrame:
    """One row for each unit stay whose patient was in hospital, alive, 24 h after unit admission; index: stay id.

    Columns: `patient` (uniquepid), `hospital`, `death` (bool, in this hospital stay), `course` (see
    `training.datasets.stays.course_of`; never a feature), `age`, `sex`, `ethnicity`, `unit`, `admission_offset` (min),
    `admission_diagnosis`, `height` (cm), `weight` (kg), `apache_iva` (published predicted in-hospital mortality, NaN
    where there is none; to compare with and to learn from, never a feature). Stays without a known outcome are left
    out. A table that has no `hospitaldischargelocation` is read as if all had gone home. Raises FileNotFoundError.
    """
    patient = read_table(folder, "patient")
    if patient is None:
        raise FileNotFoundError(f"no patient.csv.gz in {folder}")
    status = patient["hospitaldischargestatus"]
    patient = patient[status.isin(["Alive", "Expired"]) & (patient["hospitaldischargeoffset"] >= CUT_MINUTES)]
    patient = patient.set_index("patientunitstayid").sort_index()
    died = patient["hospitaldischargestatus"] == "Expired"
    away = ~patient.get("hospitaldischargelocation", pd.Series("Home", patient.index)).isin(["Home"])
    age = pd.to_numeric(patient["age"].replace("> 89", str(AGE_TOP_CODED)), errors="coerce")
    return pd.DataFrame(
        {
            "patient": patient["uniquepid"],
            "hospital": patient["hospitalid"],
            "death": died,
            "course": died.where(died, NOT_HOME * away).astype(float),
            "age": age,
            "sex": patient["gender"].map({"Male": "male", "Female": "female"}),
            "ethnicity": patient["ethnicity"].fillna("Other/Unknown"),
            "unit": patient["unittype"],
            "admission_offset": patient["hospitaladmitoffset"],
            "admission_diagnosis": patient["apacheadmissiondx"].fillna(""),
            "height": patient["admissionheight"],
            "weight": patient["admissionweight"],
            "apache_iva": apache_iva(folder).reindex(patient.index),
        }
    )


def apache_iva(folder: Path) -> "pd.Series[float]":
    """The published APACHE IVa prediction of in-hospital death by stay id; a negative one means 'none'."""
    results = read_table(folder, "apachePatientResult")
    if results is None:
        return pd.Series(dtype=float)
    results = results[(results["apacheversion"] == "IVa") & (results["predictedhospitalmortality"] >= 0)]
    return results.set_index("patientunitstayid")["predictedhospitalmortality"].astype(float)
