"""APACHE's acute physiology score of eICU's first day, by the published tables, from `apacheApsVar`.

There the worst values of 24 h are chosen already, the parts of the coma score are known, and so is dialysis. Unknown
values (-1) get no points.
"""

from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.domain.features import aps
from training.eicu.tables import read_cut

COLUMNS = {"heart_rate": "heartrate", "map": "meanbp", "bilirubin_total": "bilirubin"}
"""Of the variables in `aps.WORST`, those that `apacheApsVar` calls otherwise."""


def acute_physiology(table: pd.DataFrame) -> NDArray[np.float64]:
    """float64 [rows] of the score for rows of `apacheApsVar` (-1 unknown)."""
    return np.array([_score(row) for row in table.to_dict("records")], dtype=np.float64)


def first_day_score(folder: Path, stays: "pd.Index[int]") -> NDArray[np.float64]:
    """float64 [stays]: the score from `apacheApsVar` in `folder`, NaN for a stay that is not in it."""
    rows = read_cut(folder, "apacheApsVar", stays).drop_duplicates("patientunitstayid")
    if "heartrate" not in rows:
        return np.full(len(stays), np.nan)
    known = pd.Series(acute_physiology(rows), index=rows["patientunitstayid"].to_numpy())
    return np.asarray(known.reindex(stays), dtype=np.float64)


def _score(row: dict[str, float]) -> float:
    known = {name: value if value >= 0 else nan for name, value in row.items() if isinstance(value, int | float)}
    parts = [aps.points(known[COLUMNS.get(name, name)], bands) for name, bands in aps.WORST.items()]
    ventilated, intubated = row["vent"] == 1, row["intubated"] == 1
    parts += [
        aps.points(known["urine"], aps.URINE),
        aps.respiration(known["respiratoryrate"], ventilated),
        aps.oxygenation(known["pao2"], known["pco2"], known["fio2"] / 100, intubated),
        aps.renal(known["creatinine"], known["urine"], row["dialysis"] == 1),
        aps.acid_base(known["ph"], known["pco2"]),
    ]
    return float(sum(p for p in parts if p == p) + _neurologic(row))


def _neurologic(row: dict[str, float]) -> int:
    eyes, verbal, motor = row["eyes"], row["verbal"], row["motor"]
    if row["meds"] == 1 or not min(eyes, verbal, motor) >= 1:
        return 0
    return aps.neurologic(int(eyes), int(verbal), int(motor)) or 0
