"""The engine's port: a step is a pure function from input and state to state and outputs.

Two kinds of step run on an engine. A `KeyedStep` folds messages of one key into that key's state, one at a
time, without I/O. A `BatchStep` maps a batch of messages to outputs and may await I/O (Triton); it has no
state. Both promise never to raise for bad input: they return a dead letter instead. Should one raise all the
same, the engine writes the dead letter (`step_failed`) for that message, and if that cannot be written it stops
without committing.

What an engine promises, and `tests/contract/engine` checks on every engine:
  every message is processed at least once, in order within its partition, across restarts with a backlog,
  rebalances, SIGKILL and poison messages; outputs and state are durable (acks=all) before the offset is
  committed; a state read is the state last written for that key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.bus.messages import Message, Output
from services.bus.topics import Topic


@dataclass(frozen=True, slots=True)
class Result:
    """A keyed step's answer: the key's new state (None removes it) and what to publish, in order."""

    state: bytes | None
    outputs: Sequence[Output] = ()


class KeyedStep(Protocol):
    """A fold over the messages of one key."""

    name: str
    inputs: tuple[Topic, ...]

    def __call__(self, message: Message, state: bytes | None) -> Result: ...


class BatchStep(Protocol):
    """A stateless map over a batch; `outputs[i]` answers `messages[i]`."""

    name: str
    inputs: tuple[Topic, ...]
    max_batch: int

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Sequence[Output]]: ...


def is_batch(step: KeyedStep | BatchStep) -> bool:
    """Whether a step is a BatchStep: it says how large its batches may be."""
    return isinstance(getattr(step, "max_batch", None), int)


class Engine(Protocol):
    """Runs one step until it is stopped."""

    async def run(self) -> None:
        """Return after `stop`; raise when the process should not go on (a dead letter could not be written)."""

    async def stop(self) -> None: ...
