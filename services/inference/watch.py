"""What happens on the way to the models, as metrics."""

from services.bus import metrics
from services.inference.circuit import State


class Metrics:
    """A `Watcher` that counts."""

    def answered(self, model: str, rows: int, seconds: float) -> None:
        metrics.TRITON_SECONDS.labels(model).observe(seconds)

    def not_answered(self, model: str, kind: str) -> None:
        metrics.TRITON_FAILURES.labels(model, kind).inc()

    def circuit(self, model: str, state: State) -> None:
        metrics.CIRCUIT.labels(model).set(state is not State.CLOSED)
