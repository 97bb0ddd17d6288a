"""The acute physiology score of APACHE III (Knaus et al., Chest 100:1619, 1991; tables in Zimmerman et al. 2006).

Points for how far each of a day's worst values lies from normal. The weights come from tens of thousands of stays, so
the score helps where deaths are few. Here are its tables; `derived` gives them the last 24 h of a record, and
`training.eicu.aps` the published first-day values. NaN is a value that is not known; it gets NaN points.
"""

from bisect import bisect_right
from itertools import product
from math import inf, isnan, nan
from statistics import fmean

Bands = tuple[tuple[float, ...], tuple[int, ...]]  # lower bounds of the bands after the first; points of each band

WORST: dict[str, Bands] = {
    "heart_rate": ((40, 50, 100, 110, 120, 140, 155), (8, 5, 0, 1, 5, 7, 13, 17)),
    "map": ((40, 60, 70, 80, 100, 120, 130, 140), (23, 15, 7, 6, 0, 4, 7, 9, 10)),
    "temperature": ((33, 33.5, 34, 35, 36, 40), (20, 16, 13, 8, 2, 0, 4)),
    "hematocrit": ((41, 50), (3, 0, 3)),
    "wbc": ((1, 3, 20, 25), (19, 5, 0, 1, 5)),
    "bun": ((17, 20, 40, 80), (0, 2, 7, 11, 12)),
    "sodium": ((120, 135, 155), (3, 2, 0, 4)),
    "albumin": ((2.0, 2.5, 4.5), (11, 6, 0, 4)),
    "bilirubin_total": ((2, 3, 5, 8), (0, 5, 6, 8, 16)),
    "glucose": ((40, 60, 200, 350), (8, 9, 0, 3, 5)),
}
"""By the model's variable, in its unit."""
URINE: Bands = ((400, 600, 900, 1500, 2000, 4000), (15, 8, 7, 5, 4, 0, 1))  # mL a day
RESPIRATION: Bands = ((6, 12, 14, 25, 35, 40, 50), (17, 8, 7, 0, 6, 9, 11, 18))
OXYGEN: Bands = ((50, 70, 80), (15, 5, 2, 0))  # PaO2, mm[Hg]
GRADIENT: Bands = (
    (100, 250, 350, 500),
    (0, 7, 9, 11, 14),
)  # alveolar-arterial difference, mm[Hg]
CREATININE: Bands = ((0.5, 1.5, 1.95), (3, 0, 4, 7))
CREATININE_FAILURE: Bands = ((1.5,), (0, 10))  # with acute renal failure and no dialysis
FAILURE_URINE = 410.0  # mL a day
BAROMETRIC = 713.0
"""mm[Hg], dry. APACHE's alveolar gas equation takes the respiratory quotient as 1."""

ACID_BASE: tuple[tuple[float, Bands], ...] = (
    (7.20, ((50,), (12, 4))),
    (7.30, ((30, 40, 50), (9, 6, 3, 2))),
    (7.35, ((30, 45), (9, 0, 1))),
    (7.45, ((30, 45), (5, 0, 1))),
    (7.50, ((30, 35, 45), (5, 0, 2, 12))),
    (7.60, ((40,), (3, 12))),
    (inf, ((25, 40), (0, 3, 12))),
)
"""Upper bound of the pH; points by PaCO2, mm[Hg]."""

NEURO_CLOSED = {(1, 0): 48, (1, 1): 33, (1, 2): 16, (1, 3): 16, (2, 0): 29, (2, 1): 24}
NEURO_OPEN = {
    **{(1, 0): 29, (1, 1): 24, (1, 2): 15, (1, 3): 15, (2, 0): 29, (2, 1): 24, (2, 2): 13, (2, 3): 10},
    **{(4, 0): 13, (4, 1): 13, (4, 2): 8, (4, 3): 3, (5, 0): 3, (5, 1): 3, (5, 2): 3, (5, 3): 0},
}
"""Points by (verbal: 1, 2 for 2-3, 4, 5; motor: 0 for 1-2, 1 for 3-4, 2 for 5, 3 for 6), eyes closed and open."""


def points(value: float, bands: Bands) -> float:
    """Points of the band that the value lies in."""
    bounds, of_band = bands
    return nan if isnan(value) else float(of_band[bisect_right(bounds, value)])


def respiration(rate: float, ventilated: bool) -> float:
    """Points of the respiratory rate; a slow one that a ventilator sets gets none."""
    return 0.0 if ventilated and 6 <= rate < 13 else points(rate, RESPIRATION)


def oxygenation(pao2: float, paco2: float, fio2: float, ventilated: bool) -> float:
    """Points of the alveolar-arterial difference on a ventilator with half oxygen (FiO2 0.5) and more, else of PaO2."""
    if ventilated and fio2 >= 0.5 and not isnan(pao2 + paco2):
        return points(max(BAROMETRIC * fio2 - paco2 - pao2, 0.0), GRADIENT)
    return points(pao2, OXYGEN)


def renal(creatinine: float, urine: float, dialysis: bool = False) -> float:
    """Points of the creatinine, mg/dL, more of them in acute renal failure; urine in mL a day."""
    failure = creatinine >= 1.5 and urine < FAILURE_URINE and not dialysis
    return points(creatinine, CREATININE_FAILURE if failure else CREATININE)


def acid_base(ph: float, paco2: float) -> float:
    """Points of a pH with its PaCO2."""
    if isnan(ph + paco2):
        return nan
    return next(points(paco2, bands) for top, bands in ACID_BASE if ph < top)


def neurologic(eyes: int, verbal: int, motor: int) -> int | None:
    """Points of the three parts of the coma score; None for what the tables leave out."""
    place = (2 if verbal == 3 else verbal, 0 if motor <= 2 else 1 if motor <= 4 else motor - 3)
    return (NEURO_CLOSED if eyes == 1 else NEURO_OPEN).get(place)


def _by_sum() -> tuple[float, ...]:
    """Points by the sum of the coma score, 3 to 15: the mean over the ways to reach it that the tables have."""
    of_sum: dict[int, list[int]] = {total: [] for total in range(3, 16)}
    for parts in product(range(1, 5), range(1, 6), range(1, 7)):
        if (found := neurologic(*parts)) is not None:
            of_sum[sum(parts)].append(found)
    return tuple(fmean(found) for found in of_sum.values())


COMA = _by_sum()


def coma(total: float) -> float:
    """Points of the sum of the coma score (3 to 15) where its parts are not known."""
    return nan if isnan(total) else COMA[min(max(round(total), 3), 15) - 3]
