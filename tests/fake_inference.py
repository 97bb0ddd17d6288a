"""A model server in memory, behind the same port as Triton, with switches for what can go wrong."""

from collections.abc import Callable

import numpy as np

from services.inference.client import Answer, Arrays, Failed, InferenceError, Refused, Unavailable

Model = Callable[[Arrays], dict[str, np.ndarray]]


class FakeInference:
    """Answers with Python functions. `away` names an error class that every request meets until it is None again."""

    def __init__(self, models: dict[str, Model], inputs: dict[str, dict[str, tuple[int, ...]]] | None = None) -> None:
        self.models = models
        self.inputs = inputs or {}
        self.away: type[InferenceError] | None = None
        self.asked: list[tuple[str, list[int]]] = []
        self.twist: Callable[[Answer], Answer] | None = None
        self.probes = 0
        self.version = "1"

    async def infer(self, model: str, version: str, inputs: Arrays, timeout_s: float = 10.0) -> Answer:
        if self.away is not None:
            raise self.away(f"{model}: away")
        if model not in self.models or version not in ("", self.version):
            raise Unavailable(f"{model}: not here")
        wanted = self.inputs.get(model)
        sent = {name: array.shape[1:] for name, array in inputs.items() if name != "row_id"}
        if wanted is not None and sent != wanted:
            raise Refused(f"{model}: names or shapes")
        self.asked.append((model, inputs["row_id"].reshape(-1).tolist()))
        try:
            outputs = self.models[model](inputs)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            raise Failed(f"{model}: {type(error).__name__}") from None
        answer = Answer(model, self.version, outputs, inputs["row_id"].copy())
        return self.twist(answer) if self.twist else answer

    async def probe(self, model: str, version: str, timeout_s: float = 10.0) -> None:
        self.probes += 1
        if self.away is not None:
            raise self.away(f"{model}: away")
        if model not in self.models or version not in ("", self.version):
            raise Unavailable(f"{model}: not here")

    async def close(self) -> None: ...


class Time:
    """A clock that moves only when somebody sleeps on it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.on_sleep()
