"""A storm over an engine: workers join, leave, freeze and are killed while messages arrive; none may be missing.

    python -m benchmarks.engine_storm --engine faust --seconds 120

The longer form of `tests/contract/engine`: prints what was done to the workers, then checks that every offset came
out, in order, and that every key's state is exact; exit status 1 when not. `--seed` repeats a storm's choices.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

from services.bus.settings import load
from services.local.kafka import LocalKafka
from tests.contract.engine.checks import assert_exact_states, assert_nothing_missing, make_step
from tests.contract.engine.harness import KafkaHarness, ProcessWorker

WORKERS = 3
BURST = 500
PAUSE_S = (0.3, 3.0)
DRAIN_S = 180.0
THAWED_S = 2.0  # in which a worker that wakes too late ends
STOPPED = (0, -15)  # -15: it was asked before it listened for being asked
NOT_ALONE = "ownership.NotAlone"  # why a worker may end by itself: a latecomer wrote, and the next start mends it


async def storm(harness: KafkaHarness, seconds: float, chance: random.Random) -> None:
    """Run it and check; AssertionError when something is missing or a state is wrong."""
    say = Console().print
    source, out = harness.topic("in", partitions=6), harness.topic("out", partitions=6)
    step = make_step("keyed", [source], out, 0.0003)
    workers: list[ProcessWorker] = []
    did: Counter[str] = Counter()
    sent, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        values = [(f"patient{n % 97}", f"v{n:06d}".encode()) for n in range(sent, sent + BURST)]
        await asyncio.to_thread(harness.publish, source, values)
        sent += BURST
        await _something_happens(harness, workers, step, chance, did)
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        await _start_again(harness, workers, step, did)
    say(f"{sent} messages, {dict(did)}")
    workers.append(await harness.start(step))
    began = time.monotonic()
    while harness.lag(step["name"], [source]):
        assert time.monotonic() - began < DRAIN_S, f"not drained: {harness.lag(step['name'], [source])} left"
        await asyncio.sleep(0.5)
        await _start_again(harness, workers, step, did)
    for worker in workers:
        code = await worker.stop()
        assert code in STOPPED, f"a worker ended with {code}"
    times = assert_nothing_missing(harness, [source], out)
    assert_exact_states(harness, step["name"], [source])
    repeats = sum(times.values()) - len(times)
    say(f"nothing missing, states exact; {repeats} repeats after {did['kill']} kills and {did['freeze']} freezes")


async def _start_again(
    harness: KafkaHarness, workers: list[ProcessWorker], step: dict[str, Any], did: Counter[str]
) -> None:
    """As a supervisor does, for workers that found another's write; AssertionError for any other end."""
    for number, worker in enumerate(workers):
        if not worker.alive:
            assert NOT_ALONE in worker.log, f"a worker ended: {worker.log[-600:]}"
            did["not alone"] += 1
            workers[number] = await harness.start(step)


async def _something_happens(
    harness: KafkaHarness, workers: list[ProcessWorker], step: dict[str, Any], chance: random.Random, did: Counter[str]
) -> None:
    choices = ["start"] * (len(workers) < WORKERS) + ["stop", "kill", "freeze", "nothing", "nothing"] * bool(workers)
    choice = chance.choice(choices)
    did[choice] += 1
    if choice == "start":
        workers.append(await harness.start(step))
    elif choice != "nothing":
        worker = workers.pop(chance.randrange(len(workers)))
        if choice == "stop":
            code = await worker.stop()
            assert code in STOPPED, f"a worker ended with {code}"
        elif choice == "kill":
            await worker.kill()
        else:
            worker.freeze()
            await asyncio.sleep(harness.settings.session_timeout + 1)
            worker.thaw()
            await asyncio.sleep(THAWED_S)
            if worker.alive:  # it had not begun to work when it was frozen
                workers.append(worker)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("faust", "loop"), default="faust")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=None)
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.randrange(10**6)
    Console().print(f"engine {chosen.engine}, seed {seed}")
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka", die_with_parent=True) as kafka:
        harness = KafkaHarness(load({"WARDSTREAM_BOOTSTRAP": kafka.bootstrap}), chosen.engine, Path(folder))
        try:
            asyncio.run(storm(harness, chosen.seconds, random.Random(seed)))
        except AssertionError as error:
            Console().print(f"FAILED: {str(error)[:2000]}")
            for log in sorted(Path(folder).glob("worker*.log")):
                Console().print(log.name, log.read_text()[-600:])
            return 1
        finally:
            harness.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
