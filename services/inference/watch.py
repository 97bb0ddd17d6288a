"""What happens on the way to the models, as metrics and for the process's probes."""

from services.bus import metrics
from services.bus.health import Health
from services.inference.circuit import State


class Watch:
    """A `Watcher` that counts, and tells the process's health: waiting for the model server is not being stuck
    (liveness goes on), but not ready either."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._away: set[str] = set()
        health.add_check("triton", self._problem)

    def answered(self, model: str, rows: int, seconds: float) -> None:
        metrics.TRITON_SECONDS.labels(model).observe(seconds)

    def not_answered(self, model: str, kind: str) -> None:
        metrics.TRITON_FAILURES.labels(model, kind).inc()

    def circuit(self, model: str, state: State) -> None:
        metrics.CIRCUIT.labels(model).set(state is not State.CLOSED)
        (self._away.discard if state is State.CLOSED else self._away.add)(model)

    def waiting(self, model: str) -> None:
        self._health.paused()

    def _problem(self) -> str:
        return f"{', '.join(sorted(self._away))} away" if self._away else ""
