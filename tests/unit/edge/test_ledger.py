"""The ledger of acknowledgements: the same answer to a repeat, over restarts, in bounded space."""

import asyncio
import sqlite3

import pytest

from services.bus.topics import HL7_RAW
from services.edge.ledger import Ledger, digest_of, name_of
from tests.unit.edge.conftest import oru, running, until

ONE, TWO = name_of(("LAB", "H"), "1"), name_of(("LAB", "H"), "2")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_names_differ_by_sender_and_control_id():
    assert len({ONE, TWO, name_of(("LAB", "I"), "1"), name_of(("LABH", ""), "1"), name_of(("LA", "BH"), "1")}) == 5


@pytest.mark.parametrize("in_file", [True, False])
async def test_an_answer_is_found_before_while_and_after_it_is_written(tmp_path, in_file):
    ledger = Ledger(tmp_path / "ledger" if in_file else None)
    ledger.put(ONE, digest_of(b"m"), b"ack")
    assert ledger.get(ONE).answer == b"ack"
    writing = asyncio.ensure_future(ledger.flush())
    while not writing.done():
        assert ledger.get(ONE).digest == digest_of(b"m")
        await asyncio.sleep(0)
    assert ledger.get(ONE).answer == b"ack"
    assert ledger.get(TWO) is None
    await ledger.close()


async def test_answers_survive_a_restart(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.put(ONE, b"d", b"ack")
    await ledger.close()
    again = Ledger(tmp_path / "ledger")
    assert again.get(ONE).answer == b"ack"
    await again.close()


async def test_what_is_put_while_others_are_written_is_not_lost(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.put(ONE, b"d", b"1")
    writing = asyncio.ensure_future(ledger.flush())
    await asyncio.sleep(0)
    ledger.put(TWO, b"d", b"2")
    await writing
    await ledger.close()
    again = Ledger(tmp_path / "ledger")
    assert (again.get(ONE).answer, again.get(TWO).answer) == (b"1", b"2")
    await again.close()


async def test_old_answers_are_forgotten(tmp_path):
    clock = Clock()
    ledger = Ledger(tmp_path / "ledger", max_age=60, clock=clock)
    ledger.put(ONE, b"d", b"1")
    await ledger.flush()
    clock.now += 61
    assert ledger.get(ONE) is None
    ledger.put(TWO, b"d", b"2")
    await ledger.flush()
    assert len(ledger) == 1
    await ledger.close()


async def test_the_ledger_stays_within_its_number_and_keeps_the_newest(tmp_path):
    clock = Clock()
    ledger = Ledger(tmp_path / "ledger", max_entries=100, clock=clock)
    for n in range(350):
        clock.now += 1
        ledger.put(name_of(("a", "b"), str(n)), b"d", b"ack")
        if n % 50 == 0:
            await ledger.flush()
    await ledger.flush()
    await ledger.flush()
    assert len(ledger) == 100
    kept = [n for n in range(350) if ledger.get(name_of(("a", "b"), str(n)))]
    assert kept == list(range(250, 350))
    await ledger.close()


async def test_a_file_that_cannot_be_written_keeps_answers_in_memory_within_bounds(tmp_path):
    ledger = Ledger(tmp_path / "ledger", max_entries=10)
    other = sqlite3.connect(tmp_path / "ledger")
    other.execute("BEGIN IMMEDIATE")
    ledger._file.execute("PRAGMA busy_timeout = 1")
    for n in range(50):
        ledger.put(name_of(("a", "b"), str(n)), b"d", b"ack")
        with pytest.raises(sqlite3.OperationalError):
            await ledger.flush()
    assert len(ledger) == 10
    other.rollback()
    await ledger.flush()
    assert ledger.get(name_of(("a", "b"), "49")).answer == b"ack"
    other.close()
    await ledger.close()


async def test_a_broken_file_is_set_aside(tmp_path):
    (tmp_path / "ledger").write_bytes(b"not a database" * 1000)
    ledger = Ledger(tmp_path / "ledger")
    ledger.put(ONE, b"d", b"ack")
    await ledger.close()
    assert (tmp_path / "ledger.unreadable").exists()
    again = Ledger(tmp_path / "ledger")
    assert again.get(ONE) is not None
    await again.close()


@pytest.mark.parametrize("trouble", ["damaged", "closed"])
async def test_messages_are_taken_and_repeats_known_again_after_the_file_breaks_while_it_is_open(tmp_path, trouble):
    async with running(ledger=tmp_path / "ledger") as bench:
        sender = await bench.sender()
        for n in range(200):
            bench.ledger.put(name_of(("a", "b"), str(n)), b"d", b"ack" * 100)
        await bench.ledger.flush()
        if trouble == "closed":
            bench.ledger._file.close()
            bench.ledger._reader.close()
        else:
            bench.ledger._file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            size = (tmp_path / "ledger").stat().st_size
            with (tmp_path / "ledger").open("r+b") as file:
                file.seek(4096)
                file.write(b"\xa5" * (size - 4096))
            bench.ledger._reader.execute("PRAGMA shrink_memory")
        assert bench.ledger.get(name_of(("a", "b"), "1")) is None
        assert await sender.ask(oru("1")) == "AA"
        keeping = asyncio.ensure_future(bench.ledger.run())
        await until(lambda: not bench.ledger._unflushed and not bench.ledger._writing)
        assert not keeping.done()
        keeping.cancel()
        first = sender.last
        assert await sender.ask(oru("1")) == "AA"
        assert sender.last == first
        assert await sender.ask(oru("2")) == "AA"
        assert len(bench.publisher.on(HL7_RAW)) == 2
        assert (tmp_path / "ledger.unreadable").exists() == (trouble == "damaged")
    again = Ledger(tmp_path / "ledger")
    assert again.get(name_of(("LAB", "HOSP"), "2")) is not None
    await again.close()
