"""PhysioNet/CinC Challenge 2019 as a hospital's traffic: one patient admitted, one ORU^R01 an hour, sepsis, discharge.

    hospital admission (t0 + HospAdmTime)   ADT^A01
    t0                                      ADT^A02 into MICU, SICU or ICU (Unit1, Unit2, neither)
    t0 + ICULOS hours                       ORU^R01 with all that the row measured; a row without values sends nothing
    six hours after the first SepsisLabel   ADT^A08 with DG1 A41.9 (the label is set six hours ahead of the onset)
    an hour after the last of these         ADT^A03; the data set does not say how the patient left

Columns, codes, units and factors are those that training reads (`training.datasets.cinc2019`). Ages have up to two
decimals: the birth date is set so that the age in completed years is right during the stay (see
`training.datasets.stays.birth_date`), and an OBX in the A01 carries the exact number.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.local.replay.births import birth_date
from services.local.replay.chart import Chart, Measured
from services.local.replay.source import HOUR_MS, Item, Stay, arrival_ms
from services.local.replay.variables import LABELS
from training.datasets.cinc2019 import COLUMNS

Rows = dict[str, NDArray[np.float64]]
SEPSIS = ("A41.9", "Sepsis, unspecified organism")
LABEL_LEAD_H = 6
PANEL = "ICU-HOUR^Results of the hour^L"


class Cinc2019:
    """A parquet file with `patient_id`, a folder of `.psv` files, or one `.psv` file."""

    name = "cinc2019"
    synthetic = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def stays(self, limit: int | None) -> Iterator[Stay]:
        """In file-name (or row) order. Raises FileNotFoundError, or KeyError naming a missing column."""
        for patient, before, load in islice(_patients(self._path), limit):
            arrival = arrival_ms(self.name, patient)
            admitted = arrival + round(min(0.0, before) * 3600) * 1000
            yield Stay(patient, admitted, arrival, partial(_items, patient, load, arrival, admitted))


def unit_of(rows: Rows) -> str:
    """MICU (Unit1), SICU (Unit2) or, where neither is known, ICU."""
    return "MICU" if rows["Unit1"][0] == 1 else "SICU" if rows["Unit2"][0] == 1 else "ICU"


def onset_hour(rows: Rows) -> float | None:
    """ICULOS hour of the sepsis onset; None for patients who have none."""
    labels = rows.get("SepsisLabel")
    first = np.flatnonzero(labels == 1) if labels is not None else np.array([])
    return float(rows["ICULOS"][first[0]]) + LABEL_LEAD_H if len(first) else None


def measured(rows: Rows) -> Iterator[list[Measured]]:
    """What each row measured, in the canonical units."""
    table = []
    for name, (loinc, unit, factor) in COLUMNS.items():
        values = rows[name] if factor == 1 else np.round(rows[name] * factor, 5)
        table.append((loinc, LABELS[loinc], unit, values.tolist()))
    for row in range(len(rows["ICULOS"])):
        yield [Measured(loinc, label, v[row], unit) for loinc, label, unit, v in table if v[row] == v[row]]  # not NaN


def _items(patient: str, load: Callable[[], Rows], arrival: int, admitted: int) -> Iterator[Item]:
    rows = load()
    age, unit = float(rows["Age"][0]), unit_of(rows)
    chart = Chart(
        application="REPLAY",
        facility="CINC2019",
        patient=patient,
        birth_date=birth_date(age, arrival),
        sex={1.0: "male", 0.0: "female"}.get(float(rows["Gender"][0])),
        admitted_ms=admitted,
    )
    more = () if np.isnan(age) else (chart.age(age, admitted),)
    before = "" if admitted == arrival else "HOSPITAL"
    yield _item(admitted, patient, "ADT^A01", chart.adt("A01", admitted, f"{patient}-A01", before or unit, more=more))
    if before:
        moved = chart.adt("A02", arrival, f"{patient}-A02", unit, prior_unit=before)
        yield _item(arrival, patient, "ADT^A02", moved)
    onset = onset_hour(rows)
    hours = rows["ICULOS"].tolist()
    for hour, results in zip(hours, measured(rows), strict=True):
        if onset is not None and hour > onset:
            yield _sepsis(chart, arrival, onset, unit)
            onset = None
        if results:
            at = arrival + round(hour * 3600) * 1000
            control = f"{patient}-R{int(hour):03d}"
            yield _item(at, patient, "ORU^R01", chart.oru(at, control, unit, results, PANEL))
    last = hours[-1]
    if onset is not None:
        yield _sepsis(chart, arrival, onset, unit)
        last = max(last, onset)
    end = arrival + round((last + 1) * HOUR_MS)
    yield _item(end, patient, "ADT^A03", chart.adt("A03", end, f"{patient}-A03", unit, discharged_ms=end))


def _sepsis(chart: Chart, arrival: int, hour: float, unit: str) -> Item:
    at = arrival + round(hour * HOUR_MS)
    message = chart.adt("A08", at, f"{chart.patient}-SEPSIS", unit, more=[chart.diagnosis(*SEPSIS, at)])
    return _item(at, chart.patient, "ADT^A08", message)


def _item(at: int, patient: str, label: str, message: bytes) -> Item:
    return Item(at, "hl7v2", patient, message, label)


Loader = Callable[[], Rows]


def _patients(path: Path) -> Iterator[tuple[str, float, Loader]]:
    """Name, HospAdmTime (0 where unknown), and how to load the rows."""
    if path.is_dir() and (tables := sorted(path.glob("*.parquet"))):
        path = tables[0]
    if path.suffix == ".parquet":
        yield from _from_parquet(path)
        return
    files = sorted(path.rglob("*.psv")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise FileNotFoundError(f"no .psv or .parquet file at {path}")
    for file in files:
        with file.open() as lines:
            names, first = next(lines).rstrip().split("|"), next(lines).rstrip().split("|")
        before = float(first[names.index("HospAdmTime")] or 0)
        yield file.stem, 0.0 if before != before else before, partial(_from_psv, file)


def _from_psv(file: Path) -> Rows:
    header, *lines = file.read_text().splitlines()
    table = np.array([[float(x) if x else np.nan for x in line.split("|")] for line in lines], np.float64)
    return {name: table[:, n] for n, name in enumerate(header.split("|"))}


def _from_parquet(path: Path) -> Iterator[tuple[str, float, Loader]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    patients = table.column("patient_id").to_numpy(zero_copy_only=False).astype(str)
    columns = {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names if n != "patient_id"}
    before = np.nan_to_num(columns["HospAdmTime"].astype(np.float64))
    edges = np.flatnonzero(np.r_[True, patients[1:] != patients[:-1], True])
    for begin, end in pairwise(edges.tolist()):
        hours = round(float(before[begin]), 5)
        yield str(patients[begin]), hours, partial(_rows, columns, begin, end)


def _rows(columns: dict[str, NDArray[np.float32]], begin: int, end: int) -> Rows:
    """Float32 as the decimal that was stored: 36.9 and not 36.900001525878906, as the public text form has it."""
    return {n: np.asarray(np.round(v[begin:end].astype(np.float64), 5), np.float64) for n, v in columns.items()}
