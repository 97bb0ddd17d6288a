"""Predictions joined with what happened: one entry for each patient's stay.

Labels. `mortality`: the patient died in this stay; none where the discharge does not say how the patient left.
`sepsis-6h`: sepsis begins within 6 h after the prediction or began at most 3 h before it, the window in which the CinC
2019 utility rewards an alarm; later predictions of a septic patient are left out. A stay counts once it has ended;
ending can be taken back (A13, a readmission) and death corrected; how the patient left is then unknown again.
"""

from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime

from services.domain.events import ClinicalEvent, Merge
from services.domain.outcomes import died, left_how, sepsis_onset, stay_ended
from services.domain.prediction import Outcome, Prediction, Status

SEPSIS_BEFORE_MS = 6 * 3600 * 1000
SEPSIS_AFTER_MS = 3 * 3600 * 1000
MAX_STAYS = 20_000
MAX_PREDICTIONS = 400  # of one stay and outcome; older ones go first

Scored = dict[int, float]  # as_of (epoch ms) -> probability


class Stay:
    """One patient's open or ended stay."""

    __slots__ = ("died", "ended", "known", "onset_ms", "scores")

    def __init__(self) -> None:
        self.scores: dict[tuple[str, Outcome], Scored] = {}
        self.ended = self.died = self.known = False
        self.onset_ms: int | None = None

    def label(self, outcome: Outcome, as_of: int) -> int | None:
        """1 or 0; None when this prediction does not count."""
        if outcome is Outcome.MORTALITY:
            return int(self.died) if self.known else None
        if self.onset_ms is None or as_of < self.onset_ms - SEPSIS_BEFORE_MS:
            return 0
        return 1 if as_of <= self.onset_ms + SEPSIS_AFTER_MS else None


class Stays:
    """All stays in memory: the newest MAX_STAYS by last touch."""

    def __init__(self, max_stays: int = MAX_STAYS) -> None:
        self._stays: OrderedDict[str, Stay] = OrderedDict()
        self._max = max_stays
        self._merged: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._stays)

    def note_prediction(self, prediction: Prediction) -> None:
        """Keep the scored risks of a prediction (a repeat overwrites itself)."""
        if prediction.superseded_by:
            return
        for risk in prediction.risks:
            if risk.status is Status.SCORED and risk.probability is not None:
                self.note_risk(prediction.patient, (prediction.model, risk.outcome), prediction.as_of, risk.probability)

    def note_risk(self, patient: str, pair: tuple[str, Outcome], as_of: datetime, probability: float) -> None:
        """Keep one risk of a patient under a model's name and an outcome; one for the same moment replaces it."""
        scores = self._of(patient).scores.setdefault(pair, {})
        scores[round(as_of.timestamp() * 1000)] = probability
        if len(scores) > MAX_PREDICTIONS:
            del scores[min(scores)]

    def note_event(self, event: ClinicalEvent) -> None:
        """Learn of death, discharge, sepsis and merges."""
        for fact in event.facts:
            if isinstance(fact, Merge):
                self._merge(event.patient, fact.into)
                continue
            onset, ended = sepsis_onset(fact), stay_ended(fact)
            if onset is None and ended is None and not died(fact):
                continue
            stay = self._of(event.patient)
            if onset is not None:
                moment = round(onset.timestamp() * 1000)
                stay.onset_ms = min(moment, stay.onset_ms or moment)
            if ended is not None:
                stay.ended = ended
                stay.died, stay.known = stay.died and ended, stay.known and ended
            stay.known = stay.known or left_how(fact)
            if died(fact):
                stay.died = stay.ended = True

    def labelled(self, model: str, outcome: Outcome) -> tuple[list[int], list[float]]:
        """Labels and probabilities of all ended stays, for one model and outcome."""
        labels, probabilities = [], []
        for stay in self._stays.values():
            if not stay.ended:
                continue
            for as_of, probability in stay.scores.get((model, outcome), {}).items():
                label = stay.label(outcome, as_of)
                if label is not None:
                    labels.append(label)
                    probabilities.append(probability)
        return labels, probabilities

    def models(self) -> Iterator[tuple[str, Outcome]]:
        """The (model, outcome) pairs that have been seen."""
        yield from sorted({pair for stay in self._stays.values() for pair in stay.scores})

    def _of(self, patient: str) -> Stay:
        patient = self._group(patient)
        stay = self._stays.get(patient)
        if stay is None:
            stay = self._stays[patient] = Stay()
        self._stays.move_to_end(patient)
        if len(self._stays) > self._max:
            self._stays.popitem(last=False)
        return stay

    def _group(self, patient: str) -> str:
        """One name for all numbers of a patient; which of them survives does not matter to a stay's figures."""
        while patient in self._merged:
            patient = self._merged[patient]
        return patient

    def _merge(self, old: str, into: str) -> None:
        old, into = self._group(old), self._group(into)
        if old == into:
            return
        self._merged[old] = into
        moved = self._stays.pop(old, None)
        if moved is None:
            return
        stay = self._of(into)
        for pair, scores in moved.scores.items():
            stay.scores.setdefault(pair, {}).update(scores)
        stay.died, stay.ended = stay.died or moved.died, stay.ended or moved.ended
        stay.known = stay.known or moved.known
        onsets = [onset for onset in (stay.onset_ms, moved.onset_ms) if onset is not None]
        stay.onset_ms = min(onsets, default=None)
