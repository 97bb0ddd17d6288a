"""NEWS2 while the model server is away.

The scoring step waits on its batch during an outage, so it cannot publish. This step follows it in a consumer group of
its own, one batch behind: it holds each batch until scoring has committed past it (then it publishes nothing) or the
model server is seen to be away (then it publishes a fallback for every record that scoring has not committed). So

- every record that waits for a score has a NEWS2 prediction within seconds, whether it came before the outage was
  noticed or after;
- while all is well nothing is published twice and nothing is remembered but one batch;
- each waiting record is still scored once, by the scoring step, when the server is back; the two predictions have
  different ids (their models differ), and the scored one stands.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from services.bus.messages import Message, Output
from services.bus.topics import PATIENT_RECORDS, RISK_PREDICTIONS, Topic
from services.domain.news2 import SOURCE, VERSION, News2, Part, Trigger, news2
from services.domain.prediction import (
    MISSING,
    Contribution,
    IndeterminateReason,
    Outcome,
    Prediction,
    Risk,
    Status,
    prediction_id,
)
from services.domain.reasons import Rejected
from services.domain.record import PatientRecord
from services.score.step import prediction_output, read_record

MODEL = "news2"
LOOK_EVERY_S = 0.5
"""Between two looks at scoring's progress and at the model server; commits come about as often."""

_VITAL_SIGNS = frozenset({"respiration_rate", "oxygen_saturation", "systolic_pressure", "pulse", "temperature"})


class Progress(Protocol):
    """How far scoring has come."""

    async def committed(self, topic: Topic) -> Mapping[int, int]:
        """Partition -> the offset that scoring would read next; a partition it never read is absent."""
        ...


class FallbackStep:
    """A `BatchStep` over the records, in its own consumer group."""

    name = "fallback"
    inputs: tuple[Topic, ...] = (PATIENT_RECORDS,)

    def __init__(
        self,
        progress: Progress,
        away: Callable[[], Awaitable[bool]],
        *,
        max_batch: int = 512,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self.max_batch = max_batch
        self._progress = progress
        self._away = away
        self._sleep = sleep
        self._on_wait = on_wait

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Sequence[Output]]:
        waiting = await self._unscored(messages)
        return [self._outputs(m) if (m.partition, m.offset) in waiting else [] for m in messages]

    async def _unscored(self, messages: Sequence[Message]) -> set[tuple[int, int]]:
        """The messages of the batch that wait for a score while the server is away; empty once all are scored."""
        waiting = {(m.partition, m.offset) for m in messages}
        while True:
            done = await self._progress.committed(self.inputs[0])
            waiting = {(partition, offset) for partition, offset in waiting if offset >= done.get(partition, 0)}
            if not waiting or await self._away():
                return waiting
            self._on_wait()
            await self._sleep(LOOK_EVERY_S)

    def _outputs(self, message: Message) -> list[Output]:
        """Nothing for what is no record: its one dead letter is scoring's to write."""
        read = read_record(message)
        if isinstance(read, Rejected):
            return []
        return [prediction_output(message, fallback(read), RISK_PREDICTIONS)]


def fallback(record: PatientRecord) -> Prediction:
    """NEWS2 of a record as a prediction: a function of the record alone."""
    return Prediction(
        prediction_id=prediction_id(record.record_version, MODEL, VERSION),
        patient=record.patient,
        record_version=record.record_version,
        as_of=datetime.fromtimestamp(record.as_of / 1000, UTC),
        model=MODEL,
        model_version=VERSION,
        risks=[_risk(record)],
        superseded_by=record.merged_into,
    )


def _risk(record: PatientRecord) -> Risk:
    if record.merged_into:
        return Risk(outcome=Outcome.DETERIORATION, status=Status.SUPERSEDED)
    score = news2(record, record.as_of)
    if _VITAL_SIGNS.issubset(score.missing):
        reason = IndeterminateReason.TOO_LITTLE_DATA
        return Risk(outcome=Outcome.DETERIORATION, status=Status.INDETERMINATE, reason=reason)
    return Risk(
        outcome=Outcome.DETERIORATION,
        status=Status.FALLBACK,
        score=float(score.total),
        alert=_alerts(score),
        reason=SOURCE,
        features=[_contribution(part, record.as_of) for part in score.parts],
    )


def _alerts(score: News2) -> bool:
    """Chart 2 asks for an urgent response from medium risk on (5 points)."""
    return score.trigger in (Trigger.MEDIUM, Trigger.HIGH)


def _contribution(part: Part, as_of_ms: int) -> Contribution:
    """The parameter's points; a missing one has none and says so."""
    if part.points is None or part.time is None:
        return Contribution(part.name, 0.0, MISSING)
    return Contribution(part.name, float(part.points), part.value, (as_of_ms - part.time) / 3_600_000)
