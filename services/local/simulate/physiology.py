"""Vital signs and laboratory values over a simulated stay.

Each variable is a level of the patient's own, a daily rhythm, slow noise (a first-order autoregression over hours) and
a drift with the severity of illness, 0 (well) to 1 (shock). Severity rises over the hours before the onset of sepsis
and falls after treatment in those who live. Levels and effects are round figures from the ranges of clinical practice,
chosen for plausible pictures; they are fitted to nothing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.local.simulate.people import Person

SLOW = 0.85  # of an hour's deviation that is left an hour later
RISE_H = 3.0  # time constant with which severity rises around the onset
TREATED_AFTER_H = 6
RECOVERY_H = 18.0


class Sign(NamedTuple):
    """How one variable behaves: level, its spread over patients and over hours, daily swing, change at severity 1."""

    loinc: str
    unit: str
    level: float
    between: float
    within: float
    daily: float
    severe: float
    low: float
    high: float
    digits: int


VITALS = (
    Sign("8867-4", "/min", 80, 9, 4, 4, 42, 35, 190, 0),  # heart rate
    Sign("59408-5", "%", 97, 1, 0.8, 0, -8, 70, 100, 0),  # SpO2
    Sign("8310-5", "Cel", 36.9, 0.2, 0.15, 0.3, 1.9, 33, 41.5, 1),  # temperature
    Sign("8480-6", "mm[Hg]", 126, 10, 6, 5, -42, 55, 220, 0),  # systolic
    Sign("8462-4", "mm[Hg]", 66, 5, 3, 3, -22, 25, 120, 0),  # diastolic
    Sign("9279-1", "/min", 16, 2, 1.5, 1, 15, 6, 50, 0),  # respiratory rate
)
LABS = (
    Sign("2524-7", "mmol/L", 1.2, 0.3, 0.15, 0, 4.5, 0.4, 20, 1),  # lactate
    Sign("6690-2", "10*3/uL", 8.5, 1.8, 0.5, 0, 11, 0.5, 60, 1),  # leukocytes
    Sign("2160-0", "mg/dL", 0.95, 0.25, 0.05, 0, 1.6, 0.3, 9, 2),  # creatinine
    Sign("3094-0", "mg/dL", 17, 5, 1, 0, 24, 3, 150, 0),  # urea nitrogen
    Sign("777-3", "10*3/uL", 240, 55, 10, 0, -120, 8, 800, 0),  # platelets
    Sign("718-7", "g/dL", 11.8, 1.6, 0.2, 0, -1.2, 5, 18, 1),  # haemoglobin
    Sign("1975-2", "mg/dL", 0.8, 0.3, 0.05, 0, 1.8, 0.1, 25, 1),  # bilirubin
    Sign("2951-2", "mmol/L", 139, 2.5, 0.7, 0, -2, 118, 160, 0),  # sodium
    Sign("2823-3", "mmol/L", 4.1, 0.3, 0.12, 0, 0.5, 2.4, 7.5, 1),  # potassium
    Sign("1963-8", "mmol/L", 24.5, 1.8, 0.6, 0, -7, 6, 40, 0),  # bicarbonate
    Sign("2345-7", "mg/dL", 128, 22, 9, 6, 45, 40, 500, 0),  # glucose
)
LABS_EVERY_H = 6


class Result(NamedTuple):
    """One value: LOINC code, the value, its UCUM unit."""

    loinc: str
    value: float
    unit: str


def severity(person: Person, hours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Severity 0-1 at each hour of the stay."""
    if person.onset_h is not None:
        rising = 1 / (1 + np.exp(-(hours - person.onset_h) / RISE_H))
        if person.dies:
            return np.asarray(rising)
        after = np.maximum(0.0, hours - person.onset_h - TREATED_AFTER_H)
        return np.asarray(rising * np.exp(-after / RECOVERY_H))
    if person.dies:  # a sudden end of another kind
        return np.asarray(1 / (1 + np.exp(-(hours - person.stay_h + 2) / 1.5)))
    return np.zeros_like(hours)


def course(person: Person, seed: int) -> list[list[Result]]:
    """What is measured at hour 1, 2, ... of the stay: vital signs hourly, laboratory values every six hours."""
    hours = np.arange(1, person.stay_h + 1, dtype=np.float64)
    ill, draw = severity(person, hours), person.generator(seed, 1)
    clock = np.cos(2 * np.pi * (hours - draw.integers(24)) / 24)
    vitals = [(sign, _values(sign, ill, clock, draw)) for sign in VITALS]
    labs = [(sign, _values(sign, ill, clock, draw)) for sign in LABS]
    missed = draw.random((len(hours), len(VITALS))) < 0.06  # not every sign is charted every hour
    found = []
    for hour in range(len(hours)):
        row = [_result(sign, v[hour]) for n, (sign, v) in enumerate(vitals) if not missed[hour, n]]
        row += _mean_pressure(row)
        if hour % LABS_EVERY_H == 0:
            row += [_result(sign, v[hour]) for sign, v in labs]
        found.append(row)
    return found


def _mean_pressure(row: list[Result]) -> list[Result]:
    """Mean arterial pressure where both others were measured: a third of the way up from diastolic."""
    known = {result.loinc: result.value for result in row}
    if "8480-6" not in known or "8462-4" not in known:
        return []
    mean = known["8462-4"] + (known["8480-6"] - known["8462-4"]) / 3
    return [Result("8478-0", round(mean, 0), "mm[Hg]")]


def _values(
    sign: Sign, ill: NDArray[np.float64], clock: NDArray[np.float64], draw: np.random.Generator
) -> NDArray[np.float64]:
    noise = draw.normal(0, sign.within, len(ill))
    for n in range(1, len(noise)):
        noise[n] = SLOW * noise[n - 1] + np.sqrt(1 - SLOW**2) * noise[n]
    level = sign.level + draw.normal(0, sign.between)
    return np.asarray(np.clip(level + sign.daily * clock + sign.severe * ill + noise, sign.low, sign.high))


def _result(sign: Sign, value: float) -> Result:
    return Result(sign.loinc, round(float(value), sign.digits), sign.unit)
