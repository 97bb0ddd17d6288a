"""The part of every engine that is pure: read-your-writes, dead letters, isolation of bad messages, no PHI in logs."""

import logging
from collections.abc import Sequence

import msgspec
import pytest

from services.bus.engine import Result
from services.bus.fold import fold, map_batch
from services.bus.messages import RECEIVED_AT, DeadLetter, Message, Output
from services.bus.topics import DEAD_LETTERS, Topic

OUT = Topic("out", "key", "bytes", "", max_bytes=100)
SECRET = b"DOE^JANE"


def _message(offset: int, value: bytes, key: bytes | None = b"k", partition: int = 0) -> Message:
    return Message("in", partition, offset, key, value, {"traceparent": b"00-1"}, 1234)


class Append:
    """Appends each value to the state; raises for b'bad', telling the value, as a careless step would."""

    name = "append"
    inputs = ()

    def __call__(self, message: Message, state: bytes | None) -> Result:
        if message.value.startswith(b"bad"):
            raise ValueError(f"cannot read {message.value!r}")
        if message.value == b"forget":
            return Result(None)
        new = (state or b"") + message.value
        return Result(new, [Output(OUT, "k", new)])


class Echo:
    name = "echo"
    inputs = ()
    max_batch = 10

    def __init__(self) -> None:
        self.calls: list[int] = []

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Sequence[Output]]:
        self.calls.append(len(messages))
        if any(m.value == b"bad" for m in messages):
            raise ValueError
        return [[Output(OUT, None, m.value)] for m in messages if m.value != b"short"]


def test_a_later_message_of_a_batch_reads_what_an_earlier_one_wrote() -> None:
    folded = fold(Append(), [_message(0, b"a"), _message(1, b"b"), _message(2, b"c", b"other")], lambda m: b"0", 10**6)
    assert [o.value for o in folded.outputs] == [b"0a", b"0ab", b"0c"]
    assert folded.states == {(0, b"k"): b"0ab", (0, b"other"): b"0c"}


def test_the_same_key_in_two_partitions_has_two_states() -> None:
    folded = fold(Append(), [_message(0, b"a"), _message(0, b"b", partition=1)], lambda m: None, 10**6)
    assert folded.states == {(0, b"k"): b"a", (1, b"k"): b"b"}


def test_an_unchanged_state_is_not_written_and_a_removed_one_is() -> None:
    assert fold(Append(), [_message(0, b"")], lambda m: b"0", 10**6).states == {}
    assert fold(Append(), [_message(0, b"forget")], lambda m: b"0", 10**6).states == {(0, b"k"): None}


def test_a_raising_step_leaves_the_state_and_writes_the_dead_letter_in_its_place() -> None:
    messages = [_message(0, b"a"), _message(1, b"bad" + SECRET), _message(2, b"b")]
    folded = fold(Append(), messages, lambda m: None, 10**6)
    assert [o.topic for o in folded.outputs] == [OUT, DEAD_LETTERS, OUT]
    letter = msgspec.json.decode(folded.outputs[1].value, type=DeadLetter)
    assert (letter.origin.offset, letter.value, letter.reason) == (1, b"bad" + SECRET, "step_failed")
    assert folded.states == {(0, b"k"): b"ab"}
    assert folded.dead == ["step_failed"]


def test_what_a_step_says_when_it_raises_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        folded = fold(Append(), [_message(7, b"bad" + SECRET)], lambda m: None, 10**6)
    assert "ValueError" in caplog.text
    assert "in/0/7" in caplog.text
    assert "DOE" not in caplog.text
    letter = msgspec.json.decode(folded.outputs[0].value, type=DeadLetter)
    assert "DOE" not in letter.where + letter.hint


def test_a_message_without_key_or_with_too_large_an_outcome_is_a_dead_letter() -> None:
    messages = [_message(0, b"a", None), _message(1, b"x" * 101), _message(2, b"y" * 60)]
    folded = fold(Append(), messages, lambda m: None, 50)
    assert folded.dead == ["schema_violation", "too_large", "too_large"]
    assert folded.states == {}


def test_every_output_carries_when_its_message_was_received_and_its_trace() -> None:
    (output,) = fold(Append(), [_message(0, b"a")], lambda m: None, 10**6).outputs
    assert output.headers == {RECEIVED_AT: b"1234", "traceparent": b"00-1"}


async def test_one_bad_message_of_a_batch_costs_the_others_nothing() -> None:
    step = Echo()
    folded = await map_batch(step, [_message(0, b"a"), _message(1, b"bad"), _message(2, b"c")])
    assert [o.topic.name for o in folded.outputs] == ["out", DEAD_LETTERS.name, "out"]
    assert step.calls == [3, 1, 1, 1]


async def test_a_batch_answered_in_part_is_asked_again_one_by_one() -> None:
    folded = await map_batch(Echo(), [_message(0, b"a"), _message(1, b"short")])
    assert [o.topic.name for o in folded.outputs] == ["out", DEAD_LETTERS.name]
