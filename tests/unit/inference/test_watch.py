"""Waiting for the model server is not being stuck, and not being ready."""

import asyncio

import numpy as np

from services.bus.health import Health
from services.inference.caller import Caller
from services.inference.checks import Output
from services.inference.client import Unavailable
from services.inference.watch import Watch
from tests.fake_inference import FakeInference, Time


def test_an_hour_without_the_model_server_does_not_fail_liveness_but_readiness():
    time = Time()
    health = Health(60.0, time)
    health.set_ready(True)
    health.processed()
    fake = FakeInference({"m": lambda inputs: {"y": inputs["x"]}})
    fake.away = Unavailable
    caller = Caller(fake, "m", "1", [Output("y", (1,))], time, time.sleep, watcher=Watch(health))
    found: set[tuple[str, str]] = set()

    def look() -> None:
        if time.now > 30:
            found.add((health.liveness(), health.readiness()))
        if time.now > 3600:
            fake.away = None

    time.on_sleep = look
    asyncio.run(caller.ask([{"x": np.zeros(1, np.float32)}], [1]))
    assert found == {("", "triton: m away")}
    assert health.readiness() == ""
