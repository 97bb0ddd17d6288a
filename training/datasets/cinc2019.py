"""PhysioNet/CinC Challenge 2019: hourly ICU data with the hour of sepsis (Reyna et al., Crit Care Med 2020).

Reads a folder of the public `.psv` files (one per patient), one such file, or parquet files with `patient_id`.
Hour `ICULOS = i` becomes i hours after admission to the unit.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets.stays import Result, Stay, birth_date, plausible

OUTCOME = "sepsis-6h"

COLUMNS: dict[str, tuple[str, str, float]] = {
    "HR": ("8867-4", "/min", 1),
    "O2Sat": ("59408-5", "%", 1),
    "Temp": ("8310-5", "Cel", 1),
    "SBP": ("8480-6", "mm[Hg]", 1),
    "MAP": ("8478-0", "mm[Hg]", 1),
    "DBP": ("8462-4", "mm[Hg]", 1),
    "Resp": ("9279-1", "/min", 1),
    "EtCO2": ("19889-5", "mm[Hg]", 1),
    "BaseExcess": ("1925-7", "mmol/L", 1),
    "HCO3": ("1963-8", "mmol/L", 1),
    "FiO2": ("3150-6", "1", 1),
    "pH": ("2744-1", "[pH]", 1),
    "PaCO2": ("2019-8", "mm[Hg]", 1),
    "SaO2": ("2708-6", "%", 1),
    "AST": ("1920-8", "U/L", 1),
    "BUN": ("3094-0", "mg/dL", 1),
    "Alkalinephos": ("6768-6", "U/L", 1),
    "Calcium": ("17861-6", "mg/dL", 1),
    "Chloride": ("2075-0", "mmol/L", 1),
    "Creatinine": ("2160-0", "mg/dL", 1),
    "Bilirubin_direct": ("1968-7", "mg/dL", 1),
    "Glucose": ("2345-7", "mg/dL", 1),
    "Lactate": ("2524-7", "mmol/L", 1),
    "Magnesium": ("19123-9", "mg/dL", 1),
    "Phosphate": ("2777-1", "mg/dL", 1),
    "Potassium": ("2823-3", "mmol/L", 1),
    "Bilirubin_total": ("1975-2", "mg/dL", 1),
    "TroponinI": ("10839-9", "ng/mL", 1),
    "Hct": ("4544-3", "%", 1),
    "Hgb": ("718-7", "g/dL", 1),
    "PTT": ("14979-9", "s", 1),
    "WBC": ("6690-2", "10*3/uL", 1),
    "Fibrinogen": ("3255-7", "mg/dL", 1),
    "Platelets": ("777-3", "10*3/uL", 1),
}
"""Challenge column -> LOINC, UCUM unit, factor to that unit."""


def read(path: Path) -> Iterator[Stay]:
    """The stays in the order of files and rows. Raises FileNotFoundError, or KeyError naming a missing column."""
    tables = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if tables and tables[0].suffix == ".parquet":
        for table in tables:
            yield from _from_parquet(table)
        return
    files = sorted(path.rglob("*.psv")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise FileNotFoundError(f"no .psv or .parquet file in {path.name}")
    for file in files:
        yield _from_psv(file)


def _from_psv(file: Path) -> Stay:
    header, *lines = file.read_text().splitlines()
    names = header.split("|")
    table = np.array([[float(x) if x else np.nan for x in line.split("|")] for line in lines], np.float64)
    return _stay(file.stem, {name: table[:, n] for n, name in enumerate(names)})


def _from_parquet(path: Path) -> Iterator[Stay]:
    import pyarrow.parquet as pq
    from pyarrow.types import is_floating, is_integer

    table = pq.read_table(path)
    patients = table.column("patient_id").to_numpy(zero_copy_only=False).astype(str)
    names = [f.name for f in table.schema if f.name != "patient_id" and (is_floating(f.type) or is_integer(f.type))]
    columns = {name: _exact(table.column(name).to_numpy(zero_copy_only=False)) for name in names}
    edges = np.flatnonzero(np.r_[True, patients[1:] != patients[:-1], True])
    for begin, end in itertools.pairwise(edges):
        yield _stay(str(patients[begin]), {name: values[begin:end] for name, values in columns.items()})


def _exact(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Float32 as the decimal that was stored: 36.9 and not 36.900001525878906, as the public text form has it."""
    return np.asarray(np.round(values.astype(np.float64), 5), np.float64)


def _stay(patient_id: str, rows: dict[str, NDArray[np.float64]]) -> Stay:
    hours = rows["ICULOS"]
    results: list[Result] = []
    for name, (loinc, unit, factor) in COLUMNS.items():
        values = rows[name] if factor == 1 else np.round(rows[name] * factor, 5)
        for n in np.flatnonzero(~np.isnan(values)).tolist():
            value = float(values[n])
            if plausible(loinc, value):
                results.append(Result(float(hours[n]), loinc, value, unit))
    medical, surgical = rows["Unit1"][0] == 1, rows["Unit2"][0] == 1
    labels = (
        rows["SepsisLabel"].astype(np.float32) if "SepsisLabel" in rows else np.full(len(hours), np.nan, np.float32)
    )
    return Stay(
        patient_id=patient_id,
        source="cinc2019",
        birth_date=birth_date(float(rows["Age"][0])),
        sex={1.0: "male", 0.0: "female"}.get(float(rows["Gender"][0])),
        unit="MICU" if medical else "SICU" if surgical else "ICU",
        admitted_hours=min(0.0, float(np.nan_to_num(rows["HospAdmTime"][0]))),
        results=results,
        decisions=hours.tolist(),
        labels={OUTCOME: labels},
    )
