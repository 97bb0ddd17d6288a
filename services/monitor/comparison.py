"""Champion and challenger side by side: two models' predictions for the same version of the same record.

Only what both scored is compared: a challenger that answers less often must not look better for it. Either answer may
come first; one that waits for the other is kept until MAX_WAITING newer ones wait too.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from services.domain import performance
from services.domain.prediction import Outcome, Prediction, Status
from services.monitor.stays import Stays

MAX_WAITING = 20_000
WINDOW = 5000
"""Newest pairs that agreement, difference and correlation are taken over."""
MIN_PAIRS = 20
"""Below so many pairs a correlation is noise: none is given."""

CHAMPION, CHALLENGER = "champion", "challenger"


class Answer(NamedTuple):
    """One model's answer for one outcome."""

    probability: float
    alert: bool


class Pair(NamedTuple):
    """Both answers for one record version and outcome."""

    champion: Answer
    challenger: Answer


class Against(NamedTuple):
    """Which challenger is held against which champion, for what. Models are named with their version."""

    champion: str
    challenger: str
    outcome: Outcome


class Agreement(NamedTuple):
    """How far two models say the same, over the newest pairs."""

    pairs: int
    alert_agreement: float  # share of pairs in which both alert or neither does
    mean_difference: float  # mean absolute difference of the probabilities
    correlation: float | None  # Pearson's; None with few pairs, or when one of the models always says the same


class Performance(NamedTuple):
    """One side's figures on ended stays, over the predictions that both sides made. None where not defined."""

    labelled: int
    auroc: float | None
    brier: float | None
    slope: float | None
    intercept: float | None


class Comparison:
    """Joins the two streams on record version, and their pairs with what happened."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max = max_waiting
        self._waiting: OrderedDict[tuple[str, str], Prediction] = OrderedDict()
        self._pairs: dict[Against, deque[Pair]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._joined: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._stays: dict[str, Stays] = {CHAMPION: Stays(), CHALLENGER: Stays()}

    def note_prediction(self, prediction: Prediction) -> None:
        """Take a prediction of either topic; a repeat changes nothing."""
        if prediction.superseded_by or not any(risk.status is Status.SCORED for risk in prediction.risks):
            return
        side = CHALLENGER if prediction.shadow else CHAMPION
        other = self._waiting.get((_other(side), prediction.record_version))
        self._waiting[side, prediction.record_version] = prediction
        if other is not None:
            self._join(*((prediction, other) if side == CHAMPION else (other, prediction)))
        while len(self._waiting) > self._max:
            self._waiting.popitem(last=False)

    def stays(self) -> Iterator[Stays]:
        """What needs to learn of events, so that outcomes are known."""
        yield from self._stays.values()

    def _join(self, champion: Prediction, challenger: Prediction) -> None:
        name = (champion.prediction_id, challenger.prediction_id)
        if name in self._joined:
            return
        self._joined[name] = None
        if len(self._joined) > self._max:
            self._joined.popitem(last=False)
        theirs = dict(_answers(challenger))
        for outcome, mine in _answers(champion):
            if outcome not in theirs:
                continue
            against = Against(_named(champion), _named(challenger), outcome)
            self._pairs[against].append(Pair(mine, theirs[outcome]))
            for side, prediction in ((CHAMPION, champion), (CHALLENGER, challenger)):
                label = _label(against)
                self._stays[side].note_risk(
                    prediction.patient, (label, outcome), prediction.as_of, dict(_answers(prediction))[outcome][0]
                )

    def agreement(self) -> Iterator[tuple[Against, Agreement]]:
        """How far the models of each pairing agree."""
        for against, pairs in self._pairs.items():
            mine = np.array([pair.champion.probability for pair in pairs])
            theirs = np.array([pair.challenger.probability for pair in pairs])
            same = np.mean([pair.champion.alert == pair.challenger.alert for pair in pairs])
            yield (
                against,
                Agreement(len(pairs), float(same), float(np.mean(np.abs(mine - theirs))), _correlation(mine, theirs)),
            )

    def performance(self) -> Iterator[tuple[Against, str, Performance]]:
        """(pairing, side, figures) of both sides once outcomes are known, over the same predictions."""
        for against in self._pairs:
            for side, stays in self._stays.items():
                labels, probabilities = stays.labelled(_label(against), against.outcome)
                if labels:
                    line = performance.calibration(labels, probabilities) or (None, None)
                    auroc, brier = performance.auroc(labels, probabilities), performance.brier(labels, probabilities)
                    yield against, side, Performance(len(labels), auroc, brier, *line)


def _other(side: str) -> str:
    return CHAMPION if side == CHALLENGER else CHALLENGER


def _named(prediction: Prediction) -> str:
    return f"{prediction.model}:{prediction.model_version}"


def _label(against: Against) -> str:
    return f"{against.champion} {against.challenger}"


def _answers(prediction: Prediction) -> Iterator[tuple[Outcome, Answer]]:
    for risk in prediction.risks:
        if risk.status is Status.SCORED and risk.probability is not None:
            yield risk.outcome, Answer(risk.probability, risk.alert)


def _correlation(a: "np.ndarray", b: "np.ndarray") -> float | None:
    if len(a) < MIN_PAIRS or np.ptp(a) < 1e-12 or np.ptp(b) < 1e-12:
        return None
    return float(np.corrcoef(a, b)[0, 1])
