"""Bounded memory, order per key, and what a failing producer does to those who wait."""

import asyncio
from typing import ClassVar

import pytest
from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber
from hypothesis import given
from hypothesis import strategies as st

from services.bus.settings import load
from services.bus.topics import HL7_RAW
from services.edge.flow import ByteBudget, KeyedLocks
from services.edge.publisher import KafkaPublisher, PublishFailed, TooLarge
from tests.unit.edge.conftest import until


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 30), st.sets(st.integers(0, 11)))
def test_the_budget_is_never_exceeded_first_come_first_served_and_ends_empty(sizes, total, cancelled):
    async def run():
        budget, order, tasks = ByteBudget(total), [], []

        async def use(number, size):
            await budget.take(size)
            try:
                order.append(number)
                assert budget.used <= total
                await asyncio.sleep(0)
            finally:
                budget.give(size)

        for number, size in enumerate(sizes):
            tasks.append(asyncio.ensure_future(use(number, size)))
        await asyncio.sleep(0)
        for number in cancelled:
            if number < len(tasks):
                tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == sorted(order)
        assert {n for n in range(len(sizes)) if n not in cancelled} <= set(order)
        return budget.used

    assert asyncio.run(run()) == 0


async def test_one_key_is_held_by_one_at_a_time_in_order_of_arrival_and_forgotten():
    locks, seen = KeyedLocks(), []

    async def work(key, number):
        async with locks.hold(key):
            seen.append((key, number))
            await asyncio.sleep(0)

    await asyncio.gather(*(work(f"k{n % 3}", n) for n in range(30)))
    for key in ("k0", "k1", "k2"):
        mine = [n for k, n in seen if k == key]
        assert mine == sorted(mine)
    assert len(locks) == 0


class Producer:
    """A producer in memory, told how each send ends."""

    made: ClassVar[list["Producer"]] = []

    def __init__(self, **arguments) -> None:
        self.sent: list[asyncio.Future] = []
        self.values: list[bytes] = []
        self.stopped = False
        self._message_accumulator = self
        Producer.made.append(self)

    async def start(self):
        if len(Producer.made) <= Producer.absent:
            raise KafkaConnectionError()

    absent = 0

    async def send(self, topic, value, key, headers):
        future = asyncio.get_running_loop().create_future()
        self.sent.append(future)
        self.values.append(value)
        return future

    def fail_all(self, error):
        for future in self.sent:
            if not future.done():
                future.set_exception(error)

    async def flush(self):
        await asyncio.wait(self.sent) if self.sent else None

    async def stop(self):
        self.stopped = True


@pytest.fixture
async def publisher():
    Producer.made, Producer.absent = [], 0
    made = KafkaPublisher(load({}), delivery_timeout=0.2, max_in_flight_bytes=100, make_producer=Producer)
    await made.start()
    yield made
    await made.stop()


def publish(publisher, value: bytes, key: str = "k"):
    return asyncio.ensure_future(publisher.publish(HL7_RAW, key, value, {}))


async def test_publishing_returns_only_when_the_broker_has_acknowledged(publisher):
    task = publish(publisher, b"1")
    await until(lambda: Producer.made[0].sent)
    assert not task.done()
    Producer.made[0].sent[0].set_result(None)
    await task
    assert publisher.in_flight_bytes == 0


async def test_what_is_not_acknowledged_in_time_may_still_be_and_keeps_its_bytes_counted(publisher):
    with pytest.raises(PublishFailed) as failed:
        await publish(publisher, b"1")
    assert publisher.in_flight_bytes == 2
    Producer.made[0].sent[0].set_result("kept")
    assert await failed.value.pending == "kept"
    await until(lambda: publisher.in_flight_bytes == 0)


async def test_above_the_budget_messages_wait_and_fail_without_reaching_the_producer(publisher):
    stuck = publish(publisher, b"x" * 90)
    with pytest.raises(PublishFailed) as failed:
        await publish(publisher, b"y" * 90, "other")
    assert failed.value.pending is None
    assert len(Producer.made[0].values) == 1
    with pytest.raises(PublishFailed):
        await stuck
    Producer.made[0].sent[0].set_result(None)


async def test_after_a_batch_that_failed_for_good_a_new_producer_takes_over(publisher):
    first = publish(publisher, b"1")
    await until(lambda: Producer.made[0].sent)
    Producer.made[0].sent[0].set_exception(OutOfOrderSequenceNumber())
    with pytest.raises(PublishFailed, match="OutOfOrderSequenceNumber"):
        await first
    second = publish(publisher, b"2")
    await until(lambda: len(Producer.made) == 2 and Producer.made[1].sent)
    Producer.made[1].sent[0].set_result(None)
    await second
    assert Producer.made[0].stopped


async def test_an_absent_cluster_is_tried_again_until_it_is_there():
    Producer.made, Producer.absent = [], 2
    late = KafkaPublisher(load({}), delivery_timeout=5.0, make_producer=Producer)
    await late.start()
    task = publish(late, b"1")
    await until(lambda: len(Producer.made) == 3 and Producer.made[2].sent)
    Producer.made[2].sent[0].set_result(None)
    await task
    await late.stop()


async def test_a_message_above_its_topics_size_is_told_apart(publisher):
    with pytest.raises(TooLarge):
        await publish(publisher, b"x" * (HL7_RAW.max_bytes + 1))
