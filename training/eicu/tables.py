"""Reads the tables, cut to what was known 24 hours after admission to the unit, outcomes kept apart."""

from pathlib import Path

import pandas as pd

CUT_MINUTES = 24 * 60
"""Nothing charted at or after this many minutes from unit admission is read, nor what was entered after it."""

OUTCOME_COLUMNS = frozenset({"diedinhospital", "dischargelocation", "var03hspxlos"})
"""Columns of apachePredVar that hold, or follow from, how the stay ended: never read."""

OFFSETS: dict[str, tuple[str, ...]] = {
    "vitalAperiodic": ("observationoffset",),
    "respiratoryCharting": ("respchartoffset", "respchartentryoffset"),
    "physicalExam": ("physicalexamoffset",),
    "note": ("noteoffset", "noteenteredoffset"),
    "nurseAssessment": ("nurseassessoffset", "nurseassessentryoffset"),
    "treatment": ("treatmentoffset",),
    "diagnosis": ("diagnosisoffset",),
    "medication": ("drugstartoffset", "drugorderoffset"),
    "pastHistory": ("pasthistoryoffset", "pasthistoryenteredoffset"),
    "admissionDx": ("admitdxenteredoffset",),
}
"""The times that a row carries: when it was true and when it was entered. All must be before the cut."""


def read_table(folder: Path, name: str) -> pd.DataFrame | None:
    """One table as `<name>.csv.gz` or `<name>.csv` in `folder`, uncut; None when it is not there."""
    for suffix in (".csv.gz", ".csv"):
        path = folder / f"{name}{suffix}"
        if path.exists():
            return pd.read_csv(path, low_memory=False).rename(columns=str.lower)
    return None


def read_cut(folder: Path, name: str, stays: "pd.Index[int]") -> pd.DataFrame:
    """The rows of `stays` that were known at the cut, by stay and time; empty when the table is not there."""
    table = read_table(folder, name)
    if table is None:
        return pd.DataFrame({"patientunitstayid": pd.Series(dtype="int64")})
    table = table[table["patientunitstayid"].isin(stays)]
    for column in OFFSETS.get(name, ()):
        table = table[table[column].fillna(CUT_MINUTES) < CUT_MINUTES]
    dropped = [column for column in table.columns if column in OUTCOME_COLUMNS]
    order = ["patientunitstayid", *OFFSETS.get(name, ()), table.columns[0]]
    return table.drop(columns=dropped).sort_values(order, kind="stable")
