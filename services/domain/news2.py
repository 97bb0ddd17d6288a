"""NEWS2, the National Early Warning Score 2.

Royal College of Physicians. National Early Warning Score (NEWS) 2: Standardising the assessment of acute-illness
severity in the NHS. London: RCP, 2017. Chart 1 (scores), chart 2 (thresholds and triggers). It is published, simple
and needs no model, so it is what Wardstream falls back to while the model server is away.
"""

from collections.abc import Callable
from enum import StrEnum
from math import isfinite

import msgspec

from services.domain.record import PatientRecord, Row

VERSION = "2017.1"
"""Changes whenever the same record may give another score."""
SOURCE = "NEWS2 (Royal College of Physicians, 2017)"

MAX_AGE_MS = 24 * 3_600_000
"""A result older than this is not used. RCP asks for observations at least every 12 h; 24 h allows a missed round."""

ROOM_AIR = 0.21  # fraction of inspired oxygen
STEP_OF_FRACTION = 0.005  # half of the whole percent in which it is charted

RESPIRATION, SATURATION, PRESSURE, PULSE, TEMPERATURE = "9279-1", "59408-5", "8480-6", "8867-4", "8310-5"
SATURATION_ARTERIAL = "2708-6"
COMA_SCALE, OXYGEN_FRACTION, OXYGEN_FLOW = "9269-2", "3150-6", "3151-8"
"""LOINC codes read. Units are the canonical ones: /min, %, mm[Hg], Cel, {score}, 1; a flow may be in any."""


class Trigger(StrEnum):
    """Chart 2: the clinical risk and with it how urgent the response should be."""

    LOW = "low"  # total 0 to 4
    LOW_MEDIUM = "low-medium"  # 3 in any single parameter
    MEDIUM = "medium"  # total 5 or 6: urgent response
    HIGH = "high"  # total 7 or more: emergency response


class Part(msgspec.Struct, frozen=True):
    """One parameter: its points, the value they are for, and its time (epoch ms); all None when it is missing."""

    name: str
    points: int | None = None
    value: float | None = None
    time: int | None = None


class News2(msgspec.Struct, frozen=True):
    """The score. A parameter that is missing adds nothing; `complete` says whether all seven were there.

    Without an oxygen result the patient is taken to breathe room air, and without a coma score to be alert, as the
    chart's users do; both are still named in `missing`.
    """

    parts: tuple[Part, ...]

    @property
    def total(self) -> int:
        """Aggregate score, 0 to 20."""
        return sum(part.points or 0 for part in self.parts)

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts if part.points is None)

    @property
    def complete(self) -> bool:
        return not self.missing

    @property
    def trigger(self) -> Trigger:
        """Chart 2 of the RCP report."""
        if self.total >= 7:
            return Trigger.HIGH
        if self.total >= 5:
            return Trigger.MEDIUM
        return Trigger.LOW_MEDIUM if any(part.points == 3 for part in self.parts) else Trigger.LOW


def respiration_points(rate: float) -> int:
    """Breaths a minute: <=8 3, 9-11 1, 12-20 0, 21-24 2, >=25 3."""
    return _banded(rate, ((8, 3), (11, 1), (20, 0), (24, 2)), 3, 1)


def saturation_points(percent: float) -> int:
    """SpO2 scale 1: <=91 3, 92-93 2, 94-95 1, >=96 0."""
    return _banded(percent, ((91, 3), (93, 2), (95, 1)), 0, 1)


def saturation_points_scale_2(percent: float, on_oxygen: bool) -> int:
    """SpO2 scale 2 (hypercapnic failure, target 88-92%, set by a clinician alone): <=83 3, 84-85 2, 86-87 1,
    88-92 0, and >=93 on air 0; on oxygen 93-94 1, 95-96 2, >=97 3."""
    if _step(percent, 1) >= 93 and not on_oxygen:
        return 0
    return _banded(percent, ((83, 3), (85, 2), (87, 1), (92, 0), (94, 1), (96, 2)), 3, 1)


def pressure_points(systolic: float) -> int:
    """mm[Hg]: <=90 3, 91-100 2, 101-110 1, 111-219 0, >=220 3."""
    return _banded(systolic, ((90, 3), (100, 2), (110, 1), (219, 0)), 3, 1)


def pulse_points(rate: float) -> int:
    """Beats a minute: <=40 3, 41-50 1, 51-90 0, 91-110 1, 111-130 2, >=131 3."""
    return _banded(rate, ((40, 3), (50, 1), (90, 0), (110, 1), (130, 2)), 3, 1)


def temperature_points(celsius: float) -> int:
    """<=35.0 3, 35.1-36.0 1, 36.1-38.0 0, 38.1-39.0 1, >=39.1 2."""
    return _banded(celsius, ((35.0, 3), (36.0, 1), (38.0, 0), (39.0, 1)), 2, 10)


def oxygen_points(on_oxygen: bool) -> int:
    """Air 0, supplemental oxygen 2."""
    return 2 if on_oxygen else 0


def consciousness_points(coma_scale: float) -> int:
    """Alert 0; new confusion, voice, pain or unresponsive 3. A Glasgow coma scale below 15 is not alert."""
    return 0 if coma_scale >= 15 else 3


def _step(value: float, per_unit: int) -> float:
    """The value as a chart records it: whole numbers, or tenths of a degree; halves go up."""
    return int(value * per_unit + 0.5 + 1e-9) / per_unit


def _banded(value: float, upper: tuple[tuple[float, int], ...], above: int, per_unit: int) -> int:
    charted = _step(value, per_unit)
    return next((points for bound, points in upper if charted <= bound), above)


def news2(record: PatientRecord, as_of_ms: int, *, scale_2: bool = False) -> News2:
    """The score of the newest results at `as_of_ms` (epoch ms), none older than `MAX_AGE_MS`.

    SpO2 is scored on scale 1 unless told. Never raises for what a record may hold.
    """
    fraction = _latest(record, OXYGEN_FRACTION, as_of_ms)
    flow = _latest(record, OXYGEN_FLOW, as_of_ms, any_unit=True)
    oxygen = _oxygen(fraction, flow)
    supplied = oxygen.points == 2
    saturation = _latest(record, SATURATION, as_of_ms) or _latest(record, SATURATION_ARTERIAL, as_of_ms)

    def saturated(percent: float) -> int:
        return saturation_points_scale_2(percent, supplied) if scale_2 else saturation_points(percent)

    return News2(
        (
            _part("respiration_rate", _latest(record, RESPIRATION, as_of_ms), respiration_points),
            _part("oxygen_saturation", saturation, saturated),
            oxygen,
            _part("systolic_pressure", _latest(record, PRESSURE, as_of_ms), pressure_points),
            _part("pulse", _latest(record, PULSE, as_of_ms), pulse_points),
            _part("consciousness", _latest(record, COMA_SCALE, as_of_ms), consciousness_points),
            _part("temperature", _latest(record, TEMPERATURE, as_of_ms), temperature_points),
        )
    )


def _oxygen(fraction: Row | None, flow: Row | None) -> Part:
    """Supplemental when the newer of inspired fraction and flow says so."""
    newest = max((row for row in (fraction, flow) if row is not None), key=lambda row: row.time, default=None)
    if newest is None:
        return Part("supplemental_oxygen")
    value = _number(newest)
    supplied = value >= ROOM_AIR + STEP_OF_FRACTION if newest is fraction else value > 0.0
    return Part("supplemental_oxygen", oxygen_points(supplied), value, newest.time)


def _part(name: str, row: Row | None, points: Callable[[float], int]) -> Part:
    return Part(name) if row is None else Part(name, points(_number(row)), _number(row), row.time)


def _latest(record: PatientRecord, loinc: str, as_of_ms: int, *, any_unit: bool = False) -> Row | None:
    """The newest number in the canonical unit (a row's own unit is empty then) that is recent enough."""
    found = None
    for row in record.values(loinc, as_of_ms):
        if isinstance(row.value, int | float) and isfinite(row.value) and (any_unit or not row.unit):
            found = row
    return found if found is not None and found.time >= as_of_ms - MAX_AGE_MS else None


def _number(row: Row) -> float:
    assert isinstance(row.value, int | float)
    return float(row.value)
