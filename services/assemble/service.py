"""The assemble service: `wardstream run assemble`."""

from services.assemble.step import Assemble
from services.bus.run import run_step
from services.bus.settings import Settings


def run(settings: Settings) -> None:
    """Run until SIGTERM; raises when it must not go on (a dead letter could not be written)."""
    run_step(Assemble(), settings)
