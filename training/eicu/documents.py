"""The stay's structured notes, written out as the documents that a hospital would send."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from training.eicu.tables import read_cut

_NOTE_PREFIX = re.compile(r"^notes/(Progress Notes|Shared|Procedure Notes)/", re.IGNORECASE)
_CHROME = re.compile(r"Print/Copies|View Options|Skip Screen|Billing Options|Include Rx|Time-Out|Obtain Options")
"""Paths of the charting screens themselves (how many copies to print): nothing about the patient."""

_NUMBER = re.compile(r"[\d.,\-\s]+")
CHRONIC = ("aids", "hepaticfailure", "lymphoma", "metastaticcancer", "leukemia", "immunosuppression", "cirrhosis")
FLAGS = {
    "electivesurgery": "elective surgery",
    "activetx": "active treatment",
    "readmit": "readmission",
    "thrombolytics": "thrombolytics",
    "diabetes": "diabetes",
    "midur": "myocardial infarction during stay",
    **{name: f"chronic {name}" for name in CHRONIC},
}


@dataclass(frozen=True)
class Note:
    """One document of a stay: when its newest line was charted (minutes from unit admission), its title and text."""

    minutes: int
    title: str
    text: str


def read_notes(folder: Path, cohort: pd.DataFrame) -> dict[int, list[Note]]:
    """The documents of every stay: admission, physician, problems, treatments, medication, nursing, in this order."""
    stays = cohort.index
    lines = [
        _admission(folder, cohort),
        _physician(folder, stays),
        _table(folder, "diagnosis", stays, "Problem list", "diagnosisoffset", ["diagnosisstring"]),
        _table(folder, "treatment", stays, "Treatment summary", "treatmentoffset", ["treatmentstring"]),
        _table(folder, "medication", stays, "Medication list", "drugstartoffset", ["drugname", "routeadmin"]),
        _nursing(folder, stays),
    ]
    notes: dict[int, list[Note]] = {int(stay): [] for stay in stays}
    for table in lines:
        if len(table):
            for (stay, title), group in table.groupby(["stay", "title"], sort=True):
                text = ".\n".join(dict.fromkeys(group["line"]))
                notes[int(stay)].append(Note(int(group["minutes"].max()), str(title), text))
    return notes


def _lines(stay: object, minutes: object, title: str, line: object) -> pd.DataFrame:
    table = pd.DataFrame({"stay": stay, "minutes": minutes, "title": title, "line": line})
    table["line"] = table["line"].fillna("").astype(str).str.strip()
    return table[table["line"] != ""]


def _table(
    folder: Path, name: str, stays: "pd.Index[int]", title: str, offset: str, columns: list[str]
) -> pd.DataFrame:
    rows = read_cut(folder, name, stays)
    if rows.empty:
        return pd.DataFrame()
    if name == "medication":
        rows = rows[(rows["drugordercancelled"] != "Yes") & rows["drugname"].notna()]
    text = rows[columns].fillna("").astype(str).agg(" ".join, axis=1).str.replace("|", ", ", regex=False)
    return _lines(rows["patientunitstayid"], rows[offset], title, text)


def _nursing(folder: Path, stays: "pd.Index[int]") -> pd.DataFrame:
    rows = read_cut(folder, "nurseAssessment", stays)
    if rows.empty:
        return pd.DataFrame()
    value = rows["cellattributevalue"].fillna("").astype(str)
    rows, value = rows[~value.str.fullmatch(_NUMBER)], value[~value.str.fullmatch(_NUMBER)]
    text = rows["celllabel"].astype(str) + " " + rows["cellattribute"].fillna("").astype(str) + ": " + value
    return _lines(rows["patientunitstayid"], rows["nurseassessoffset"], "Nursing assessment", text)


def _physician(folder: Path, stays: "pd.Index[int]") -> pd.DataFrame:
    notes = read_cut(folder, "note", stays)
    exam = read_cut(folder, "physicalExam", stays)
    parts = []
    if len(notes):
        path = notes["notepath"].fillna("").astype(str)
        keep = ~path.str.contains(_CHROME)
        parts.append(_path_lines(notes[keep], "noteoffset", path[keep]))
    if len(exam):
        path = exam["physicalexampath"].fillna("").astype(str)
        keep = ~path.str.contains(_CHROME) & ~exam["physicalexamtext"].fillna("").astype(str).str.fullmatch(_NUMBER)
        parts.append(_path_lines(exam[keep], "physicalexamoffset", path[keep]))
    return pd.concat(parts) if parts else pd.DataFrame()


def _path_lines(rows: pd.DataFrame, offset: str, path: "pd.Series[str]") -> pd.DataFrame:
    """A path of screens says the section and the finding; its last three steps are the sentence."""
    text = path.str.replace(_NOTE_PREFIX, "", regex=True).str.split("/").map(lambda steps: ", ".join(steps[-3:]))
    return _lines(rows["patientunitstayid"], rows[offset], "Physician note", text)


def _admission(folder: Path, cohort: pd.DataFrame) -> pd.DataFrame:
    """Admission diagnosis, chronic health and past history; at minute 0 where a row carries no time."""
    title = "Admission summary"
    parts = [_lines(cohort.index, 0, title, "admitted for " + cohort["admission_diagnosis"])]
    chronic = read_cut(folder, "apachePredVar", cohort.index)
    for column, text in FLAGS.items():
        if column in chronic:
            parts.append(_lines(chronic.loc[chronic[column] == 1, "patientunitstayid"], 0, title, text))
    aps = read_cut(folder, "apacheApsVar", cohort.index)
    for column in ("dialysis", "intubated"):
        if column in aps:
            parts.append(_lines(aps.loc[aps[column] == 1, "patientunitstayid"], 0, title, column))
    history = read_cut(folder, "pastHistory", cohort.index)
    if len(history):
        path = history["pasthistorypath"].fillna("").astype(str)
        keep = ~path.str.contains(_CHROME)
        past = _path_lines(history[keep], "pasthistoryoffset", path[keep])
        parts.append(past.assign(title=title, line="history of " + past["line"]))
    diagnosis = read_cut(folder, "admissionDx", cohort.index)
    if len(diagnosis):
        path = diagnosis["admitdxpath"].fillna("").astype(str).str.split("|").map(lambda steps: ", ".join(steps[-2:]))
        parts.append(_lines(diagnosis["patientunitstayid"], diagnosis["admitdxenteredoffset"], title, path))
    return pd.concat(parts)
