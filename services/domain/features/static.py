"""What does not change by the hour: the `static` input."""

from datetime import UTC, datetime
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.features.series import HOUR_MS
from services.domain.record import PatientRecord, epoch_ms

STATIC: tuple[str, ...] = (
    "age_years",
    "male",  # 1 male, 0 female, NaN otherwise or unknown
    "hours_in_unit",
    "hours_in_hospital",
    "hours_before_unit",  # from admission to the hospital to that to the present unit
    "unit_medical",
    "unit_surgical",
    "unit_cardiac",
    "unit_cardiac_surgery",
    "unit_known",
)
KNOWABLE = 5
"""The first so many are NaN when unknown; with none of them known the modality is absent."""
YEAR_MS = 365.2425 * 24 * HOUR_MS
_UNITS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("unit_cardiac_surgery", ("CSRU", "CVICU", "CTICU", "CSICU")),
    ("unit_cardiac", ("CCU", "CICU")),
    ("unit_surgical", ("SICU", "TSICU", "NSICU", "NEURO")),
    ("unit_medical", ("MICU",)),
)


def _instant(birth_date: str) -> int:
    """Epoch ms of an ISO 8601 date of any precision; an unknown month or day is taken in the middle of the span."""
    parts = [int(p) for p in birth_date[:10].split("-")]
    year, month, day = (*parts, *(7, 1)[len(parts) - 1 :]) if len(parts) < 3 else parts
    return round(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


def age_at(birth_date: Any, as_of_ms: int) -> float:
    """Age in completed years, NaN when there is no date of birth that can be read."""
    if not isinstance(birth_date, str) or not birth_date:
        return nan
    try:
        return float((as_of_ms - _instant(birth_date)) // YEAR_MS)
    except ValueError:
        return nan


def unit_kind(unit: Any) -> str:
    """The `unit_*` feature of a ward's name, '' when it is of no known kind."""
    name = str(unit or "").upper().replace("-", "").replace(" ", "")
    for kind, marks in _UNITS:
        if any(mark in name for mark in marks):
            return kind
    return ""


def static(record: PatientRecord, as_of_ms: int) -> NDArray[np.float32]:
    """float32 [len(STATIC)] of the encounter open at `as_of_ms`; NaN where unknown. Hours count from event times."""
    encounter = record.encounter_at(as_of_ms) or {}
    start, since = epoch_ms(encounter.get("start")), epoch_ms(encounter.get("unit_since"))
    start = since if start is None else start
    since = start if since is None else since
    in_unit = nan if since is None else (as_of_ms - since) / HOUR_MS
    in_hospital = nan if start is None else (as_of_ms - start) / HOUR_MS
    kind = unit_kind(encounter.get("unit"))
    sex = record.field("sex")
    return np.array(
        [
            age_at(record.field("birth_date"), as_of_ms),
            {"male": 1.0, "female": 0.0}.get(sex if isinstance(sex, str) else "", nan),
            in_unit,
            in_hospital,
            in_hospital - in_unit,
            *(float(kind == name) for name in STATIC[5:9]),
            float(bool(kind)),
        ],
        np.float32,
    )
