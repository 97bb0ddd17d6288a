"""Waiting until the stream is drained: every running step has committed all there is, and nothing new comes."""

import time
from collections.abc import Callable, Collection

from services.bus import admin
from services.bus.settings import Settings
from services.bus.topics import STEP_INPUTS, consumer_group

POLL_S = 0.5
QUIET_LOOKS = 3  # in a row, with unchanged ends: a message between two steps is on its way for less than that


def await_drained(
    settings: Settings,
    timeout_s: float,
    progress: Callable[[dict[str, int]], None],
    running: Collection[str] = tuple(STEP_INPUTS),
) -> bool:
    """True when the steps among the `running` services have caught up; False after `timeout_s` without any progress."""
    steps = {step: topics for step, topics in STEP_INPUTS.items() if step in running}
    topics = sorted({topic.name for inputs in steps.values() for topic in inputs})
    quiet, before, moved = 0, None, time.monotonic()
    while True:
        lags = {step: _lag(settings, step) for step in steps}
        progress(lags)
        ends = admin.end_offsets(settings, topics)
        state = (sum(lags.values()), tuple(sorted(ends.items())))
        if state != before:
            before, moved, quiet = state, time.monotonic(), 0
        elif not any(lags.values()):
            quiet += 1
        if quiet >= QUIET_LOOKS:
            return True
        if time.monotonic() - moved > timeout_s:
            return False
        time.sleep(POLL_S)


def _lag(settings: Settings, step: str) -> int:
    return sum(
        part.lag for part in admin.lag(settings, consumer_group(step), [topic.name for topic in STEP_INPUTS[step]])
    )
