"""The acute physiology score of APACHE III/IV (Knaus et al., Chest 100:1619, 1991; tables in Zimmerman et al. 2006).

Points for how far each of the first day's worst values lies from normal, by the published tables, from
`apacheApsVar`. The score was made from tens of thousands of stays, so it helps where deaths are few. Unknown values
get no points.
"""

from bisect import bisect_right
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.eicu.tables import read_cut

Bands = tuple[tuple[float, ...], tuple[int, ...]]  # lower bounds of the bands after the first; points of each band

TABLE: dict[str, Bands] = {
    "heartrate": ((40, 50, 100, 110, 120, 140, 155), (8, 5, 0, 1, 5, 7, 13, 17)),
    "meanbp": ((40, 60, 70, 80, 100, 120, 130, 140), (23, 15, 7, 6, 0, 4, 7, 9, 10)),
    "temperature": ((33, 33.5, 34, 35, 36, 40), (20, 16, 13, 8, 2, 0, 4)),
    "hematocrit": ((41, 50), (3, 0, 3)),
    "wbc": ((1, 3, 20, 25), (19, 5, 0, 1, 5)),
    "urine": ((400, 600, 900, 1500, 2000, 4000), (15, 8, 7, 5, 4, 0, 1)),
    "bun": ((17, 20, 40, 80), (0, 2, 7, 11, 12)),
    "sodium": ((120, 135, 155), (3, 2, 0, 4)),
    "albumin": ((2.0, 2.5, 4.5), (11, 6, 0, 4)),
    "bilirubin": ((2, 3, 5, 8), (0, 5, 6, 8, 16)),
    "glucose": ((40, 60, 200, 350), (8, 9, 0, 3, 5)),
}
RESPIRATION: Bands = ((6, 12, 14, 25, 35, 40, 50), (17, 8, 7, 0, 6, 9, 11, 18))
OXYGEN: Bands = ((50, 70, 80), (15, 5, 2, 0))  # PaO2, mm[Hg]
GRADIENT: Bands = ((100, 250, 350, 500), (0, 7, 9, 11, 14))  # alveolar-arterial difference when intubated, FiO2 >= 0.5
CREATININE: Bands = ((0.5, 1.5, 1.95), (3, 0, 4, 7))
CREATININE_FAILURE: Bands = ((1.5,), (0, 10))  # with acute renal failure and no dialysis
BAROMETRIC = 713.0
"""mm[Hg], dry. APACHE's alveolar gas equation takes the respiratory quotient as 1."""

NEURO_CLOSED = {(1, 0): 48, (1, 1): 33, (1, 2): 16, (1, 3): 16, (2, 0): 29, (2, 1): 24}
NEURO_OPEN = {
    **{(1, 0): 29, (1, 1): 24, (1, 2): 15, (1, 3): 15, (2, 0): 29, (2, 1): 24, (2, 2): 13, (2, 3): 10},
    **{(4, 0): 13, (4, 1): 13, (4, 2): 8, (4, 3): 3, (5, 0): 3, (5, 1): 3, (5, 2): 3, (5, 3): 0},
}
"""Points by (verbal: 1, 2 for 2-3, 4, 5; motor: 0 for 1-2, 1 for 3-4, 2 for 5, 3 for 6), eyes closed and open."""


def acute_physiology(aps: pd.DataFrame) -> NDArray[np.float64]:
    """float64 [rows] of the score for rows of `apacheApsVar` (-1 unknown)."""
    return np.array([_score(row) for row in aps.to_dict("records")], dtype=np.float64)


def first_day_score(folder: Path, stays: "pd.Index[int]") -> NDArray[np.float64]:
    """float64 [stays]: the score from `apacheApsVar` in `folder`, NaN for a stay that is not in it."""
    rows = read_cut(folder, "apacheApsVar", stays).drop_duplicates("patientunitstayid")
    if "heartrate" not in rows:
        return np.full(len(stays), np.nan)
    known = pd.Series(acute_physiology(rows), index=rows["patientunitstayid"].to_numpy())
    return np.asarray(known.reindex(stays), dtype=np.float64)


def _score(row: dict[str, float]) -> float:
    total = sum(_points(row[name], bands) for name, bands in TABLE.items())
    return float(total + _respiration(row) + _oxygen(row) + _creatinine(row) + _acid_base(row) + _neurologic(row))


def _points(value: float, bands: Bands) -> int:
    bounds, points = bands
    return 0 if not value >= 0 else points[bisect_right(bounds, value)]


def _respiration(row: dict[str, float]) -> int:
    slow_on_ventilator = row["vent"] == 1 and 6 <= row["respiratoryrate"] < 13
    return 0 if slow_on_ventilator else _points(row["respiratoryrate"], RESPIRATION)


def _oxygen(row: dict[str, float]) -> int:
    fraction = row["fio2"] / 100
    if row["intubated"] == 1 and fraction >= 0.5 and row["pao2"] >= 0 and row["pco2"] >= 0:
        gradient = BAROMETRIC * fraction - row["pco2"] - row["pao2"]
        return _points(max(gradient, 0.0), GRADIENT)
    return _points(row["pao2"], OXYGEN)


def _creatinine(row: dict[str, float]) -> int:
    failure = row["creatinine"] >= 1.5 and 0 <= row["urine"] < 410 and row["dialysis"] != 1
    return _points(row["creatinine"], CREATININE_FAILURE if failure else CREATININE)


def _acid_base(row: dict[str, float]) -> int:
    ph, pco2 = row["ph"], row["pco2"]
    if not (ph >= 0 and pco2 >= 0):
        return 0
    bands: list[tuple[float, Bands]] = [
        (7.20, ((50,), (12, 4))),
        (7.30, ((30, 40, 50), (9, 6, 3, 2))),
        (7.35, ((30, 45), (9, 0, 1))),
        (7.45, ((30, 45), (5, 0, 1))),
        (7.50, ((30, 35, 45), (5, 0, 2, 12))),
        (7.60, ((40,), (3, 12))),
        (99.0, ((25, 40), (0, 3, 12))),
    ]
    return next(_points(pco2, columns) for top, columns in bands if ph < top)


def _neurologic(row: dict[str, float]) -> int:
    eyes, verbal, motor = row["eyes"], row["verbal"], row["motor"]
    if row["meds"] == 1 or not min(eyes, verbal, motor) >= 1:
        return 0
    place = (2 if verbal == 3 else int(verbal), 0 if motor <= 2 else 1 if motor <= 4 else int(motor) - 3)
    return (NEURO_CLOSED if eyes == 1 else NEURO_OPEN).get(place, 0)
