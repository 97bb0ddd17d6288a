"""What must hold after whatever happened to an engine's workers."""

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from services.bus.messages import Message
from services.bus.topics import Topic
from tests.contract.engine.harness import Harness
from tests.contract.engine.steps import POISON


def make_step(kind: str, inputs: Sequence[Topic], output: Topic, delay_s: float = 0.0) -> dict[str, Any]:
    name = f"t{uuid.uuid4().hex[:8]}"
    return {"kind": kind, "name": name, "inputs": list(inputs), "output": output, "delay_s": delay_s}


def origins(messages: Sequence[Message]) -> list[tuple[str, int, int]]:
    return [tuple(json.loads(m.value)["origin"]) for m in messages]


def assert_nothing_missing(harness: Harness, inputs: Sequence[Topic], output: Topic) -> Counter[Any]:
    """Every input offset came out, and first came out in order; returns how often each came."""
    given = {(m.topic, m.partition, m.offset) for topic in inputs for m in harness.messages(topic)}
    outputs = harness.messages(output)
    times = Counter(origins(outputs))
    assert set(times) == given
    first: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    seen: set[tuple[str, int, int]] = set()
    for message in outputs:
        came = tuple(json.loads(message.value)["origin"])
        if (
            came not in seen
        ):  # outputs of one input partition may lie in one output partition alone: same key, same number
            seen.add(came)
            first[came[0], came[1], message.partition].append(came[2])
    assert all(offsets == sorted(offsets) for offsets in first.values())
    return times


def assert_exact_states(harness: Harness, name: str, inputs: Sequence[Topic]) -> None:
    expected: dict[tuple[int, bytes], set[str]] = defaultdict(set)
    for topic in inputs:
        for message in harness.messages(topic):
            if not message.value.startswith(POISON):
                expected[message.partition, message.key or b""].add(message.value.decode())
    states = {slot: set(json.loads(s)["seen"]) for slot, s in harness.states(name, inputs[0].partitions).items()}
    assert states == expected
