"""A storm over the whole system: services, brokers, Triton are killed (SIGKILL) at random while patients are replayed.

    python -m benchmarks.storm --seconds 120 [--data FOLDER] [--seed N]

Three brokers with min in-sync 2, a supervised Triton, all services, each started again a while after it was killed or
ended by itself; some are frozen for longer than their group waits. The traffic is in disorder (`replay --disorder`),
and every patient is known under a temporary number first, which is merged into the real one. Afterwards, exit status 1
unless

    - every acknowledged message is on its raw topic, and has an end: applied, superseded, filtered or a dead letter
    - the last record of every patient is, byte for byte, the fold of all that was said of it, worked out without Kafka
    - every version of a record has its score
    - whatever has an id has one content: events, versions of records, predictions

`--seed` repeats a storm's choices, not its timing.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console

from benchmarks.storm_check import check
from services.bus.admin import create_topics
from services.bus.settings import Settings, load, site_from_settings
from services.local.demo import SERVICES, choose
from services.local.drain import await_drained
from services.local.kafka import LocalKafka
from services.local.ports import free_ports
from services.local.processes import Services
from services.local.replay.chart import stamp
from services.local.replay.command import edge_of
from services.local.replay.disorder import Disorder
from services.local.replay.report import ReplayReport
from services.local.replay.run import items, replay
from services.local.replay.source import Item, Source, Stay
from services.local.replay.sources import open_source
from services.local.stack import MODEL_REPOSITORY
from services.local.triton import LocalTriton, TritonError

SESSION_S = 6  # of consumers, so that a group goes on without a frozen worker before the storm is over
DRAIN_S = 240.0  # without any step moving: a session times out, tables are read again
WATCH_S = 0.2
TEMPORARY = "TEMP-"
FROZEN = ("normalize", "assemble", "score")


class Renumbered:
    """A source whose patients are admitted under temporary numbers, which a third of the way on are merged (A40)."""

    def __init__(self, source: Source) -> None:
        self.name, self.synthetic = source.name, source.synthetic
        self._source = source

    def stays(self, limit: int | None) -> Iterator[Stay]:
        """The other source's patients."""
        for stay in self._source.stays(limit):
            yield replace(stay, open=partial(_renumbered, stay))


def _renumbered(stay: Stay) -> Iterator[Item]:
    sent = list(stay.open())
    turn = len(sent) // 3
    own = next((item for item in sent if item.kind == "hl7v2"), None)
    for number, item in enumerate(sent):
        if number == turn and own is not None:
            yield _merge(own, item.time_ms)
        early = number < turn and item.kind == "hl7v2"
        yield replace(item, payload=_under_temporary_number(item)) if early else item


def _under_temporary_number(item: Item) -> bytes:
    return item.content().replace(b"PID|1||", b"PID|1||" + TEMPORARY.encode())


def _merge(item: Item, at_ms: int) -> Item:
    segments = item.content().decode().split("\r")
    head = segments[0].split("|")
    patient = next(segment for segment in segments if segment.startswith("PID"))
    at, number = stamp(at_ms), patient.split("|")[3]
    head[6], head[8], head[9] = at, "ADT^A40^ADT_A39", f"{item.patient}-A40"
    lines = ["|".join(head), f"EVN|A40|{at}", patient, f"MRG|{TEMPORARY}{number}"]
    return Item(at_ms, "hl7v2", item.patient, ("\r".join(lines) + "\r").encode(), "ADT^A40")


class Tempo(NamedTuple):
    """Shortest and longest time that something is down, and between two faults, in seconds; whether services freeze;
    how many of the brokers are killed, of all three also at once."""

    down: tuple[float, float] = (0.0, 5.0)
    pause: tuple[float, float] = (0.5, 4.0)
    freezes: bool = True
    brokers: int = 3


@dataclass
class System:
    """What runs, and what has been done to it."""

    settings: Settings
    kafka: LocalKafka
    triton: LocalTriton
    services: Services
    tempo: Tempo
    did: Counter[str] = field(default_factory=Counter)

    def rest(self, seconds: float) -> None:
        """Wait; what ends by itself meanwhile is started again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.revive()
            time.sleep(WATCH_S)

    def revive(self) -> None:
        """Start again what has ended by itself."""
        self.did.update(f"{name} ended by itself" for name in self.services.revive())

    def kill_service(self, chance: random.Random, name: str) -> None:
        """One service."""
        self.services.kill(name)
        self.rest(chance.uniform(*self.tempo.down))
        self.services.start(name)

    def freeze_service(self, chance: random.Random, name: str) -> None:
        """One service, for longer than its group waits for it."""
        self.services.pause(name)
        self.rest(SESSION_S + chance.uniform(*self.tempo.down))
        self.services.proceed(name)

    def kill_brokers(self, chance: random.Random, nodes: Sequence[int]) -> None:
        """One broker, or all: the power cut."""
        for node in nodes:
            self.kafka.kill_broker(node)
        self.rest(chance.uniform(*self.tempo.down))
        self.kafka.start_broker(*nodes)

    def kill_triton(self, chance: random.Random) -> None:
        """The server; its supervisor starts it again."""
        psutil.Process(self.triton.endpoint.pid).kill()

    def kill_model(self, chance: random.Random) -> None:
        """One model's process: the server goes on saying that it is ready."""
        models = psutil.Process(self.triton.endpoint.pid).children(recursive=True)
        if models:
            chance.choice(models).kill()


Fault = Callable[[random.Random], None]
Say = Callable[[str], None]


def faults(system: System) -> dict[str, Fault]:
    """Everything that can happen, by name."""
    found: dict[str, Fault] = {
        f"kill {name}": partial(system.kill_service, name=name) for name in system.services.names
    }
    for name in FROZEN if system.tempo.freezes else ():
        found[f"freeze {name}"] = partial(system.freeze_service, name=name)
    nodes = tuple(range(1, system.tempo.brokers + 1))
    for node in nodes:
        found[f"kill broker {node}"] = partial(system.kill_brokers, nodes=(node,))
    if len(nodes) == system.kafka.brokers:
        found["kill all brokers"] = partial(system.kill_brokers, nodes=nodes)
    found["kill triton"] = system.kill_triton
    found["kill a model"] = system.kill_model
    return found


def storm(system: System, chance: random.Random, going: Callable[[], bool], say: Say) -> None:
    """Let things happen, each once before any happens again, for as long as `going`."""
    waiting: list[str] = []
    known = faults(system)
    while going():
        waiting = waiting or chance.sample(sorted(known), len(known))
        name = waiting.pop()
        with suppress(psutil.NoSuchProcess, TritonError):  # it is just being started again
            say(name)
            known[name](chance)
            system.did[name] += 1
        system.rest(chance.uniform(*system.tempo.pause))


@contextmanager
def running(folder: Path, kafka: LocalKafka, tempo: Tempo, names: Sequence[str] = SERVICES) -> Iterator[System]:
    """The whole system in `folder` on a Kafka that runs, stopped at the end whatever happens."""
    with LocalTriton(folder / "triton", MODEL_REPOSITORY) as triton:
        triton.supervise()
        environment = {
            "WARDSTREAM_BOOTSTRAP": kafka.bootstrap,
            "WARDSTREAM_REPLICATION": str(kafka.replication),
            "WARDSTREAM_MIN_ISR": str(kafka.min_isr),
            "WARDSTREAM_TRITON_URL": triton.url,
            "WARDSTREAM_HOME": str(folder / "home"),
            "WARDSTREAM_SESSION_TIMEOUT": str(SESSION_S),
        }
        for name, port in zip(("MLLP", "HTTP", "DICOM", "PAGE"), free_ports(4), strict=True):
            environment |= {f"WARDSTREAM_{name}_PORT": str(port), f"WARDSTREAM_{name}_HOST": "127.0.0.1"}
        settings = load({**os.environ, **environment})
        site_from_settings(settings)  # makes the pseudonym secret that all services share
        create_topics(settings)
        with Services(names, folder / "logs", environment) as services:
            yield System(settings, kafka, triton, services, tempo)


def weather(
    system: System, sources: Sequence[tuple[Source, int]], seconds: float, chance: random.Random, say: Say
) -> ReplayReport:
    """Replay the sources' patients within `seconds` under a storm, and wait until all is processed.

    Raises RuntimeError when nothing moves any more.
    """
    disordered = [(Disorder(Renumbered(source), chance.randrange(2**32)), limit) for source, limit in sources]
    with ThreadPoolExecutor(len(disordered)) as pool:
        replays = [
            pool.submit(replay, source, edge=edge_of(system.settings), limit=limit, speed=speed(source, limit, seconds))
            for source, limit in disordered
        ]
        storm(system, chance, lambda: not all(one.done() for one in replays), say)
        sent = [one.result() for one in replays]
    say("the storm is over; waiting until all is processed")
    if not await_drained(system.settings, DRAIN_S, lambda _: system.revive(), system.services.names):
        raise RuntimeError(f"nothing has moved for {DRAIN_S:.0f} s")
    return sum(sent, ReplayReport(""))


def speed(source: Source, limit: int, seconds: float) -> float:
    """How fast event time must run for the source's patients to take so long."""
    stays = list(source.stays(limit))
    begin = min(stay.live_ms for stay in stays)
    end = max(item.time_ms for item in items(source, limit))
    return max(1.0, (end - begin) / 1000 / seconds)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="of replay")
    parser.add_argument("--data", type=Path, help="a data set, or a folder that holds some; simulated without")
    parser.add_argument("--patients", type=int, help="of each data set")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--keep", type=Path, help="leave everything in this folder")
    args = parser.parse_args()
    say, chance = Console().print, random.Random(args.seed)
    say(f"seed {args.seed}")
    casts = choose(args.data, synthetic=args.data is None)
    sources = [(open_source(cast.source, cast.path), args.patients or cast.patients) for cast in casts]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwinds: what was started is stopped
    with tempfile.TemporaryDirectory(prefix="wardstream-storm-") as made:
        folder = args.keep or Path(made)
        with LocalKafka(folder / "kafka", 3) as kafka, running(folder, kafka, Tempo()) as system:
            sent = weather(system, sources, args.seconds, chance, say)
            verdict = check(system.settings, sent)
    say(dict(sorted(system.did.items())))
    say({**verdict.figures, "sent": sent.sent, "sent again": sent.retries})
    for problem in verdict.problems:
        say(f"FAILED: {problem}")
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
