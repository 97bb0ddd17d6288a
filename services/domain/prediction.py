"""Predictions: what `risk.predictions` carries."""

from datetime import datetime
from enum import StrEnum

import msgspec

from services.domain.events import digest


class Outcome(StrEnum):
    """What a risk is the risk of."""

    SEPSIS_6H = "sepsis-6h"  # Sepsis-3 onset within 6 hours (CinC 2019)
    MORTALITY = "mortality"  # death in this hospital stay
    DETERIORATION = "deterioration"  # NEWS2's composite; only ever a fallback score


class Status(StrEnum):
    SCORED = "scored"
    INDETERMINATE = "indeterminate"  # the model should not judge: `reason` says why
    FALLBACK = "fallback"  # Triton is away: a published early-warning score instead
    SUPERSEDED = "superseded"  # the record was merged into another patient's


class IndeterminateReason(StrEnum):
    TOO_LITTLE_DATA = "too_little_data"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    LOW_CONFIDENCE = "low_confidence"
    INVALID_ANSWER = "invalid_answer"  # the model's answer failed its checks
    NO_ENCOUNTER = "no_encounter"
    MODEL_UNAVAILABLE = "model_unavailable"


MISSING = "missing"
"""Observed of a contribution whose input there is none of: that nothing was measured says something as well."""


class Contribution(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much one input moved a risk, in log-odds; positive raises it."""

    name: str  # a modality (series, static, note, image) or a feature name
    value: float
    observed: float | str | None = None  # the input's own value, canonical unit
    age_hours: float | None = None


class Risk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One calibrated risk, or why there is none."""

    outcome: Outcome
    status: Status = Status.SCORED
    probability: float | None = None  # calibrated, within [0, 1]; None unless scored
    raw: float | None = None  # before calibration
    alert: bool = False  # at or above the threshold chosen on validation
    threshold: float | None = None
    score: float | None = None  # of a fallback: NEWS2 points, 0 to 20
    reason: str = ""  # IndeterminateReason, or the fallback's source
    modalities: list[Contribution] = []
    features: list[Contribution] = []


class ModalityState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a modality was there to be used, how many items, and how old its newest is."""

    name: str  # series | static | note | image | genomic
    present: bool
    count: int = 0
    age_hours: float | None = None
    stale: bool = False


class Prediction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model's answer for one version of one patient's record."""

    prediction_id: str
    patient: str
    record_version: str
    as_of: datetime  # event time: the newest in the record
    model: str
    model_version: str
    weights_sha256: str = ""
    input_sha256: str = ""
    feature_version: str = ""
    risks: list[Risk]
    modalities: list[ModalityState] = []
    superseded_by: str = ""  # patient key
    shadow: bool = False


def prediction_id(record_version: str, model: str, model_version: str) -> str:
    """The one name of a prediction."""
    return digest(record_version, model, model_version, size=16)
