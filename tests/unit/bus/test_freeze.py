"""A process that stood still for most of its session is told so before it writes, whichever task wakes first."""

import pytest

from services.bus.freeze import FreezeGuard, Frozen


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_jump_of_the_clock_is_noticed_by_the_write_and_by_the_tick() -> None:
    clock = Clock()
    guard = FreezeGuard(30.0, clock)
    for clock.now in (5.0, 20.0, 40.0):
        guard.tick()
        guard.check()
    clock.now = 65.0
    with pytest.raises(Frozen, match=r"25\.0 s"):
        guard.check()
    with pytest.raises(Frozen):
        guard.tick()
    with pytest.raises(Frozen):
        guard.check()
