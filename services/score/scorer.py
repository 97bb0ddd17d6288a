"""One deployed model: how it is asked, and how its answers become predictions."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.domain.features import ModelInputs, inputs_of_many
from services.domain.prediction import IndeterminateReason, Prediction
from services.domain.record import PatientRecord
from services.inference.caller import Caller, Row, Watcher
from services.inference.checks import Invalid, Output
from services.inference.client import InferenceClient
from services.inference.manifest import Manifest
from services.score import gate, predict


@dataclass(frozen=True)
class Prepared:
    """A record with what the models read of it."""

    record: PatientRecord
    inputs: ModelInputs


def prepare(records: Sequence[PatientRecord]) -> list[Prepared]:
    """What the models read of each record at its newest moment."""
    inputs = inputs_of_many([(record, record.as_of) for record in records])
    return [Prepared(*one) for one in zip(records, inputs, strict=True)]


class Scorer:
    """A fusion model and, where it has one, its explanation model. Both must answer: the same record and model then
    always give the same prediction, byte for byte, whatever was away in between."""

    def __init__(
        self, manifest: Manifest, risk: Caller, explain: Caller | None = None, explain_from: float = 0.0
    ) -> None:
        self.manifest = manifest
        self.risk = risk
        self.explain = explain
        self._floors = [explain_from * (outcome.threshold or 0.0) for outcome in manifest.outcomes]

    async def __call__(self, records: Sequence[Prepared]) -> list[Prediction]:
        """One prediction for each record, in order. Waits for as long as the models are away."""
        withheld = [self._withheld(one) for one in records]
        ready = [n for n, one in enumerate(records) if not one.record.merged_into and withheld[n] is None]
        asked = [records[n] for n in ready]
        answers = dict(zip(ready, await self._ask(self.risk, asked), strict=True))
        explained: dict[int, Row | Invalid] = {}
        if self.explain is not None:
            worth = [n for n in ready if self._worth_explaining(answers[n])]
            explained = dict(zip(worth, await self._ask(self.explain, [records[n] for n in worth]), strict=True))
        return [self._prediction(one, withheld[n], answers.get(n), explained.get(n)) for n, one in enumerate(records)]

    async def away(self) -> bool:
        """Whether the models are away: asks with a real inference, unless it was asked a moment ago without success."""
        callers = [self.risk] if self.explain is None else [self.risk, self.explain]
        return any([await caller.away() for caller in callers])

    def _prediction(
        self,
        one: Prepared,
        withheld: IndeterminateReason | None,
        answer: Row | Invalid | None,
        explanation: Row | Invalid | None,
    ) -> Prediction:
        if one.record.merged_into:
            return predict.superseded(one.record, self.manifest)
        if withheld is not None or answer is None:
            reason = withheld or IndeterminateReason.INVALID_ANSWER
            return predict.indeterminate(one.record, one.inputs, self.manifest, reason)
        return predict.scored(one.record, one.inputs, self.manifest, answer, explanation)

    def _withheld(self, one: Prepared) -> IndeterminateReason | None:
        return None if one.record.merged_into else gate.before(one.inputs, self.manifest.gate)

    def _worth_explaining(self, answer: Row | Invalid) -> bool:
        """An explanation costs as much as scoring some sixty rows, so it is made where somebody may act on the risk.

        It depends on the answer alone: the same record is always explained, or never.
        """
        if isinstance(answer, Invalid):
            return False
        return any(float(p) >= floor for p, floor in zip(answer["risk"], self._floors, strict=True))

    async def _ask(self, caller: Caller, records: Sequence[Prepared]) -> list[Row | Invalid]:
        if not records:
            return []
        return await caller.ask([one.inputs.arrays for one in records], [_row_id(one.record) for one in records])


def _row_id(record: PatientRecord) -> int:
    """Names a row of a batch: 63 bits of the record's version."""
    return int(record.record_version[:16], 16) & 0x7FFF_FFFF_FFFF_FFFF


def make_scorer(
    client: InferenceClient,
    manifest: Manifest,
    explain: Manifest | None = None,
    *,
    explain_from: float = 0.0,
    watcher: Watcher | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] | None = None,
) -> Scorer:
    """A scorer on a client; `explain` is the explanation model's manifest, when there is one.

    Risks below `explain_from` times their alert threshold are not explained.
    """
    more = ({"watcher": watcher} if watcher else {}) | ({"sleep": sleep} if sleep else {})
    k = len(manifest.outcomes)
    outputs = [Output("risk", (k,), probability=True), Output("raw", (k,))]
    risk = Caller(client, manifest.model, manifest.version, outputs, clock, max_rows=manifest.max_batch, **more)  # type: ignore[arg-type]
    if explain is None:
        return Scorer(manifest, risk)
    shapes = [Output(name, (k, size)) for name, size in predict.EXPLANATION_SHAPES.items()]
    explainer = Caller(client, explain.model, explain.version, shapes, clock, max_rows=explain.max_batch, **more)  # type: ignore[arg-type]
    return Scorer(manifest, risk, explainer, explain_from)
