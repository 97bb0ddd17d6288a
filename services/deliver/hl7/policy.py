"""Which predictions the hospital's systems are told, given what they were told last. Pure.

A chart that got every prediction would be read by nobody. So by default a patient's first judged risk is told, then
every crossing of the alert threshold, in either direction and at once, then what has moved or can no longer be judged,
at most once in `interval`. Far above the threshold a risk must move further to be told again.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import msgspec

from services.domain.prediction import Outcome, Prediction, Risk, Status


class Why(StrEnum):
    """Why a prediction was told, or was not."""

    FIRST = "first"
    CROSSED = "crossed"  # a risk passed its alert threshold, up or down
    MOVED = "moved"
    CORRECTED = "corrected"  # the results of the time that was told of, or before it, have changed
    WITHDRAWN = "withdrawn"  # the record was merged into another patient's
    EVERY = "every"  # the site wants all
    UNCHANGED = "unchanged"
    TOO_SOON = "too_soon"  # moved, but within the interval
    FALLBACK = "fallback"  # NEWS2 where the site does not want it
    SHADOW = "shadow"  # a challenger's: never told
    OLD = "old"  # of an earlier time than this site wants to be told of
    NO_IDENTIFIER = "no_identifier"  # the record has no number that the receiver knows the patient by


TOLD = frozenset({Why.FIRST, Why.CROSSED, Why.MOVED, Why.CORRECTED, Why.WITHDRAWN, Why.EVERY})

NEWS2_URGENT = 5.0
"""Points that ask for an urgent response (RCP 2017, chart 2): what a fallback score's changes are measured by."""


class ToldRisk(msgspec.Struct, array_like=True, frozen=True):
    """One risk as it was told: probability or points, None where it was not judged."""

    value: float | None
    alert: bool


class Told(msgspec.Struct, array_like=True, frozen=True):
    """What was told last of a patient by one model."""

    prediction_id: str
    filler: str  # OBR-3 of the report that stands in the chart
    as_of: int  # epoch ms
    risks: dict[Outcome, ToldRisk]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a site wants to be told. `change` is a share of what was told, at least of the alert threshold.

    `interval` is in event time.
    """

    every: bool = False
    change: float = 0.5
    interval: timedelta = timedelta(hours=1)
    fallback: bool = False

    def why(self, told: Told | None, prediction: Prediction) -> Why:
        """Whether this prediction is told (a member of TOLD) or not, and why."""
        if prediction.shadow:
            return Why.SHADOW
        if not self.fallback and is_fallback(prediction):
            return Why.FALLBACK
        if prediction.superseded_by:
            return Why.WITHDRAWN if told else Why.UNCHANGED
        if told is None:
            judged = any(_value(risk) is not None for risk in prediction.risks)
            return Why.FIRST if judged or self.every else Why.UNCHANGED
        if told.prediction_id == prediction.prediction_id:
            return Why.UNCHANGED
        return self._again(told, prediction)

    def _again(self, told: Told, prediction: Prediction) -> Why:
        correction = corrects(told, prediction)
        if self.every:
            return Why.CORRECTED if correction else Why.EVERY
        pairs = [(told.risks.get(risk.outcome), risk) for risk in prediction.risks]
        if any(_crossed(last, risk) for last, risk in pairs):
            return Why.CORRECTED if correction else Why.CROSSED
        if not any(self._moved(last, risk) for last, risk in pairs):
            return Why.UNCHANGED
        if correction:
            return Why.CORRECTED
        elapsed = timedelta(milliseconds=as_of_ms(prediction) - told.as_of)
        return Why.MOVED if elapsed >= self.interval else Why.TOO_SOON

    def _moved(self, last: ToldRisk | None, risk: Risk) -> bool:
        before, now = (last.value if last else None), _value(risk)
        if before is None or now is None:
            return before is not now
        scale = NEWS2_URGENT if risk.status is Status.FALLBACK else risk.threshold or 1.0
        return abs(now - before) >= self.change * max(scale, before)


def told_of(prediction: Prediction, filler: str) -> Told:
    """What to remember of a prediction that was told under `filler`."""
    risks = {risk.outcome: ToldRisk(_value(risk), risk.alert) for risk in prediction.risks}
    return Told(prediction.prediction_id, filler, as_of_ms(prediction), risks)


def corrects(told: Told, prediction: Prediction) -> bool:
    """Whether it is about the moment that was told of, or an earlier one: then what was told no longer stands."""
    return as_of_ms(prediction) <= told.as_of


def as_of_ms(prediction: Prediction) -> int:
    """Epoch milliseconds of the prediction's event time."""
    return round(prediction.as_of.timestamp() * 1000)


def is_fallback(prediction: Prediction) -> bool:
    """Whether it is NEWS2's, which stands in while the models are away."""
    return bool(prediction.risks) and all(risk.outcome is Outcome.DETERIORATION for risk in prediction.risks)


def _crossed(last: ToldRisk | None, risk: Risk) -> bool:
    """An alert that begins, and one that a judged risk ends; one that is no longer judged has not ended."""
    alerted = last is not None and last.alert
    return risk.alert != alerted and (risk.alert or _value(risk) is not None)


def _value(risk: Risk) -> float | None:
    return risk.score if risk.status is Status.FALLBACK else risk.probability
