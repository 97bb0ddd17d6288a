"""The deployed model: how it is asked, and how its answers become predictions."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.domain.features import MODALITIES, VARIABLE_NAMES, ModelInputs, inputs_of_many
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
    """A fusion model. Risks and their explanation are one answer: the same record and model always give the same
    prediction, byte for byte, whatever was away in between."""

    def __init__(self, manifest: Manifest, model: Caller) -> None:
        self.manifest = manifest
        self._model = model

    async def __call__(self, records: Sequence[Prepared]) -> list[Prediction]:
        """One prediction for each record, in order. Waits for as long as the models are away."""
        withheld = [self._withheld(one) for one in records]
        ready = [n for n, one in enumerate(records) if not one.record.merged_into and withheld[n] is None]
        answers = dict(zip(ready, await self._ask([records[n] for n in ready]), strict=True))
        return [self._prediction(one, withheld[n], answers.get(n)) for n, one in enumerate(records)]

    async def away(self) -> bool:
        """Whether the model is away: asks with a real inference, unless it was asked a moment ago without success."""
        return await self._model.away()

    def _prediction(
        self, one: Prepared, withheld: IndeterminateReason | None, answer: Row | Invalid | None
    ) -> Prediction:
        if one.record.merged_into:
            return predict.superseded(one.record, self.manifest)
        if withheld is not None or answer is None:
            reason = withheld or IndeterminateReason.INVALID_ANSWER
            return predict.indeterminate(one.record, one.inputs, self.manifest, reason)
        return predict.scored(one.record, one.inputs, self.manifest, answer)

    def _withheld(self, one: Prepared) -> IndeterminateReason | None:
        return None if one.record.merged_into else gate.before(one.inputs, self.manifest.gate)

    async def _ask(self, records: Sequence[Prepared]) -> list[Row | Invalid]:
        return await self._model.ask([one.inputs.arrays for one in records], [_row_id(one.record) for one in records])


def _row_id(record: PatientRecord) -> int:
    """Names a row of a batch: 63 bits of the record's version."""
    return int(record.record_version[:16], 16) & 0x7FFF_FFFF_FFFF_FFFF


def make_scorer(
    client: InferenceClient,
    manifest: Manifest,
    *,
    watcher: Watcher | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] | None = None,
) -> Scorer:
    """A scorer of the manifest's model on a client."""
    more = ({"watcher": watcher} if watcher else {}) | ({"sleep": sleep} if sleep else {})
    k = len(manifest.outcomes)
    outputs = [
        Output("risk", (k,), probability=True),
        Output("raw", (k,)),
        Output("modality_contribution", (k, len(MODALITIES))),
        Output("variable_contribution", (k, len(VARIABLE_NAMES))),
    ]
    return Scorer(
        manifest,
        Caller(client, manifest.model, manifest.version, outputs, clock, max_rows=manifest.max_batch, **more),  # type: ignore[arg-type]
    )
