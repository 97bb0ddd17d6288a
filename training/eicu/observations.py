"""The stay's measurements as observations: LOINC code, canonical unit, minutes from unit admission."""

from pathlib import Path

import pandas as pd

from services.domain.features.variables import INDEX, MODEL_VARIABLES
from training.datasets.stays import plausible
from training.eicu.tables import CUT_MINUTES, read_cut

VENTILATED = MODEL_VARIABLES[INDEX["ventilated"]].loinc
INSPIRED_OXYGEN = MODEL_VARIABLES[INDEX["fio2"]].loinc

VITALS = {"noninvasivesystolic": "8480-6", "noninvasivediastolic": "8462-4", "noninvasivemean": "8478-0"}

CHARTED = {
    "RR (patient)": "9279-1",
    "Total RR": "9279-1",
    "FiO2": "3150-6",
    "FIO2 (%)": "3150-6",
    "O2 Percentage": "3150-6",
    "SaO2": "59408-5",
}
"""respiratoryCharting labels; its SaO2 is the pulse oximeter's."""

EXAMINED = {
    "HR/HR Current": "8867-4",
    "HR/HR Lowest": "8867-4",
    "HR/HR Highest": "8867-4",
    "BP (systolic)/BP (systolic) Current": "8480-6",
    "BP (systolic)/BP (systolic) Lowest": "8480-6",
    "BP (systolic)/BP (systolic) Highest": "8480-6",
    "BP (diastolic)/BP (diastolic) Current": "8462-4",
    "BP (diastolic)/BP (diastolic) Lowest": "8462-4",
    "BP (diastolic)/BP (diastolic) Highest": "8462-4",
    "Resp Rate/Resp Current": "9279-1",
    "Resp Rate/Resp Lowest": "9279-1",
    "Resp Rate/Resp Highest": "9279-1",
    "O2 Sat%/O2 Sat% Current": "59408-5",
    "O2 Sat%/O2 Sat% Lowest": "59408-5",
    "O2 Sat%/O2 Sat% Highest": "59408-5",
    "FiO2%/FiO2%": "3150-6",
    "Weight (kg)/Admission": "29463-7",
}
"""physicalExam paths (their ends). Highest and lowest are of the hours before the note and carry the note's time. Urine
is not read: the sums of intake and output do not say over what time they were taken."""

APS = {
    "urine": "9187-6",
    "wbc": "6690-2",
    "temperature": "8310-5",
    "respiratoryrate": "9279-1",
    "sodium": "2951-2",
    "heartrate": "8867-4",
    "meanbp": "8478-0",
    "ph": "2744-1",
    "hematocrit": "4544-3",
    "creatinine": "2160-0",
    "albumin": "1751-7",
    "pao2": "2703-7",
    "pco2": "2019-8",
    "bun": "3094-0",
    "glucose": "2345-7",
    "bilirubin": "1975-2",
    "fio2": "3150-6",
}
"""apacheApsVar: the worst value of the first 24 h; -1 where not measured. Canonical units, save FiO2 in percent. When
it was measured is not told; the middle of the day stands for it, so that it does not pass for the newest value."""

PLAUSIBLE = {
    "8480-6": (20, 300),
    "8462-4": (10, 200),
    "8478-0": (15, 250),
    "8867-4": (10, 300),
    "9279-1": (1, 80),
    "59408-5": (20, 100),
    "3150-6": (0.21, 1.0),
    "29463-7": (20, 400),
    "8302-2": (90, 230),
}
"""What is charted outside is a slip of the pen (eICU has heights of 1 cm), canonical units."""

COLUMNS = ["stay", "minutes", "loinc", "value", "source"]


def read_observations(folder: Path, cohort: pd.DataFrame) -> pd.DataFrame:
    """All observations of the cohort: columns `stay`, `minutes`, `loinc`, `value`, `source` (names the row), sorted."""
    stays = cohort.index
    parts = [_vitals(folder, stays), _charted(folder, stays), _examined(folder, stays), *_aps(folder, stays)]
    parts += [_fixed(cohort["height"], "8302-2"), _fixed(cohort["weight"], "29463-7")]
    table = pd.concat([part[COLUMNS] for part in parts if len(part)])
    table = table[table["value"].notna()]
    # Most sites chart 40 for 40 %, some 0.4.
    percent = (table["loinc"] == INSPIRED_OXYGEN) & (table["value"] > 1.0)
    table["value"] = table["value"].where(~percent, table["value"] / 100)
    low = table["loinc"].map(lambda code: PLAUSIBLE.get(code, (-1e9, 1e9))[0])
    high = table["loinc"].map(lambda code: PLAUSIBLE.get(code, (-1e9, 1e9))[1])
    table = table[table["value"].between(low, high)]
    served = [plausible(*row) for row in zip(table["loinc"], table["value"], strict=True)]
    return table[served].sort_values(["stay", "minutes", "source"], kind="stable").reset_index(drop=True)


def _rows(stay: object, minutes: object, loinc: object, value: object, source: object) -> pd.DataFrame:
    return pd.DataFrame({"stay": stay, "minutes": minutes, "loinc": loinc, "value": value, "source": source})


def _vitals(folder: Path, stays: "pd.Index[int]") -> pd.DataFrame:
    table = read_cut(folder, "vitalAperiodic", stays)
    if table.empty:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(
        _rows(
            table["patientunitstayid"],
            table["observationoffset"],
            loinc,
            table[column],
            column + table["vitalaperiodicid"].astype(str),
        )
        for column, loinc in VITALS.items()
    )


def _charted(folder: Path, stays: "pd.Index[int]") -> pd.DataFrame:
    table = read_cut(folder, "respiratoryCharting", stays)
    if table.empty:
        return pd.DataFrame(columns=COLUMNS)
    loinc = table["respchartvaluelabel"].map(CHARTED)
    table, loinc = table[loinc.notna()], loinc[loinc.notna()]
    value = pd.to_numeric(table["respchartvalue"].astype(str).str.rstrip("% "), errors="coerce")
    source = "rc" + table["respchartid"].astype(str)
    return _rows(table["patientunitstayid"], table["respchartoffset"], loinc, value, source)


def _examined(folder: Path, stays: "pd.Index[int]") -> pd.DataFrame:
    table = read_cut(folder, "physicalExam", stays)
    if table.empty:
        return pd.DataFrame(columns=COLUMNS)
    path = table["physicalexampath"].astype(str)
    loinc = path.str.split("/").map(lambda steps: EXAMINED.get("/".join(steps[-2:])))
    gcs = path.str.extract(r"Neurologic/GCS/(\d+)$")[0]
    loinc = loinc.where(gcs.isna(), "9269-2")
    value = pd.to_numeric(gcs.where(gcs.notna(), table["physicalexamtext"]), errors="coerce")
    kept = loinc.notna()
    source = "pe" + table["physicalexamid"].astype(str)
    rows = _rows(table["patientunitstayid"], table["physicalexamoffset"], loinc, value, source)[kept]
    return pd.concat([rows, _gcs_parts(table, path)])


def _gcs_parts(table: pd.DataFrame, path: "pd.Series[str]") -> pd.DataFrame:
    """Coma score where eyes, verbal and motor were charted together."""
    part = path.str.extract(r"GCS/(Eyes|Verbal|Motor) Score/(\d)$")
    found = table[["patientunitstayid", "physicalexamoffset"]].assign(part=part[0], points=pd.to_numeric(part[1]))
    wide = found.dropna().pivot_table(
        index=["patientunitstayid", "physicalexamoffset"], columns="part", values="points", aggfunc="last"
    )
    if set(wide.columns) != {"Eyes", "Verbal", "Motor"}:
        return pd.DataFrame(columns=COLUMNS)
    total = wide.sum(axis=1, skipna=False).dropna()
    stay, minutes = total.index.get_level_values(0), total.index.get_level_values(1)
    return _rows(stay, minutes, "9269-2", total.to_numpy(), "gcs")


def _aps(folder: Path, stays: "pd.Index[int]") -> list[pd.DataFrame]:
    table = read_cut(folder, "apacheApsVar", stays)
    if table.empty:
        return []
    stay, middle = table["patientunitstayid"], CUT_MINUTES // 2
    parts = [
        _rows(stay, middle, loinc, table[column].where(table[column] >= 0), f"aps-{column}")
        for column, loinc in APS.items()
    ]
    awake = (table[["eyes", "motor", "verbal"]] > 0).all(axis=1) & (table["meds"] != 1)
    gcs = table[["eyes", "motor", "verbal"]].sum(axis=1).where(awake)
    ventilated = table["vent"].where(table["vent"] >= 0).astype(float)
    return [
        *parts,
        _rows(stay, middle, "9269-2", gcs, "aps-gcs"),
        _rows(stay, middle, VENTILATED, ventilated, "aps-vent"),
    ]


def _fixed(values: "pd.Series[float]", loinc: str) -> pd.DataFrame:
    return _rows(values.index, 0, loinc, values.to_numpy(), f"admission-{loinc}")
