"""One worker process of the contract suite: a step on an engine until SIGTERM."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from services.bus import fold, messages
from services.bus.messages import Message, Output
from services.bus.run import run_step
from services.bus.settings import Settings
from services.bus.topics import Topic
from services.domain.reasons import Rejected
from tests.contract.engine.steps import Collect, Tell


def run(chosen: dict[str, Any], settings: Settings, dead_letters: Topic, log: Path) -> None:
    """The process's whole life. `dead_letters` takes the place of the topic of that name, so that it can refuse."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    original = messages.dead_letter

    def redirected(message: Message, rejected: Rejected, step: str) -> Output:
        return dataclasses.replace(original(message, rejected, step), topic=dead_letters)

    fold.dead_letter = redirected  # type: ignore[attr-defined]
    kind = {"keyed": Collect, "batch": Tell}[chosen.pop("kind")]
    run_step(kind(**chosen), settings)
    sys.stdout.flush()
