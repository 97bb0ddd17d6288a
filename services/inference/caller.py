"""Ask one model about many rows and come back only with answers: waits while nobody answers, isolates a bad row."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from services.inference.checks import Invalid, Output, check
from services.inference.circuit import Circuit, State
from services.inference.client import (
    Answer,
    Arrays,
    Failed,
    InferenceClient,
    InferenceError,
    Refused,
    Unavailable,
    rows,
)

BETWEEN_TRIES_S = 0.1
"""Pause after a failure that has not opened the circuit."""

LEAST_SLEEP_S = 0.001  # a remainder too small to move a clock must not become a busy loop
LONGEST_SLEEP_S = 1.0  # so that whoever watches the wait hears of it often

ROWS_OF = 4
"""Batches are filled up to a multiple of so many rows: matrix kernels take other paths for one, two or three rows than
for four, and a row's last digits would then depend on how the stream happened to be batched (the same id must have the
same bytes). `tests/integration/test_triton_batches.py` holds the shipped models to it."""

Row = Mapping[str, np.ndarray]


class Watcher(Protocol):
    """Told of what happens, for metrics."""

    def answered(self, model: str, rows: int, seconds: float) -> None: ...

    def not_answered(self, model: str, kind: str) -> None: ...

    def circuit(self, model: str, state: State) -> None: ...

    def waiting(self, model: str) -> None: ...


class _Nobody:
    def answered(self, model: str, rows: int, seconds: float) -> None: ...

    def not_answered(self, model: str, kind: str) -> None: ...

    def circuit(self, model: str, state: State) -> None: ...

    def waiting(self, model: str) -> None: ...


@dataclass
class Caller:
    """One model at one version behind one circuit.

    `ask` returns, for each row, its outputs or why they may not be used. It does not return while the model is away:
    what waits is one batch, the rest stays in Kafka. It never raises an InferenceError.
    """

    client: InferenceClient
    model: str
    version: str
    expected: Sequence[Output]
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    max_rows: int = 64
    watcher: Watcher = field(default_factory=_Nobody)
    circuit: Circuit = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.circuit is None:
            self.circuit = Circuit(self.clock, failures=2)

    async def ask(self, inputs: Sequence[Arrays], ids: Sequence[int]) -> list[Row | Invalid]:
        """`inputs[i]` holds one row's arrays (no batch axis); `ids[i]` names it, int64, echoed by the model."""
        found: list[Row | Invalid] = []
        for start in range(0, len(inputs), self.max_rows):
            stop = start + self.max_rows
            found += await self._batch(inputs[start:stop], ids[start:stop])
        return found

    async def _batch(self, inputs: Sequence[Arrays], ids: Sequence[int]) -> list[Row | Invalid]:
        outcome = await self._answer(inputs, ids)
        if not isinstance(outcome, Invalid):
            return outcome
        if len(inputs) == 1:
            return [outcome]
        # One row may have spoilt the whole batch: halve it until the bad one stands alone.
        middle = len(inputs) // 2
        left = await self._batch(inputs[:middle], ids[:middle])
        return left + await self._batch(inputs[middle:], ids[middle:])

    async def _answer(self, inputs: Sequence[Arrays], ids: Sequence[int]) -> list[Row | Invalid] | Invalid:
        batch = rows(inputs) | {"row_id": np.array(ids, np.int64)[:, None]}
        if more := -len(inputs) % ROWS_OF:
            batch = {name: np.concatenate([array, array[-1:].repeat(more, axis=0)]) for name, array in batch.items()}
        answer = await self._infer(batch)
        if isinstance(answer, Invalid):
            return answer
        checked = check(answer, batch["row_id"], self.expected, model=self.model, version=self.version)
        if isinstance(checked, Invalid):
            self.watcher.not_answered(self.model, "invalid")
            return checked
        return [
            Invalid(checked.bad_rows[n]) if n in checked.bad_rows else {k: v[n] for k, v in checked.outputs.items()}
            for n in range(len(inputs))
        ]

    async def _infer(self, batch: Arrays) -> Answer | Invalid:
        """The model's answer, however long that takes, or why it will never give one for this batch."""
        while True:
            await self.available()
            started = self.clock()
            try:
                answer = await self.client.infer(self.model, self.version, batch)
            except Refused:
                self.watcher.not_answered(self.model, "refused")
                return Invalid("the model refused the input")
            except Failed:
                self.watcher.not_answered(self.model, "failed")
                if await self._probe():
                    return Invalid("the model failed on the input")
            except Unavailable:
                self.watcher.not_answered(self.model, "unavailable")
                await self._failed()
            else:
                self._succeeded()
                self.watcher.answered(self.model, len(batch["row_id"]), self.clock() - started)
                return answer

    async def available(self) -> None:
        """Return when the circuit is closed; probe with a real inference when it is time to."""
        while self.circuit.state is not State.CLOSED:
            self.watcher.waiting(self.model)
            if self.circuit.state is State.HALF_OPEN:
                await self._probe()
            else:
                await self.sleep(min(max(self.circuit.wait_s, LEAST_SLEEP_S), LONGEST_SLEEP_S))

    async def away(self) -> bool:
        """Whether the circuit is open after a probe, where it is time for one."""
        if self.circuit.state is not State.OPEN:
            await self._probe()
        return self.circuit.state is not State.CLOSED

    async def _probe(self) -> bool:
        try:
            await self.client.probe(self.model, self.version)
        except InferenceError:
            await self._failed()
            return False
        self._succeeded()
        return True

    async def _failed(self) -> None:
        self.circuit.failure()
        self.watcher.circuit(self.model, self.circuit.state)
        if self.circuit.state is State.CLOSED:
            await self.sleep(BETWEEN_TRIES_S)

    def _succeeded(self) -> None:
        if self.circuit.state is not State.CLOSED:
            self.circuit.success()
            self.watcher.circuit(self.model, State.CLOSED)
        else:
            self.circuit.success()
