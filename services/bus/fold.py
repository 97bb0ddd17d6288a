"""What every engine does with a batch: call the step, keep read-your-writes, turn failures into dead letters. Pure."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.bus.engine import BatchStep, KeyedStep
from services.bus.messages import Message, Output, carried, dead_letter
from services.domain.reasons import Rejected, RejectReason

log = logging.getLogger(__name__)

ReadState = Callable[[Message], bytes | None]


class CannotGoOn(Exception):
    """What a step raises when something it rests on is away (not for a bad message): no dead letter is written, nothing
    is committed, the process ends and its supervisor starts it again."""


@dataclass(slots=True)
class Folded:
    """The outcome of a batch: what to publish, in order, and the last state of each key that changed.

    `states` maps (partition, key) to the state, None where it was removed.
    """

    outputs: list[Output] = field(default_factory=list)
    states: dict[tuple[int, bytes], bytes | None] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)  # the reasons of the dead letters among the outputs


def fold(step: KeyedStep, messages: Sequence[Message], read: ReadState, max_state_bytes: int) -> Folded:
    """Fold messages, in order, each into its key's state; `read` answers the stored state for a message's key."""
    folded = Folded()
    for message in messages:
        if message.key is None:
            _bury(folded, message, RejectReason.SCHEMA_VIOLATION, step.name, "key")
            continue
        slot = (message.partition, message.key)
        state = folded.states[slot] if slot in folded.states else read(message)
        try:
            result = step(message, state)
        except CannotGoOn:
            raise
        except Exception as error:  # noqa: BLE001 -- the port's promise: whatever a step raises is a dead letter
            _report(step.name, message, error)
            _bury(folded, message, RejectReason.STEP_FAILED, step.name, type(error).__name__)
            continue
        if _too_large(result.outputs) or (result.state is not None and len(result.state) > max_state_bytes):
            _bury(folded, message, RejectReason.TOO_LARGE, step.name, "output")
            continue
        if result.state != state:
            folded.states[slot] = result.state
        folded.outputs += _with_headers(message, result.outputs)
    return folded


async def map_batch(step: BatchStep, messages: Sequence[Message]) -> Folded:
    """Map a batch; when the step raises for it, each message goes alone, and those that still fail are dead letters."""
    folded = Folded()
    answers = await _answers(step, messages)
    if answers is None and len(messages) == 1:
        _bury(folded, messages[0], RejectReason.STEP_FAILED, step.name, "")
    elif answers is None:
        for message in messages:
            alone = await map_batch(step, [message])
            folded.outputs += alone.outputs
            folded.dead += alone.dead
    else:
        for message, outputs in zip(messages, answers, strict=True):
            if _too_large(outputs):
                _bury(folded, message, RejectReason.TOO_LARGE, step.name, "output")
            else:
                folded.outputs += _with_headers(message, outputs)
    return folded


async def _answers(step: BatchStep, messages: Sequence[Message]) -> Sequence[Sequence[Output]] | None:
    try:
        answers = await step(messages)
    except CannotGoOn:
        raise
    except Exception as error:  # noqa: BLE001 -- see fold
        _report(step.name, messages[0], error)
        return None
    if len(answers) != len(messages):
        log.error("%s answered %d of %d messages", step.name, len(answers), len(messages))
        return None
    return answers


def _bury(folded: Folded, message: Message, reason: RejectReason, step: str, where: str) -> None:
    folded.outputs.append(dead_letter(message, Rejected(reason, where), step))
    folded.dead.append(reason)


def _too_large(outputs: Sequence[Output]) -> bool:
    return any(len(output.value) > output.topic.max_bytes for output in outputs)


def _with_headers(message: Message, outputs: Sequence[Output]) -> list[Output]:
    headers = carried(message)
    return [Output(one.topic, one.key, one.value, headers | one.headers) for one in outputs]


def _report(step: str, message: Message, error: Exception) -> None:
    # The type and the place alone: an exception's text may carry what the message said.
    place, trace = "", error.__traceback__
    while trace is not None:
        place, trace = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}", trace.tb_next
    origin = f"{message.topic}/{message.partition}/{message.offset}"
    log.error("%s raised %s at %s for %s", step, type(error).__name__, place, origin)
