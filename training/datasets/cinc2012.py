"""PhysioNet/CinC Challenge 2012: the first 48 h of an ICU stay, and death in hospital (Silva et al., CinC 2012).

Reads a folder of the public `.txt` files (`Time,Parameter,Value`), one such file, or parquet files with the same
columns and `RecordID`. `Outcomes-*.txt` is looked for in the folder and beside it. -1 means missing there.
"""

import csv
from collections.abc import Iterator
from math import exp, nan
from pathlib import Path

import numpy as np

from training.datasets.stays import Result, Stay, birth_date, course_of, plausible

OUTCOME = "mortality"
DECISIONS = (6.0, 12.0, 18.0, 24.0, 30.0, 36.0, 42.0, 48.0)
"""Hours at which a score is asked for; the challenge's own question is the last."""

PARAMETERS: dict[str, tuple[str, str, float]] = {
    "ALP": ("6768-6", "U/L", 1),
    "ALT": ("1742-6", "U/L", 1),
    "AST": ("1920-8", "U/L", 1),
    "Albumin": ("1751-7", "g/dL", 1),
    "BUN": ("3094-0", "mg/dL", 1),
    "Bilirubin": ("1975-2", "mg/dL", 1),
    "Cholesterol": ("2093-3", "mg/dL", 1),
    "Creatinine": ("2160-0", "mg/dL", 1),
    "DiasABP": ("8462-4", "mm[Hg]", 1),
    "FiO2": ("3150-6", "1", 1),
    "GCS": ("9269-2", "{score}", 1),
    "Glucose": ("2345-7", "mg/dL", 1),
    "HCO3": ("1963-8", "mmol/L", 1),
    "HCT": ("4544-3", "%", 1),
    "HR": ("8867-4", "/min", 1),
    "Height": ("8302-2", "cm", 1),
    "K": ("2823-3", "mmol/L", 1),
    "Lactate": ("2524-7", "mmol/L", 1),
    "MAP": ("8478-0", "mm[Hg]", 1),
    "MechVent": ("20124-4", "1", 1),
    "Mg": ("19123-9", "mg/dL", 1),
    "NIDiasABP": ("8462-4", "mm[Hg]", 1),
    "NIMAP": ("8478-0", "mm[Hg]", 1),
    "NISysABP": ("8480-6", "mm[Hg]", 1),
    "Na": ("2951-2", "mmol/L", 1),
    "PaCO2": ("2019-8", "mm[Hg]", 1),
    "PaO2": ("2703-7", "mm[Hg]", 1),
    "Platelets": ("777-3", "10*3/uL", 1),
    "RespRate": ("9279-1", "/min", 1),
    "SaO2": ("2708-6", "%", 1),
    "SysABP": ("8480-6", "mm[Hg]", 1),
    "Temp": ("8310-5", "Cel", 1),
    "TroponinI": ("10839-9", "ng/mL", 1),
    "TroponinT": ("6598-7", "ng/mL", 1),
    "Urine": ("9187-6", "mL", 1),
    "WBC": ("6690-2", "10*3/uL", 1),
    "Weight": ("29463-7", "kg", 1),
    "pH": ("2744-1", "[pH]", 1),
}
"""Challenge parameter -> LOINC, UCUM unit, factor to that unit."""

UNITS = {1: "CCU", 2: "CSRU", 3: "MICU", 4: "SICU"}

AFTERWARDS = 0.6
"""The course of a patient who died as soon as discharged; it falls by a factor of e in `DAYS` of survival."""
DAYS = 120.0

Entry = tuple[str, str, float]  # hh:mm, parameter, value
Outcome = tuple[float, float]  # death in hospital, the course


def read(path: Path) -> Iterator[Stay]:
    """The stays in order of their record number. Raises FileNotFoundError when there is none."""
    outcomes = {name: _outcome(row) for name, row in outcome_rows(path).items()}
    tables = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if tables and tables[0].suffix == ".parquet":
        for table in tables:
            for name, entries in _from_parquet(table):
                yield _stay(name, entries, outcomes)
        return
    files = [f for f in sorted(path.rglob("*.txt")) if f.stem.isdigit()] if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise FileNotFoundError(f"no numbered .txt and no .parquet file in {path.name}")
    for file in files:
        yield _stay(file.stem, _from_text(file), outcomes)


def outcome_rows(path: Path) -> dict[str, dict[str, str]]:
    """The rows of each `Outcomes*.txt` in the folder of the data and beside it, by record number."""
    folder = path if path.is_dir() else path.parent
    found: dict[str, dict[str, str]] = {}
    for file in (*folder.glob("Outcomes*.txt"), *folder.parent.glob("Outcomes*.txt")):
        with file.open(newline="") as lines:
            found |= {row["RecordID"].strip(): row for row in csv.DictReader(lines)}
    return found


def _outcome(row: dict[str, str]) -> Outcome:
    death = float(row["In-hospital_death"])
    survival, stay = (float(row.get(name) or -1) for name in ("Survival", "Length_of_stay"))
    return death, max(death, course(survival, stay))


def course(survival: float, stay: float) -> float:
    """How near death a patient who left the hospital had come, by the days from admission to death and to discharge.

    >>> course(10, 10), round(course(130, 10), 2), course(-1, 10)
    (0.6, 0.22, 0.0)
    """
    return AFTERWARDS * exp(-max(0.0, survival - max(0.0, stay)) / DAYS) if survival >= 0 else 0.0


def _from_text(file: Path) -> list[Entry]:
    with file.open(newline="") as lines:
        return [(r["Time"], r["Parameter"], float(r["Value"])) for r in csv.DictReader(lines) if r["Value"]]


def _from_parquet(path: Path) -> Iterator[tuple[str, list[Entry]]]:
    import pyarrow.parquet as pq

    columns = pq.read_table(path).to_pydict()
    numbers = columns["RecordID"]
    values = np.round(np.array(columns["Value"], np.float64), 5).tolist()
    entries: list[Entry] = []
    for n, number in enumerate(numbers):
        entries.append((columns["Time"][n], columns["Parameter"][n], values[n]))
        if n + 1 == len(numbers) or numbers[n + 1] != number:
            yield str(int(number)), entries
            entries = []


def _hours(time: str) -> float:
    hours, _, minutes = time.partition(":")
    return int(hours) + int(minutes) / 60


def _stay(name: str, entries: list[Entry], outcomes: dict[str, Outcome]) -> Stay:
    first = {p: v for t, p, v in entries if t == "00:00" and p in ("Age", "Gender", "ICUType")}
    results: list[Result] = []
    for time, parameter, value in entries:
        if parameter not in PARAMETERS or value == -1:
            continue
        loinc, unit, factor = PARAMETERS[parameter]
        value = round(value * factor, 5)
        if plausible(loinc, value):
            results.append(Result(_hours(time), loinc, value, unit))
    labels = zip((OUTCOME, course_of(OUTCOME)), outcomes.get(name, (nan, nan)), strict=True)
    return Stay(
        patient_id=name,
        source="cinc2012",
        birth_date=birth_date(first.get("Age", -1)),
        sex={1: "male", 0: "female"}.get(int(first.get("Gender", -1))),
        unit=UNITS.get(int(first.get("ICUType", 0))),
        admitted_hours=0.0,
        results=results,
        decisions=list(DECISIONS),
        labels={label: np.full(len(DECISIONS), value, np.float32) for label, value in labels},
    )
