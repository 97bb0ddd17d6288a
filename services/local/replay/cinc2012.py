"""PhysioNet/CinC Challenge 2012 as a hospital's traffic: the first 48 h of an ICU stay, as irregular as they were.

    t0                      ADT^A01 into CCU, CSRU, MICU or SICU (ICUType), with age, height and weight as OBX
    t0 + each time stamp    ORU^R01 with all that was measured then
    discharge               ADT^A03 after Length_of_stay days, `20` (expired) or `01` by In-hospital_death

Parameters, codes, units and factors are those that training reads (`training.datasets.cinc2012`); -1 in a descriptor
means that it is missing. Without an `Outcomes*.txt` beside the data nobody is discharged.
"""

from collections.abc import Callable, Iterator
from csv import DictReader
from functools import partial
from itertools import groupby, islice, pairwise
from pathlib import Path

import numpy as np

from services.local.replay.births import birth_date
from services.local.replay.chart import ALIVE, EXPIRED, Chart, Measured
from services.local.replay.source import HOUR_MS, Item, Stay, arrival_ms
from services.local.replay.variables import LABELS
from training.datasets.cinc2012 import PARAMETERS, UNITS, outcome_rows

PANEL = "ICU-SET^Results of one time^L"
DESCRIPTORS = frozenset({"RecordID", "Age", "Gender", "Height", "ICUType", "Weight"})

Entry = tuple[str, str, float]  # hh:mm, parameter, value
Outcome = tuple[bool, float]  # died in hospital, days in hospital (-1 unknown)


class Cinc2012:
    """A parquet file with `RecordID`, a folder with one or with `.txt` files, or one `.txt` file."""

    name = "cinc2012"
    synthetic = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def stays(self, limit: int | None) -> Iterator[Stay]:
        """In order of record number. Raises FileNotFoundError."""
        outcomes = {name: _outcome(row) for name, row in outcome_rows(self._path).items()}
        for record, load in islice(_records(self._path), limit):
            arrival = arrival_ms(self.name, record)
            yield Stay(record, arrival, arrival, partial(_items, record, load, arrival, outcomes.get(record)))


def _outcome(row: dict[str, str]) -> Outcome:
    return row["In-hospital_death"].strip() == "1", float(row.get("Length_of_stay") or -1)


def _items(record: str, load: Callable[[], list[Entry]], arrival: int, outcome: Outcome | None) -> Iterator[Item]:
    entries = load()
    first = {parameter: value for time, parameter, value in entries if time == "00:00" and parameter in DESCRIPTORS}
    age = first.get("Age", -1.0)
    chart = Chart(
        application="REPLAY",
        facility="CINC2012",
        patient=record,
        birth_date=birth_date(age, arrival),
        sex={1: "male", 0: "female"}.get(int(first.get("Gender", -1))),
        admitted_ms=arrival,
    )
    unit = UNITS.get(int(first.get("ICUType", 0)), "ICU")
    known = [m for name in ("Height", "Weight") if (m := _measured(name, first.get(name, -1.0)))]
    more = [chart.age(age, arrival)] if age >= 0 else []
    more += [chart.result(n, m, arrival) for n, m in enumerate(known, len(more) + 1)]
    yield Item(arrival, "hl7v2", record, chart.adt("A01", arrival, f"{record}-A01", unit, more=more), "ADT^A01")
    last = arrival
    ordered = sorted((_minutes(time), n, parameter, value) for n, (time, parameter, value) in enumerate(entries))
    for minutes, group in groupby(ordered, key=lambda entry: entry[0]):
        results = [m for _, _, name, value in group if _told(name, minutes) and (m := _measured(name, value))]
        if results:
            last = arrival + minutes * 60_000
            message = chart.oru(last, f"{record}-R{minutes:04d}", unit, results, PANEL)
            yield Item(last, "hl7v2", record, message, "ORU^R01")
    if outcome is not None:
        died, days = outcome
        end = max(last + HOUR_MS, arrival + round(days * 24 * HOUR_MS))
        how = EXPIRED if died else ALIVE
        message = chart.adt("A03", end, f"{record}-A03", unit, disposition=how, discharged_ms=end)
        yield Item(end, "hl7v2", record, message, "ADT^A03")


def _told(name: str, minutes: int) -> bool:
    """Whether an entry is a result: descriptors at 00:00 are not, a weight measured later is."""
    return name in PARAMETERS and not (minutes == 0 and name in DESCRIPTORS)


def _measured(name: str, value: float) -> Measured | None:
    if value == -1:
        return None
    loinc, unit, factor = PARAMETERS[name]
    return Measured(loinc, LABELS[loinc], value if factor == 1 else round(value * factor, 5), unit)


def _minutes(time: str) -> int:
    hours, _, minutes = time.partition(":")
    return int(hours) * 60 + int(minutes)


def _records(path: Path) -> Iterator[tuple[str, Callable[[], list[Entry]]]]:
    tables = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if tables and tables[0].suffix == ".parquet":
        yield from _from_parquet(tables[0])
        return
    files = [file for file in sorted(path.rglob("*.txt")) if file.stem.isdigit()] if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise FileNotFoundError(f"no numbered .txt and no .parquet file at {path}")
    for file in files:
        yield file.stem, partial(_from_text, file)


def _from_text(file: Path) -> list[Entry]:
    with file.open(newline="") as lines:
        return [(row["Time"], row["Parameter"], float(row["Value"])) for row in DictReader(lines) if row["Value"]]


def _from_parquet(path: Path) -> Iterator[tuple[str, Callable[[], list[Entry]]]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    numbers = table.column("RecordID").to_numpy(zero_copy_only=False)
    edges = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1], True]).tolist()
    times, names = table.column("Time"), table.column("Parameter")
    values = np.round(table.column("Value").to_numpy(zero_copy_only=False).astype(np.float64), 5)

    def entries(begin: int, end: int) -> list[Entry]:
        size = end - begin
        chunk = times.slice(begin, size).to_pylist(), names.slice(begin, size).to_pylist(), values[begin:end].tolist()
        return list(zip(*chunk, strict=True))

    for begin, end in pairwise(edges):
        yield str(int(numbers[begin])), partial(entries, begin, end)
