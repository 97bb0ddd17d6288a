"""The engines under contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.engine.harness import Harness, KafkaHarness, MemoryHarness

ENGINES = ["memory", *(pytest.param(one, marks=pytest.mark.kafka) for one in ("faust", "loop"))]


@pytest.fixture(params=ENGINES)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """An engine with an empty bus of its own."""
    if request.param == "memory":
        yield MemoryHarness()
        return
    found = KafkaHarness(request.getfixturevalue("bus_settings"), request.param, tmp_path)
    try:
        yield found
    finally:
        found.close()
