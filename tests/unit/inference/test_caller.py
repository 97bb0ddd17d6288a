"""A caller comes back only with answers: it waits through outages and isolates the rows that a model cannot bear."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.caller import Caller
from services.inference.checks import Invalid, Output
from services.inference.circuit import State
from services.inference.client import Failed, Refused, Unavailable
from tests.fake_inference import FakeInference, Time


def double(inputs):
    if np.isinf(inputs["x"]).any():
        raise ArithmeticError
    return {"y": inputs["x"] * 2}


def make(max_rows: int = 8) -> tuple[Caller, FakeInference, Time]:
    fake, time = FakeInference({"m": double}, {"m": {"x": (1,)}}), Time()
    return Caller(fake, "m", "1", [Output("y", (1,))], time, time.sleep, max_rows), fake, time


def inputs(values: list[float]) -> list[dict[str, np.ndarray]]:
    return [{"x": np.array([v], np.float32)} for v in values]


def ask(caller: Caller, values: list[float]) -> list[float | str]:
    found = asyncio.run(caller.ask(inputs(values), range(len(values))))
    return [one.reason if isinstance(one, Invalid) else float(one["y"][0]) for one in found]


@given(st.lists(st.integers(-100, 100).map(float), max_size=40), st.integers(1, 9))
def test_every_row_gets_its_own_answer_in_order_whatever_the_batch_size(values, max_rows):
    caller, _, _ = make(max_rows)
    assert ask(caller, values) == [v * 2 for v in values]


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_exactly_the_rows_that_the_model_cannot_bear_are_invalid(poison):
    caller, _, _ = make()
    values = [float("inf") if bad else float(n) for n, bad in enumerate(poison)]
    found = ask(caller, values)
    assert found == ["the model failed on the input" if bad else 2.0 * n for n, bad in enumerate(poison)]
    assert caller.circuit.state is State.CLOSED


def test_batches_are_filled_up_to_fours_so_that_batching_does_not_change_a_row_s_digits():
    caller, fake, _ = make()
    assert ask(caller, [3.0]) == [6.0]
    assert ask(caller, [1.0, 2.0, 3.0, 4.0]) == [2.0, 4.0, 6.0, 8.0]
    assert ask(caller, [1.0, 2.0, 3.0, 4.0, 5.0]) == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert [rows for _, rows in fake.asked] == [[0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 2, 3, 4, 4, 4, 4]]


@pytest.mark.parametrize("kind", [Unavailable, Failed])
def test_an_outage_is_waited_through_and_every_row_is_answered_once(kind):
    caller, fake, time = make()
    fake.away = kind
    states = []

    def back_after_a_minute() -> None:
        states.append(caller.circuit.state)
        if time.now > 60:
            fake.away = None

    time.on_sleep = back_after_a_minute
    assert ask(caller, [1.0, 2.0, 3.0, 4.0]) == [2.0, 4.0, 6.0, 8.0]
    assert fake.asked == [("m", [0, 1, 2, 3])]
    assert State.OPEN in states or State.HALF_OPEN in states
    assert caller.circuit.state is State.CLOSED
    assert fake.probes <= 20  # a minute away is not a minute of hammering
    assert max(time.slept) <= 5.0  # and it is noticed soon that it is over


def test_a_request_that_the_model_refuses_is_not_an_outage():
    caller, fake, time = make()
    wrong = [{"x": np.zeros(2, np.float32)}]
    found = asyncio.run(caller.ask(wrong, [0]))
    assert found == [Invalid("the model refused the input")]
    assert time.slept == []
    assert fake.asked == []


def test_swapped_rows_are_asked_for_again_one_by_one():
    caller, fake, _ = make()
    order = [1, 0, 2]
    fake.twist = lambda a: (
        replace(a, row_id=a.row_id[order], outputs={"y": a.outputs["y"][order]}) if len(a.row_id) == 3 else a
    )
    assert ask(caller, [1.0, 2.0, 3.0]) == [2.0, 4.0, 6.0]


def test_a_model_that_always_answers_wrongly_ends_in_invalid_rows_and_not_in_a_loop():
    caller, fake, _ = make()
    fake.twist = lambda a: replace(a, version="9")
    assert ask(caller, [1.0, 2.0]) == ["another model or version answered"] * 2


def test_asking_whether_it_is_away_probes_with_a_real_inference():
    caller, fake, time = make()
    assert not asyncio.run(caller.away())
    fake.away = Unavailable
    found = []
    for _ in range(5):
        found.append(asyncio.run(caller.away()))
        time.now += 10
    assert found[-1]
    fake.away = None
    assert not asyncio.run(caller.away())


def test_errors_are_told_apart_by_what_may_be_done_about_them():
    assert not issubclass(Refused, Unavailable)
    assert not issubclass(Failed, Unavailable)
