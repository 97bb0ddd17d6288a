"""The eICU Collaborative Research Database (public csv.gz tables) as a hospital's traffic.

    hospital admission      ADT^A01, with the admission diagnosis as DG1
    unit admission (t0)     ADT^A02 into the unit, with height and weight as OBX
    each observation time   ORU^R01: pressures (vitalAperiodic), respiratory rate, FiO2, SpO2 (respiratoryCharting)
    each note time          MDM^T02, the lines of one note together
    each diagnosis time     ADT^A08 with DG1 (ICD-10 where eICU gives one); each treatment time: with PR1
    hospital discharge      ADT^A03, `20` (expired) or `01`

A patient here is a unit stay (`patientunitstayid`), as in training: offsets count from each unit admission.
Notes and diagnoses are sent at the time they were entered. Ages above 89 are given as `> 89` and taken as 90.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from services.local.replay.births import birth_date
from services.local.replay.chart import ALIVE, EXPIRED, Chart, Measured
from services.local.replay.source import Item, Stay, arrival_ms
from services.local.replay.variables import LABELS

FACILITY = "EICU"
PANEL = "ICU-CHART^Charted values^L"
PRESSURES = {"noninvasivesystolic": "8480-6", "noninvasivediastolic": "8462-4", "noninvasivemean": "8478-0"}
CHARTED = {
    "RR (patient)": ("9279-1", "/min"),
    "Total RR": ("9279-1", "/min"),
    "FiO2": ("3150-6", "%"),
    "FIO2 (%)": ("3150-6", "%"),
    "O2 Percentage": ("3150-6", "%"),
    "SaO2": ("59408-5", "%"),
}
"""respiratoryCharting labels; its SaO2 is the pulse oximeter's."""

Row = dict[str, Any]


class Tables(NamedTuple):
    """Rows by unit stay."""

    pressures: dict[int, list[Row]]
    charted: dict[int, list[Row]]
    notes: dict[int, list[Row]]
    diagnoses: dict[int, list[Row]]
    treatments: dict[int, list[Row]]


class Eicu:
    """The folder that holds `patient.csv.gz` and the other tables; those that are absent send nothing."""

    name = "eicu"
    synthetic = False

    def __init__(self, path: Path) -> None:
        self._path = path if path.is_dir() else path.parent

    def stays(self, limit: int | None) -> Iterator[Stay]:
        """In order of stay number. Raises FileNotFoundError."""
        patients = sorted(read_rows(self._path, "patient", None), key=lambda row: row["patientunitstayid"])
        if not patients:
            raise FileNotFoundError(f"no patient.csv.gz in {self._path}")
        chosen = list(islice(patients, limit))
        numbers = {row["patientunitstayid"] for row in chosen}
        tables = Tables(
            _by_stay(self._path, "vitalAperiodic", numbers),
            _by_stay(self._path, "respiratoryCharting", numbers),
            _by_stay(self._path, "note", numbers),
            _by_stay(self._path, "diagnosis", numbers),
            _by_stay(self._path, "treatment", numbers),
        )
        for row in chosen:
            name = str(row["patientunitstayid"])
            arrival = arrival_ms(self.name, name)
            admitted = arrival + min(0, int(row["hospitaladmitoffset"] or 0)) * 60_000
            yield Stay(name, admitted, arrival, partial(_items, row, tables, arrival, admitted))


def _items(row: Row, tables: Tables, arrival: int, admitted: int) -> Iterator[Item]:
    stay = row["patientunitstayid"]
    age = age_years(row["age"])
    chart = Chart(
        application="REPLAY",
        facility=FACILITY,
        patient=str(stay),
        birth_date=birth_date(age, arrival),
        sex={"Male": "male", "Female": "female"}.get(row["gender"] or ""),
        admitted_ms=admitted,
    )
    found = [*_admission(chart, row, arrival, admitted, age)]
    unit = unit_of(row)
    times = _Clock(arrival, admitted)
    found += _results(chart, unit, tables, stay, times)
    found += _notes(chart, unit, tables.notes[stay], times)
    found += _diagnoses(chart, unit, tables.diagnoses[stay], times)
    found += _treatments(chart, unit, tables.treatments[stay], times)
    if row["hospitaldischargeoffset"] not in (None, ""):
        end = times.at(row["hospitaldischargeoffset"])
        how = {"Expired": EXPIRED, "Alive": ALIVE}.get(row["hospitaldischargestatus"] or "", "")
        left = chart.adt("A03", end, f"{stay}-A03", unit, disposition=how, discharged_ms=end)
        found = [one for one in found if one.time_ms <= end]  # what was charted after the patient had left
        found.append(Item(end, "hl7v2", str(stay), left, "ADT^A03"))
    yield from sorted(found, key=lambda item: item.time_ms)


class _Clock:
    """Offsets in minutes from unit admission, not before the admission to the hospital."""

    def __init__(self, arrival: int, admitted: int) -> None:
        self._arrival, self._admitted = arrival, admitted

    def at(self, minutes: Any) -> int:
        return max(self._admitted, self._arrival + int(minutes) * 60_000)


def age_years(age: Any) -> float:
    """Years; `> 89` is 90, NaN where unknown."""
    text = str(age or "").strip()
    if text.startswith(">"):
        return 90.0
    return float(text) if text else float("nan")


def unit_of(row: Row) -> str:
    """The unit's type: Med-Surg ICU, CTICU, ..."""
    return str(row["unittype"] or "ICU")


def _admission(chart: Chart, row: Row, arrival: int, admitted: int, age: float) -> Iterator[Item]:
    stay, unit = chart.patient, unit_of(row)
    more = [chart.age(age, admitted)] if age == age else []
    if row["apacheadmissiondx"]:
        more.append(chart.diagnosis("ADMISSION", str(row["apacheadmissiondx"]), admitted, "L"))
    before = "" if admitted == arrival else str(row["hospitaladmitsource"] or "HOSPITAL")
    message = chart.adt("A01", admitted, f"{stay}-A01", before or unit, more=more)
    yield Item(admitted, "hl7v2", stay, message, "ADT^A01")
    sizes = [
        Measured(loinc, LABELS[loinc], float(row[column]), unit_)
        for column, loinc, unit_ in (("admissionheight", "8302-2", "cm"), ("admissionweight", "29463-7", "kg"))
        if row[column] not in (None, "", 0)
    ]
    event = "A02" if before else "A08"
    results = [chart.result(n, size, arrival) for n, size in enumerate(sizes, 1)]
    if before or results:
        message = chart.adt(event, arrival, f"{stay}-{event}", unit, prior_unit=before, more=results)
        yield Item(arrival, "hl7v2", stay, message, f"ADT^{event}")


def _results(chart: Chart, unit: str, tables: Tables, stay: int, times: _Clock) -> Iterator[Item]:
    by_time: dict[int, list[Measured]] = defaultdict(list)
    for row in tables.pressures[stay]:
        for column, loinc in PRESSURES.items():
            if row[column] is not None:
                at = times.at(row["observationoffset"])
                by_time[at].append(Measured(loinc, LABELS[loinc], float(row[column]), "mm[Hg]"))
    for row in tables.charted[stay]:
        known, value = CHARTED.get(row["respchartvaluelabel"]), _number(row["respchartvalue"])
        if known and value is not None:
            scaled = value * 100 if known[0] == "3150-6" and value <= 1 else value
            at = times.at(row["respchartoffset"])
            by_time[at].append(Measured(known[0], LABELS[known[0]], scaled, known[1]))
    for number, at in enumerate(sorted(by_time)):
        message = chart.oru(at, f"{chart.patient}-R{number:05d}", unit, by_time[at], PANEL)
        yield Item(at, "hl7v2", chart.patient, message, "ORU^R01")


def _notes(chart: Chart, unit: str, rows: list[Row], times: _Clock) -> Iterator[Item]:
    """One document for each (type, time entered): its lines are the last steps of the charting path and the text."""
    lines: dict[tuple[int, str], list[str]] = defaultdict(list)
    for row in rows:
        entered = row["noteenteredoffset"] if row["noteenteredoffset"] is not None else row["noteoffset"]
        section = ", ".join(str(row["notepath"] or "").split("/")[-2:])
        text = str(row["notetext"] or "").strip()
        line = section if not text or section.endswith(text) else f"{section}: {text}"
        lines[times.at(max(int(entered), int(row["noteoffset"]))), str(row["notetype"] or "")].append(line)
    for number, (key, told) in enumerate(sorted(lines.items())):
        message = chart.mdm(key[0], f"{chart.patient}-N{number:04d}", unit, told)
        yield Item(key[0], "hl7v2", chart.patient, message, "MDM^T02")


def _diagnoses(chart: Chart, unit: str, rows: list[Row], times: _Clock) -> Iterator[Item]:
    for number, row in enumerate(sorted(rows, key=lambda row: (int(row["diagnosisoffset"]), row["diagnosisid"]))):
        at = times.at(row["diagnosisoffset"])
        label = str(row["diagnosisstring"] or "").replace("|", ", ")
        code = icd10(str(row["icd9code"] or ""))
        segment = chart.diagnosis(code, label, at) if code else chart.diagnosis(label[-60:], label, at, "L")
        message = chart.adt("A08", at, f"{chart.patient}-D{number:04d}", unit, more=[segment])
        yield Item(at, "hl7v2", chart.patient, message, "ADT^A08")


def _treatments(chart: Chart, unit: str, rows: list[Row], times: _Clock) -> Iterator[Item]:
    for number, row in enumerate(sorted(rows, key=lambda row: (int(row["treatmentoffset"]), row["treatmentid"]))):
        at = times.at(row["treatmentoffset"])
        steps = str(row["treatmentstring"] or "").split("|")
        message = chart.adt(
            "A08",
            at,
            f"{chart.patient}-T{number:04d}",
            unit,
            more=[chart.procedure(steps[-1][:60], ", ".join(steps), at)],
        )
        yield Item(at, "hl7v2", chart.patient, message, "ADT^A08")


def icd10(codes: str) -> str:
    """The ICD-10 code of eICU's `icd9code` ('038.9, A41.9'): the first that begins with a letter other than E or V."""
    found = (code.strip() for code in codes.split(","))
    return next((code for code in found if code[:1].isalpha() and not _icd9_letter(code)), "")


def _icd9_letter(code: str) -> bool:
    """ICD-9's own letters: V58.61 and E878.1 (ICD-10's E codes have two digits before the point)."""
    return (code[0] == "V" and code[1:3].isdigit()) or (code[0] == "E" and code[1:4].isdigit())


def _number(text: Any) -> float | None:
    try:
        return float(str(text).strip().rstrip("%"))
    except ValueError:
        return None


def read_rows(folder: Path, table: str, stays: set[int] | None) -> list[Row]:
    """A table's rows (of these stays), columns in lower case; none where the table is absent."""
    import pyarrow.compute as pc
    import pyarrow.csv as pcsv
    from pyarrow import array, string

    file = next((p for p in (folder / f"{table}.csv.gz", folder / f"{table}.csv") if p.exists()), None)
    if file is None:
        return []
    as_text = pcsv.ConvertOptions(column_types=dict.fromkeys(TEXTS, string()), strings_can_be_null=True)
    parse = pcsv.ParseOptions(newlines_in_values=True)
    found = pcsv.read_csv(file, convert_options=as_text, parse_options=parse)
    found = found.rename_columns([name.lower() for name in found.column_names])
    if stays is not None:
        found = found.filter(pc.is_in(found["patientunitstayid"], array(sorted(stays))))
    rows: list[Row] = found.to_pylist()
    return rows


TEXTS = ("age", "respchartvalue", "notetext", "notevalue", "notepath", "icd9code", "diagnosisstring", "treatmentstring")


def _by_stay(folder: Path, table: str, stays: set[int]) -> dict[int, list[Row]]:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in read_rows(folder, table, stays):
        grouped[row["patientunitstayid"]].append(row)
    return grouped
