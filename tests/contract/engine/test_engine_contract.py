"""What an engine promises (services/bus/engine.py), on every engine: in memory, and on real Kafka.

Whatever happens to the workers, no offset is missing from the outputs, messages of a partition come in order, and
the state of each key is that of all its messages. A worker that is stopped or that gives partitions up repeats
nothing; one that is killed repeats what it had not committed.
"""

from functools import partial
from typing import Any

import msgspec
import pytest

from services.bus.messages import DeadLetter
from services.bus.topics import DEAD_LETTERS, Topic
from tests.contract.engine.checks import assert_exact_states, assert_nothing_missing, make_step, origins
from tests.contract.engine.harness import Harness, KafkaHarness, ProcessWorker, until
from tests.contract.engine.steps import AWAY, POISON

KEYS = 40
KINDS = pytest.mark.parametrize("kind", ["keyed", "batch"])
SLOWLY = 0.0005  # per message, so that a worker is in the middle when something happens to it


def _values(count: int, start: int = 0) -> list[tuple[str, bytes]]:
    return [(f"patient{n % KEYS}", f"v{n:06d}".encode()) for n in range(start, start + count)]


def _more_than(harness: Harness, topic: Topic, count: int) -> bool:
    return harness.count(topic) > count


@KINDS
async def test_a_restart_with_a_backlog_misses_nothing_and_repeats_nothing(harness: Harness, kind: str) -> None:
    source, out = harness.topic("in"), harness.topic("out")
    step = make_step(kind, [source], out, SLOWLY)
    harness.publish(source, _values(1500))
    worker = await harness.start(step, instance="a")
    await until(lambda: harness.count(out) > 300)
    assert await worker.stop() == 0
    harness.publish(source, _values(500, 1500))
    worker = await harness.start(step, instance="a")
    await until(lambda: harness.lag(step["name"], [source]) == 0)
    assert await worker.stop() == 0
    assert set(assert_nothing_missing(harness, [source], out).values()) == {1}
    if kind == "keyed":
        assert_exact_states(harness, step["name"], [source])


@KINDS
async def test_workers_that_join_and_leave_share_the_partitions_and_repeat_nothing(harness: Harness, kind: str) -> None:
    source, out = harness.topic("in"), harness.topic("out")
    step = make_step(kind, [source], out, SLOWLY)
    harness.publish(source, _values(1500))
    first = await harness.start(step)
    await until(lambda: harness.count(out) > 200)
    second = await harness.start(step)
    await until(lambda: harness.count(out) > 900)
    harness.publish(source, _values(500, 1500))
    assert await first.stop() == 0
    await until(lambda: harness.lag(step["name"], [source]) == 0)
    assert await second.stop() == 0
    assert set(assert_nothing_missing(harness, [source], out).values()) == {1}
    if kind == "keyed":
        assert_exact_states(harness, step["name"], [source])


@KINDS
@pytest.mark.parametrize("disk", ["kept", "lost"])
async def test_a_worker_that_is_killed_is_replaced_without_loss(harness: Harness, kind: str, disk: str) -> None:
    if (kind, disk) == ("batch", "lost"):
        pytest.skip("a batch step keeps nothing on disk")
    source, out = harness.topic("in"), harness.topic("out")
    step = make_step(kind, [source], out, SLOWLY)
    harness.publish(source, _values(2000))
    for threshold in (200, 900):
        worker = await harness.start(step, instance="a")
        await until(partial(_more_than, harness, out, threshold))
        await worker.kill()
    if disk == "lost":
        harness.lose_disk()
    worker = await harness.start(step, instance="a")
    await until(lambda: harness.lag(step["name"], [source]) == 0)
    assert await worker.stop() == 0
    assert_nothing_missing(harness, [source], out)
    if kind == "keyed":
        assert_exact_states(harness, step["name"], [source])


@KINDS
async def test_a_poison_message_becomes_a_dead_letter_and_the_rest_goes_on(harness: Harness, kind: str) -> None:
    source, out = harness.topic("in"), harness.topic("out")
    step = make_step(kind, [source], out)
    items = _values(300)
    for at in (10, 150, 299):
        items[at] = (items[at][0], POISON + f"{at}".encode())
    harness.publish(source, items)
    worker = await harness.start(step)
    await until(lambda: harness.lag(step["name"], [source]) == 0)
    assert await worker.stop() == 0
    given = harness.messages(source)
    poison = {(m.topic, m.partition, m.offset): m for m in given if m.value.startswith(POISON)}
    read = [msgspec.json.decode(m.value, type=DeadLetter) for m in harness.messages(DEAD_LETTERS)]
    mine = {(o.origin.topic, o.origin.partition, o.origin.offset): o for o in read if o.origin.topic == source.name}
    assert set(mine) == set(poison)
    for slot, letter in mine.items():
        assert (letter.value, letter.key, letter.reason) == (poison[slot].value, poison[slot].key, "step_failed")
    came = set(origins(harness.messages(out)))
    assert came == {(m.topic, m.partition, m.offset) for m in given} - set(poison)
    if kind == "keyed":
        assert_exact_states(harness, step["name"], [source])


@KINDS
async def test_when_the_dead_letter_is_refused_nothing_is_committed_and_the_process_ends(
    harness: Harness, kind: str
) -> None:
    source, out = harness.topic("in", partitions=1), harness.topic("out", partitions=1)
    refusing = harness.topic("refusing", partitions=1, max_bytes=64)
    step = make_step(kind, [source], out)
    harness.publish(source, [("patient1", POISON), *_values(20)])
    worker = await harness.start(step, dead_letters=refusing, instance="a")
    assert await worker.ended() != 0
    assert harness.lag(step["name"], [source]) == 21
    worker = await harness.start(step, instance="a")
    await until(lambda: harness.lag(step["name"], [source]) == 0)
    assert await worker.stop() == 0
    assert len({*origins(harness.messages(out))}) == 20


@KINDS
async def test_a_step_that_cannot_go_on_stops_the_process_without_a_dead_letter(harness: Harness, kind: str) -> None:
    source, out = harness.topic("in", partitions=1), harness.topic("out", partitions=1)
    harness.publish(source, [("patient1", AWAY), *_values(5)])
    step = make_step(kind, [source], out)
    worker = await harness.start(step)
    assert await worker.ended() != 0
    assert harness.lag(step["name"], [source]) == 6
    letters = [msgspec.json.decode(m.value, type=DeadLetter) for m in harness.messages(DEAD_LETTERS)]
    assert source.name not in {letter.origin.topic for letter in letters}


async def test_a_step_that_waits_longer_than_the_session_keeps_its_partitions(harness: Harness) -> None:
    source, out = harness.topic("in", partitions=2), harness.topic("out", partitions=2)
    step = make_step("batch", [source], out, 0.15)  # fifty of them: 7.5 s in one call, the session lasts 6 s
    harness.publish(source, _values(60))
    worker = await harness.start(step)
    await until(lambda: harness.lag(step["name"], [source]) == 0)
    assert await worker.stop() == 0
    assert set(assert_nothing_missing(harness, [source], out).values()) == {1}


async def test_a_worker_that_wakes_after_its_partitions_went_to_another_spoils_no_state(harness: Harness) -> None:
    if not isinstance(harness, KafkaHarness):
        pytest.skip("a task cannot be frozen alone")
    source, out = harness.topic("in"), harness.topic("out")
    step = make_step("keyed", [source], out, SLOWLY)
    harness.publish(source, _values(2000))
    frozen, harness.may_fail = await harness.start(step), {0}
    await until(partial(_more_than, harness, out, 200))
    frozen.freeze()
    other = await harness.start(step)
    await until(lambda: harness.lag(step["name"], [source]) == 0)
    frozen.thaw()
    assert await frozen.ended() != 0
    harness.publish(source, _values(200, 2000))
    await _drained(harness, step, source, other)
    assert_nothing_missing(harness, [source], out)
    assert_exact_states(harness, step["name"], [source])


@pytest.mark.parametrize("disk", ["kept", "lost"])
async def test_what_an_evicted_worker_still_writes_changes_no_state(harness: Harness, disk: str) -> None:
    if not isinstance(harness, KafkaHarness):
        pytest.skip("its states are not in a log that another could write to")
    source, out = harness.topic("in"), harness.topic("out")
    step = make_step("keyed", [source], out)
    for start in (0, 400):  # two workers, one after the other: two claims to each partition
        harness.publish(source, _values(400, start))
        worker = await harness.start(step, instance="a")
        await until(lambda: harness.lag(step["name"], [source]) == 0)
        if start == 0:
            assert await worker.stop() == 0
    assert harness.write_late(step["name"], b'{"seen": ["v000000"]}') == KEYS
    harness.may_fail = {1}
    if disk == "lost":
        assert await worker.stop() == 0
        harness.lose_disk()
        worker = await harness.start(step, instance="a")
    harness.publish(source, _values(KEYS // 2, 800))  # the other half of the keys is not written again by a message
    await _drained(harness, step, source, worker)
    assert_nothing_missing(harness, [source], out)
    assert_exact_states(harness, step["name"], [source])


async def _drained(harness: KafkaHarness, step: dict[str, Any], source: Topic, worker: ProcessWorker) -> None:
    """Wait until everything is processed and stop the worker; one that ends because it is not alone is started again
    by its supervisor."""
    await until(lambda: not worker.alive or harness.lag(step["name"], [source]) == 0)
    if not worker.alive:
        assert await worker.ended() != 0
        worker = await harness.start(step, instance="a")
        await until(lambda: harness.lag(step["name"], [source]) == 0)
    assert await worker.stop() == 0


async def test_two_topics_fold_into_one_state(harness: Harness) -> None:
    one, two, out = harness.topic("one"), harness.topic("two"), harness.topic("out")
    step = make_step("keyed", [one, two], out)
    harness.publish(one, _values(400))
    harness.publish(two, _values(400, 1000))
    worker = await harness.start(step)
    await until(lambda: harness.lag(step["name"], [one, two]) == 0)
    assert await worker.stop() == 0
    assert_nothing_missing(harness, [one, two], out)
    assert_exact_states(harness, step["name"], [one, two])
