"""The engines under contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.engine.harness import Harness, KafkaHarness, MemoryHarness

ENGINES = ["memory", *(pytest.param(one, marks=pytest.mark.kafka) for one in ("faust", "loop"))]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The loop is the spare engine: its batch variants run when slow tests are asked for."""
    spare = [item for item in items if "loop" in item.name and "batch" in item.name]
    for item in spare:
        item.add_marker(pytest.mark.slow)
    if "slow" not in config.getoption("markexpr"):
        config.hook.pytest_deselected(items=spare)
        items[:] = [item for item in items if item not in spare]


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
