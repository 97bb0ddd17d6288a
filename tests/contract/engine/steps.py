"""Steps whose outcome tells what an engine did: which message, in which order, on which state."""

import asyncio
import json
import time
from collections.abc import Sequence

from services.bus.engine import Result
from services.bus.fold import CannotGoOn
from services.bus.messages import Message, Output
from services.bus.topics import Topic

POISON = b"poison"
AWAY = b"away"
"""A message for which what the step rests on is away."""


def origin(message: Message) -> list[object]:
    """Where a message lay, as its output tells it."""
    return [message.topic, message.partition, message.offset]


class Collect:
    """Keyed: the state is the sorted set of the values seen, so that repeats and order do not change it."""

    def __init__(
        self, name: str, inputs: Sequence[Topic], output: Topic, delay_s: float = 0.0, padding: int = 0
    ) -> None:
        self.name, self.inputs = name, tuple(inputs)
        self._output, self._delay_s, self._padding = output, delay_s, padding

    def __call__(self, message: Message, state: bytes | None) -> Result:
        if message.value.startswith(POISON):
            raise RuntimeError("the step has a defect for this message")
        if message.value.startswith(AWAY):
            raise CannotGoOn("the model server is away")
        if self._delay_s:
            time.sleep(self._delay_s)
        seen = sorted({*(json.loads(state)["seen"] if state else []), message.value.decode()})
        answer = json.dumps({"origin": origin(message), "seen": len(seen)}).encode()
        new = json.dumps({"seen": seen, "padding": "x" * self._padding}).encode()
        assert message.key is not None
        return Result(new, [Output(self._output, message.key.decode(), answer)])


class Tell:
    """Batch: each message is answered by where it lay."""

    max_batch = 50

    def __init__(self, name: str, inputs: Sequence[Topic], output: Topic, delay_s: float = 0.0) -> None:
        self.name, self.inputs = name, tuple(inputs)
        self._output, self._delay_s = output, delay_s

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Sequence[Output]]:
        await asyncio.sleep(self._delay_s * len(messages))
        if any(message.value.startswith(AWAY) for message in messages):
            raise CannotGoOn("the model server is away")
        if any(message.value.startswith(POISON) for message in messages):
            raise RuntimeError("the step has a defect for a message of this batch")
        return [
            [Output(self._output, m.key.decode() if m.key else None, json.dumps({"origin": origin(m)}).encode())]
            for m in messages
        ]
