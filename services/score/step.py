"""The scoring step: each version of a record becomes one prediction on `risk.predictions`.

While the model server is away the step does not return: its one batch waits, uncommitted, the rest stays in Kafka,
and when the server is back everything is scored in order. `fallback.py` publishes NEWS2 meanwhile.
"""

import time
from collections.abc import Callable, Sequence

import msgspec

from services.bus import metrics
from services.bus.messages import EVENT_ID, RECEIVED_AT, Message, Output, carried, dead_letter
from services.bus.topics import PATIENT_RECORDS, RISK_PREDICTIONS, RISK_SHADOW, Topic
from services.domain.prediction import Prediction
from services.domain.reasons import Rejected, RejectReason
from services.domain.record import PatientRecord, decode_record
from services.score.predict import encode_prediction
from services.score.scorer import Scorer, prepare


class ScoreStep:
    """A `BatchStep`. A challenger, when there is one, runs as a second step in its own consumer group."""

    inputs: tuple[Topic, ...] = (PATIENT_RECORDS,)

    def __init__(
        self,
        scorer: Scorer,
        *,
        shadow: bool = False,
        max_batch: int | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = "score-shadow" if shadow else "score"
        self.max_batch = max_batch or scorer.manifest.max_batch
        self._scorer = scorer
        self._shadow = shadow
        self._now = now

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Sequence[Output]]:
        read = [read_record(message) for message in messages]
        predictions = iter(await self._scorer(prepare([one for one in read if isinstance(one, PatientRecord)])))
        return [
            [dead_letter(message, one, self.name)]
            if isinstance(one, Rejected)
            else [self._output(message, next(predictions))]
            for message, one in zip(messages, read, strict=True)
        ]

    def _output(self, message: Message, prediction: Prediction) -> Output:
        if self._shadow:
            prediction = msgspec.structs.replace(prediction, shadow=True)
            return prediction_output(message, prediction, RISK_SHADOW)
        received = message.headers.get(RECEIVED_AT)
        if received is not None and received.isdigit():
            metrics.END_TO_END_SECONDS.observe(max(0.0, self._now() - int(received) / 1000))
        return prediction_output(message, prediction, RISK_PREDICTIONS)


def read_record(message: Message) -> PatientRecord | Rejected:
    """The record in a message; Rejected when it is none or does not say its version."""
    try:
        record = decode_record(message.value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Rejected(RejectReason.SCHEMA_VIOLATION, "value", "not a PatientRecord")
    if not _is_hash(record.record_version) or not record.patient:
        return Rejected(RejectReason.SCHEMA_VIOLATION, "record_version", "not made by encode_record")
    return record


def _is_hash(text: str) -> bool:
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)


def prediction_output(message: Message, prediction: Prediction, topic: Topic) -> Output:
    """The message for a prediction, under its patient's key, with the headers that are carried on."""
    for risk in prediction.risks:
        metrics.PREDICTIONS.labels(prediction.model, prediction.model_version, risk.status).inc()
    headers = carried(message)
    if event := message.headers.get(EVENT_ID):
        headers[EVENT_ID] = event
    return Output(topic, prediction.patient, encode_prediction(prediction), headers)
