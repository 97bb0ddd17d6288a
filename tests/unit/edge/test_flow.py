"""Turns: many publish together, in the order in which they came."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from services.edge.flow import Turns


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_all_who_wait_take_one_turn_in_their_order_whoever_gives_up(stays: list[bool]) -> None:
    """`stays[n]`: whether the n-th goes on waiting; the others are cancelled before the turn comes."""

    async def run() -> tuple[list[int], list[int]]:
        turns, taken = Turns(), []

        async def one(number: int) -> None:
            await turns.next()
            taken.append(number)

        tasks = [asyncio.create_task(one(number)) for number in range(len(stays))]
        await asyncio.sleep(0)
        for task, stay in zip(tasks, stays, strict=True):
            if not stay:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return taken, [number for number, stay in enumerate(stays) if stay]

    taken, expected = asyncio.run(run())
    assert taken == expected


async def test_after_a_crowded_turn_the_next_one_comes_too() -> None:
    turns = Turns()
    await asyncio.gather(*(turns.next() for _ in range(100)))
    await turns.next()
