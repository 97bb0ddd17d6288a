"""The circuit opens after failures in a row, asks seldom while open, and closes on the first success."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.inference.circuit import Circuit, State


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock, **options: float) -> Circuit:
    circuit = Circuit(clock, failures=2, **options)  # type: ignore[arg-type]
    circuit.failure()
    circuit.failure()
    return circuit


def test_one_failure_between_successes_does_not_open_it():
    circuit = Circuit(Clock(), failures=2)
    for _ in range(5):
        circuit.failure()
        circuit.success()
    assert circuit.state is State.CLOSED


def test_failures_in_a_row_open_it_and_time_allows_one_probe():
    clock = Clock()
    circuit = opened(clock, wait_s=1.0)
    assert circuit.state is State.OPEN
    assert circuit.wait_s == 1.0
    clock.now += 1.0
    assert circuit.state is State.HALF_OPEN
    assert circuit.wait_s == 0.0


def test_each_failed_probe_doubles_the_wait_up_to_the_longest():
    clock = Clock()
    circuit = opened(clock, wait_s=1.0, longest_s=5.0)
    waits = []
    for _ in range(5):
        waits.append(circuit.wait_s)
        clock.now += circuit.wait_s
        circuit.failure()
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_failures_of_requests_that_were_on_their_way_do_not_lengthen_the_wait():
    clock = Clock()
    circuit = opened(clock, wait_s=1.0)
    circuit.failure()
    circuit.failure()
    assert circuit.wait_s == 1.0


def test_a_success_closes_it_and_the_next_outage_starts_afresh():
    clock = Clock()
    circuit = opened(clock, wait_s=1.0)
    clock.now += 1.0
    circuit.failure()
    clock.now += 2.0
    assert circuit.open_for_s == 3.0
    circuit.success()
    assert circuit.state is State.CLOSED
    assert circuit.open_for_s == 0.0
    circuit.failure()
    circuit.failure()
    assert circuit.wait_s == 1.0


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens: it is open exactly when the last failures reached the limit, and the wait is bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.circuit = Circuit(self.clock, failures=3, wait_s=0.25, longest_s=5.0)
        self.in_a_row = 0

    @rule()
    def success(self) -> None:
        self.circuit.success()
        self.in_a_row = 0

    @rule()
    def failure(self) -> None:
        self.circuit.failure()
        self.in_a_row += 1

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def closed_unless_failures_in_a_row(self) -> None:
        assert (self.circuit.state is State.CLOSED) == (self.in_a_row < 3)

    @invariant()
    def the_wait_is_bounded_and_then_a_probe_may_go(self) -> None:
        assert 0.0 <= self.circuit.wait_s <= 5.0
        assert (self.circuit.wait_s > 0) == (self.circuit.state is State.OPEN)


TestAnyHistory = AnyHistory.TestCase
