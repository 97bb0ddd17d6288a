"""Clinical combinations of the series: the `derived` input.

Each is computed from the last results alone (whatever their age; the model sees the ages beside them) or, for
the counts, from how much was measured. The point scores are partial on purpose: what was never measured adds
no points, and `sofa_known` says of how many parts the sum is made. Sources: SOFA (Vincent et al., Intensive
Care Med 1996), qSOFA (Singer et al., JAMA 2016), SIRS (Bone et al., Chest 1992), NEWS2 (RCP 2017), APACHE III's acute
physiology score of the last 24 h (`aps`), and the derived features that the winners of CinC 2019 describe (Morrill et
al. 2019).
"""

from collections.abc import Callable
from math import isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.features import aps
from services.domain.features.series import STATISTIC
from services.domain.features.static import STATIC
from services.domain.features.variables import INDEX, LABS, VITALS

_APS_WORST = tuple(f"aps_{name}" for name in aps.WORST)

DERIVED: tuple[str, ...] = (
    "shock_index",  # HR / SBP
    "age_shock_index",
    "pulse_pressure",  # mm[Hg]
    "map_estimated",  # DBP + (SBP - DBP) / 3, mm[Hg]
    "pf_ratio",  # PaO2 / FiO2, mm[Hg]
    "sf_ratio",  # SpO2 / FiO2
    "bun_creatinine",
    "hr_per_degree",  # HR / (temperature - 30)
    "sofa_respiration",
    "sofa_coagulation",
    "sofa_liver",
    "sofa_cardiovascular",
    "sofa_cns",
    "sofa_renal",
    "sofa_partial",
    "sofa_known",
    "qsofa_partial",
    "sirs",
    "news2_partial",
    "vitals_fresh",  # vital signs measured within the last hour
    "labs_fresh_6h",  # laboratory variables measured within 6 h
    "labs_fresh_24h",
    "labs_ever",
    "hours_since_lab",
    "lab_hours_24h",  # sum over laboratory variables of hours with a result
    "urine_24h",  # mL: the mean result times the hours with one; not known before 24 h in the unit
    *_APS_WORST,
    "aps_respiration",
    "aps_oxygenation",
    "aps_urine",
    "aps_renal",
    "aps_acid_base",
    "aps_coma",
    "aps_partial",
)

_PRESSURES = ("sbp", "map", "dbp")
SOURCES: tuple[tuple[str, ...], ...] = (
    ("heart_rate", "sbp"),
    ("heart_rate", "sbp"),
    ("sbp", "dbp"),
    ("sbp", "dbp"),
    ("pao2", "fio2"),
    ("spo2", "fio2"),
    ("bun", "creatinine"),
    ("heart_rate", "temperature"),
    ("pao2", "fio2"),
    ("platelets",),
    ("bilirubin_total",),
    _PRESSURES,
    ("gcs",),
    ("creatinine",),
    *((),) * 11,  # sums and counts hold whatever else is known
    ("urine_output",),
    *((name,) for name in aps.WORST),
    ("resp_rate",),
    ("pao2", "paco2", "fio2"),
    ("urine_output",),
    ("creatinine",),
    ("ph", "paco2"),
    ("gcs",),
    (),
)
"""The clinical variables that each derived value stands or falls with."""

_VITAL_ROWS = [INDEX[name] for name in VITALS]
_LABS = slice(INDEX[LABS[0]], INDEX[LABS[-1]] + 1)
_READ = (
    *("heart_rate", "spo2", "temperature", "sbp", "map", "dbp", "resp_rate", "gcs", "fio2", "paco2", "pao2"),
    *("bun", "creatinine", "bilirubin_total", "wbc", "platelets", "ph", "ventilated"),
)
_READ_ROWS = [INDEX[name] for name in _READ]
_EXTREMES = (*aps.WORST, "resp_rate", "creatinine", "gcs")
_EXTREME_ROWS = [INDEX[name] for name in _EXTREMES]
_DAY = [STATISTIC["min_24h"], STATISTIC["max_24h"]]
_URINE = INDEX["urine_output"], [STATISTIC["mean_24h"], STATISTIC["hours_with_24h"]]
_AGE, _HOURS_IN_UNIT = STATIC.index("age_years"), STATIC.index("hours_in_unit")


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else nan


def _down(value: float, *cuts: float) -> float:
    """One point more for each cut that the value lies below."""
    return nan if isnan(value) else float(sum(value < c for c in cuts))


def _up(value: float, *cuts: float) -> float:
    """One point more for each cut that the value reaches."""
    return nan if isnan(value) else float(sum(value >= c for c in cuts))


def _sum(parts: list[float]) -> float:
    return float(sum(p for p in parts if p == p))


def _news2(v: dict[str, float]) -> float:
    """NEWS2 without consciousness and oxygen delivery, SpO2 scale 1 (RCP 2017, chart 1); half-open at next step."""
    return _sum(
        [
            aps.points(v["resp_rate"], ((9, 12, 21, 25), (3, 1, 0, 2, 3))),
            aps.points(v["spo2"], ((92, 94, 96), (3, 2, 1, 0))),
            aps.points(v["sbp"], ((91, 101, 111, 220), (3, 2, 1, 0, 3))),
            aps.points(v["heart_rate"], ((41, 51, 91, 111, 131), (3, 1, 0, 1, 2, 3))),
            aps.points(v["temperature"], ((35.1, 36.1, 38.1, 39.1), (3, 1, 0, 1, 2))),
        ]
    )


def _sirs(v: dict[str, float]) -> float:
    temperature, wbc = v["temperature"], v["wbc"]
    return _sum(
        [
            float(temperature > 38 or temperature < 36),
            float(v["heart_rate"] > 90),
            float(v["resp_rate"] > 20 or v["paco2"] < 32),
            float(wbc > 12 or wbc < 4),
        ]
    )


def _worst(points: Callable[..., float], ends: tuple[float, float], *facts: Any) -> float:
    """The more of the points of the lowest and the highest value of 24 h; NaN when there is none."""
    low, high = ends
    return nan if isnan(low) else max(points(low, *facts), points(high, *facts))


def _acute_physiology(v: dict[str, float], series: NDArray[np.float32], urine: float) -> list[float]:
    """The points of each part, by the worst value of the last 24 h; of pressures of gases and the pH by the last."""
    ends = dict(zip(_EXTREMES, map(tuple, series[_EXTREME_ROWS][:, _DAY].tolist()), strict=True))
    ventilated = v["ventilated"] == 1
    return [
        *(_worst(aps.points, ends[name], bands) for name, bands in aps.WORST.items()),
        _worst(aps.respiration, ends["resp_rate"], ventilated),
        aps.oxygenation(v["pao2"], v["paco2"], v["fio2"], ventilated),
        aps.points(urine, aps.URINE),
        _worst(aps.renal, ends["creatinine"], urine),
        aps.acid_base(v["ph"], v["paco2"]),
        aps.coma(ends["gcs"][0]),
    ]


def derived(series: NDArray[np.float32], static: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [len(DERIVED)] from the inputs `series` [variables, statistics] and `static`; NaN = unknown."""
    age_years, hours_in_unit = float(static[_AGE]), float(static[_HOURS_IN_UNIT])
    v = dict(zip(_READ, series[_READ_ROWS, 0].tolist(), strict=True))
    since = series[:, STATISTIC["hours_since"]]
    labs = since[_LABS]
    pf, sf = _ratio(v["pao2"], v["fio2"]), _ratio(v["spo2"], v["fio2"])
    estimated = v["dbp"] + (v["sbp"] - v["dbp"]) / 3
    mean_pressure = v["map"] if v["map"] == v["map"] else estimated
    shock = _ratio(v["heart_rate"], v["sbp"])
    mean_urine, urine_hours = series[_URINE].tolist()
    urine = mean_urine * urine_hours if hours_in_unit >= 24 else nan
    physiology = _acute_physiology(v, series, urine)
    sofa = [
        _down(pf, 400, 300, 200, 100),
        _down(v["platelets"], 150, 100, 50, 20),
        _up(v["bilirubin_total"], 1.2, 2.0, 6.0, 12.0),
        _down(mean_pressure, 70),
        _down(v["gcs"], 15, 13, 10, 6),
        _up(v["creatinine"], 1.2, 2.0, 3.5, 5.0),
    ]
    with np.errstate(invalid="ignore"):
        values = [
            shock,
            shock * age_years,
            v["sbp"] - v["dbp"],
            estimated,
            pf,
            sf,
            _ratio(v["bun"], v["creatinine"]),
            _ratio(v["heart_rate"], v["temperature"] - 30),
            *sofa,
            _sum(sofa),
            float(sum(p == p for p in sofa)),
            _sum([float(v["resp_rate"] >= 22), float(v["sbp"] <= 100), float(v["gcs"] < 15)]),
            _sirs(v),
            _news2(v),
            float((since[_VITAL_ROWS] < 1).sum()),
            float((labs < 6).sum()),
            float((labs < 24).sum()),
            float((labs == labs).sum()),
            float(np.fmin.reduce(labs)),
            float(series[_LABS, STATISTIC["hours_with_24h"]].sum()),
            urine,
            *physiology,
            _sum(physiology),
        ]
    return np.array(values, np.float32)
