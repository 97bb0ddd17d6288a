"""What the monitor remembers of the stream, and the figures that it makes of it: no I/O, time as an argument."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
from prometheus_client import Gauge

from services.bus import metrics as registry
from services.bus.messages import DeadLetter, FilteredMessage, Message, MetricEvent, received_at
from services.bus.topics import CLINICAL_EVENTS, DEAD_LETTERS, FILTERED_MESSAGES, RISK_PREDICTIONS, RISK_SHADOW
from services.domain import performance
from services.domain.events import ClinicalEvent, Observation
from services.domain.prediction import Outcome, Prediction, Risk, Status
from services.monitor.comparison import CHAMPION, Comparison
from services.monitor.drift import Drift, Reference
from services.monitor.stays import Stays

WINDOW = 5000
"""Newest predictions (of a model) and latencies that shares and quantiles are taken over."""

SHADOW = "shadow"
"""Before the state of a challenger's predictions, which nobody was shown."""

QUANTILES = (0.5, 0.9, 0.95, 0.99)


class Collector:
    """Takes messages of the monitored topics, gives figures when asked."""

    def __init__(
        self, inputs: Mapping[str, tuple[str, Reference]], scores: Mapping[tuple[str, Outcome], Reference]
    ) -> None:
        """`inputs`: LOINC -> (feature name, training distribution); `scores`: (model, outcome) -> distribution."""
        self._inputs = {loinc: (name, Drift(reference)) for loinc, (name, reference) in inputs.items()}
        self._score_drift = {pair: Drift(reference) for pair, reference in scores.items()}
        self._stays = Stays()
        self._comparison = Comparison()
        self._states: Counter[tuple[str, str, str]] = Counter()
        self._dead: Counter[str] = Counter()
        self._filtered: Counter[str] = Counter()
        self._modalities: dict[str, deque[dict[str, tuple[bool, bool]]]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._risks: dict[tuple[str, Outcome], deque[tuple[float, bool]]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._latencies: deque[float] = deque(maxlen=WINDOW)
        self._received: dict[str, int] = {}
        self._since: dict[str, tuple[int, int]] = {}
        self.undecodable = 0
        self._readers: dict[str, tuple[msgspec.json.Decoder[Any], Callable[[Any, Message], None]]] = {
            RISK_PREDICTIONS.name: (msgspec.json.Decoder(Prediction), self._prediction),
            RISK_SHADOW.name: (msgspec.json.Decoder(Prediction), self._shadow),
            CLINICAL_EVENTS.name: (msgspec.json.Decoder(ClinicalEvent), self._event),
            DEAD_LETTERS.name: (msgspec.json.Decoder(DeadLetter), self._dead_letter),
            FILTERED_MESSAGES.name: (msgspec.json.Decoder(FilteredMessage), self._filtered_message),
        }

    def take(self, message: Message) -> None:
        """Learn from one message; one that does not fit its schema is counted and otherwise ignored."""
        decoder, use = self._readers[message.topic]
        try:
            content = decoder.decode(message.value)
        except msgspec.MsgspecError:
            self.undecodable += 1
            return
        use(content, message)

    def _prediction(self, prediction: Prediction, message: Message) -> None:
        model = prediction.model
        received = received_at(message.headers)
        if received:
            self._latencies.append(max(0, message.timestamp_ms - received) / 1000)
        self._modalities[model].append({m.name: (m.present, m.stale) for m in prediction.modalities})
        self._stays.note_prediction(prediction)
        self._comparison.note_prediction(prediction)
        for risk in prediction.risks:
            self._states[model, prediction.model_version, risk.status] += 1
            self._risk(model, risk)

    def _shadow(self, prediction: Prediction, _: Message) -> None:
        """A challenger's: counted, and held against the champion's, but not part of the figures of what was shown."""
        for risk in prediction.risks:
            self._states[prediction.model, prediction.model_version, f"{SHADOW} {risk.status}"] += 1
        self._comparison.note_prediction(prediction)

    def _risk(self, model: str, risk: Risk) -> None:
        if risk.status is not Status.SCORED or risk.probability is None:
            return
        pair = (model, risk.outcome)
        self._risks[pair].append((risk.probability, risk.alert))
        if pair in self._score_drift:
            self._score_drift[pair].add(risk.probability)

    def _event(self, event: ClinicalEvent, message: Message) -> None:
        received = received_at(message.headers)
        if received:
            self._received[event.format] = max(received, self._received.get(event.format, 0))
        self._stays.note_event(event)
        for stays in self._comparison.stays():
            stays.note_event(event)
        for fact in event.facts:
            if isinstance(fact, Observation) and isinstance(fact.value, float) and fact.code.code in self._inputs:
                self._inputs[fact.code.code][1].add(fact.value)

    def _dead_letter(self, letter: DeadLetter, _: Message) -> None:
        self._dead[letter.reason] += 1

    def _filtered_message(self, message: FilteredMessage, _: Message) -> None:
        self._filtered.update(message.reasons)

    def figures(self, now_ms: int, lags: Mapping[str, int]) -> list[MetricEvent]:
        """All figures now. `lags`: consumer group -> messages before it."""
        found = [
            *self._counts(now_ms),
            *self._shares(),
            *self._drifts(),
            *self._performance(),
            *self._shadows(),
            *self._ages(now_ms),
            *((registry.GROUP_LAG, float(lag), {"group": group}, "") for group, lag in lags.items()),
        ]
        return [
            MetricEvent(name=gauge._name, value=value, at=now_ms, labels=labels, unit=unit)
            for gauge, value, labels, unit in found
        ]

    def _counts(self, now_ms: int) -> Iterator["Figure"]:
        for (model, version, state), count in self._states.items():
            labels = {"model": model, "version": version, "state": state}
            yield registry.SEEN_PREDICTIONS, float(count), labels, ""
        for model in {key[0] for key in self._states}:
            own = (count for key, count in self._states.items() if key[0] == model and not key[2].startswith(SHADOW))
            total = sum(own)
            before, at = self._since.get(model, (total, now_ms))
            if now_ms > at:
                yield registry.PREDICTION_RATE, (total - before) / ((now_ms - at) / 1000), {"model": model}, "/s"
            self._since[model] = (total, now_ms)
        for reason, count in self._dead.items():
            yield registry.SEEN_DEAD_LETTERS, float(count), {"reason": reason}, ""
        for reason, count in self._filtered.items():
            yield registry.SEEN_FILTERED, float(count), {"reason": reason}, ""

    def _shares(self) -> Iterator["Figure"]:
        for model, seen in self._modalities.items():
            for name in sorted({name for one in seen for name in one}):
                states = [one.get(name, (False, False)) for one in seen]
                labels = {"model": model, "modality": name}
                yield registry.MISSING_SHARE, sum(not present for present, _ in states) / len(states), labels, ""
                yield registry.STALE_SHARE, sum(stale for _, stale in states) / len(states), labels, ""
        for (model, outcome), risks in self._risks.items():
            labels = {"model": model, "outcome": str(outcome)}
            yield registry.ALERT_SHARE, sum(alert for _, alert in risks) / len(risks), labels, ""
            for quantile, value in zip(QUANTILES, np.quantile([p for p, _ in risks], QUANTILES), strict=True):
                yield registry.SCORE_QUANTILE, float(value), {**labels, "quantile": f"{quantile:g}"}, ""

    def _drifts(self) -> Iterator["Figure"]:
        for name, drift in self._inputs.values():
            if (value := drift.psi()) is not None:
                yield registry.INPUT_PSI, value, {"feature": name}, ""
        for (model, outcome), drift in self._score_drift.items():
            if (value := drift.psi()) is not None:
                yield registry.SCORE_PSI, value, {"model": model, "outcome": str(outcome)}, ""

    def _performance(self) -> Iterator["Figure"]:
        for model, outcome in self._stays.models():
            labels, probabilities = self._stays.labelled(model, outcome)
            if not labels:
                continue
            names = {"model": model, "outcome": str(outcome)}
            line = performance.calibration(labels, probabilities) or (None, None)
            values = (
                (registry.LABELLED, float(len(labels))),
                (registry.POSITIVE_SHARE, sum(labels) / len(labels)),
                (registry.AUROC, performance.auroc(labels, probabilities)),
                (registry.BRIER, performance.brier(labels, probabilities)),
                (registry.CALIBRATION_SLOPE, line[0]),
                (registry.CALIBRATION_INTERCEPT, line[1]),
            )
            yield from ((gauge, value, names, "") for gauge, value in values if value is not None)

    def _shadows(self) -> Iterator["Figure"]:
        for against, one in self._comparison.agreement():
            names = {k: str(v) for k, v in against._asdict().items()}
            yield registry.SHADOW_PAIRS, float(one.pairs), names, ""
            yield registry.SHADOW_AGREEMENT, one.alert_agreement, names, ""
            yield registry.SHADOW_DIFFERENCE, one.mean_difference, names, ""
            if one.correlation is not None:
                yield registry.SHADOW_CORRELATION, one.correlation, names, ""
        for against, side, found in self._comparison.performance():
            names = {k: str(v) for k, v in against._asdict().items()}
            if side == CHAMPION:
                yield registry.SHADOW_LABELLED, float(found.labelled), names, ""
            values = (
                (registry.SHADOW_AUROC, found.auroc),
                (registry.SHADOW_BRIER, found.brier),
                (registry.SHADOW_SLOPE, found.slope),
                (registry.SHADOW_INTERCEPT, found.intercept),
            )
            yield from ((gauge, value, {**names, "side": side}, "") for gauge, value in values if value is not None)

    def _ages(self, now_ms: int) -> Iterator["Figure"]:
        for form, received in self._received.items():
            if received:
                yield registry.DATA_AGE, max(0.0, (now_ms - received) / 1000), {"format": form}, "s"
        if self._latencies:
            for quantile, value in zip(QUANTILES, np.quantile(self._latencies, QUANTILES), strict=True):
                yield registry.LATENCY_QUANTILE, float(value), {"quantile": f"{quantile:g}"}, "s"


Figure = tuple[Gauge, float, dict[str, str], str]
