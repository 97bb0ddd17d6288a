"""What the model should not judge is published as indeterminate, with the reason, and not as a number."""

from math import isfinite

from services.domain.features import ModelInputs
from services.domain.features.series import STATISTIC
from services.domain.features.static import STATIC
from services.domain.features.variables import INDEX
from services.domain.prediction import IndeterminateReason
from services.inference.manifest import Gate, OutcomeSpec

_AGE = STATIC.index("age_years")


def before(inputs: ModelInputs, gate: Gate) -> IndeterminateReason | None:
    """Why these inputs should not be scored at all; None when they may be."""
    if _fresh_variables(inputs, gate.max_age_hours) < gate.min_variables:
        return IndeterminateReason.TOO_LITTLE_DATA
    if _outside_training(inputs, gate):
        return IndeterminateReason.OUT_OF_DISTRIBUTION
    return None


def after(probability: float, outcome: OutcomeSpec) -> IndeterminateReason | None:
    """Why this risk should not be shown as a number: it lies where the conformal set holds both answers."""
    if outcome.indeterminate is None:
        return None
    low, high = outcome.indeterminate
    return IndeterminateReason.LOW_CONFIDENCE if low < probability < high else None


def _fresh_variables(inputs: ModelInputs, max_age_hours: float) -> int:
    """Clinical variables whose last result is recent enough; NaN compares false."""
    ages = inputs.arrays["series"][:, STATISTIC["hours_since"]].tolist()
    return sum(age <= max_age_hours for age in ages)


def _outside_training(inputs: ModelInputs, gate: Gate) -> bool:
    age = float(inputs.arrays["static"][_AGE])
    if gate.min_age_years is not None and isfinite(age) and age < gate.min_age_years:
        return True
    if gate.max_outside is None:
        return False
    last = inputs.arrays["series"][:, STATISTIC["value"]].tolist()
    outside = 0
    for name, (low, high) in gate.ranges.items():
        value = last[INDEX[name]]
        outside += value < low or value > high
    return outside > gate.max_outside
