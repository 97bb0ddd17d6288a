"""Load at a fixed rate over MLLP, and how long acknowledgements and predictions take.

    python benchmarks/load.py --rate 500 --seconds 30                    a local Kafka and the edge alone
    python benchmarks/load.py --rate 500 --seconds 30 --whole            with all services and Triton, to the prediction
    python benchmarks/load.py --rate 500 --seconds 30 --edge HOST:PORT   an edge that runs already

The load is open: a message is due at its place in the schedule and its time counts from then, whether or not the
sender could keep to it. So a stall shows in every message that it held up (no coordinated omission).
Messages are hourly ORU^R01 of vital signs of `--patients` simulated patients, each admitted by an ADT^A01 first.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from services.bus.admin import create_topics
from services.bus.settings import load as load_settings
from services.edge.mllp_client import MllpClient, Unacknowledged
from services.local.demo import SERVICES
from services.local.drain import await_drained
from services.local.kafka import LocalKafka
from services.local.ports import free_ports
from services.local.processes import Services
from services.local.replay.channels import split_address
from services.local.replay.chart import Chart, Measured
from services.local.replay.source import BASE_MS, HOUR_MS
from services.local.replay.variables import LABELS
from services.local.report import account, percentiles, report
from services.local.simulate.source import APPLICATION, AUTHORITY, PANEL
from services.local.stack import stack

SIGNS = (("8867-4", 80, "/min"), ("59408-5", 97, "%"), ("8310-5", 37, "Cel"), ("8480-6", 120, "mm[Hg]"))
MORE_SIGNS = (("8478-0", 85, "mm[Hg]"), ("8462-4", 65, "mm[Hg]"), ("9279-1", 16, "/min"), ("2524-7", 1, "mmol/L"))


@dataclass
class Outcome:
    """What a load run gave. Times in ms from the moment a message was due to its acknowledgement."""

    answers: Counter[str] = field(default_factory=Counter)
    times_ms: list[int] = field(default_factory=list)
    late_ms: list[int] = field(default_factory=list)  # of the sender itself, behind its schedule
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rate = round(self.answers.total() / self.seconds, 1) if self.seconds else 0.0
        return {
            "answers": dict(self.answers),
            "achieved_per_s": rate,
            "acknowledge_ms": percentiles(self.times_ms),
            "sender_late_ms": percentiles(self.late_ms),
        }


class Patients:
    """Messages of simulated patients: number n is of patient n modulo their count."""

    def __init__(self, count: int) -> None:
        self._run = f"{int(time.time()):x}"  # control ids of this run alone
        self._charts = [
            Chart(
                application=APPLICATION,
                facility=AUTHORITY,
                patient=f"L{self._run}{n:06d}",
                birth_date="1960-07-02",
                sex="female" if n % 2 else "male",
                admitted_ms=BASE_MS,
            )
            for n in range(count)
        ]

    def admissions(self) -> Iterator[bytes]:
        """One ADT^A01 each."""
        for n, chart in enumerate(self._charts):
            yield chart.adt("A01", BASE_MS, f"{self._run}A{n:x}", "ICU")

    def result(self, number: int) -> bytes:
        """One ORU^R01."""
        hour, patient = divmod(number, len(self._charts))
        results = [
            Measured(code, LABELS[code], round(value * (1 + (number * n) % 17 / 170), 1), unit)
            for n, (code, value, unit) in enumerate(SIGNS + MORE_SIGNS, 1)
        ]
        at = BASE_MS + (hour + 1) * HOUR_MS
        return self._charts[patient].oru(at, f"{self._run}R{number:x}", "ICU", results, PANEL)


async def run_load(address: str, rate: float, seconds: float, patients: int, connections: int) -> Outcome:
    """Admit everybody, then send `rate` messages a second for `seconds`."""
    host, port = split_address(address)
    clients = [MllpClient(host, port) for _ in range(connections)]
    people, outcome = Patients(patients), Outcome()
    gate = asyncio.Semaphore(64)

    async def admit(n: int, message: bytes) -> None:
        async with gate:
            await clients[n % connections].send(message)

    await asyncio.gather(*(admit(n, message) for n, message in enumerate(people.admissions())))
    began = time.monotonic()

    async def one(number: int, due: float) -> None:
        message = people.result(number)
        outcome.late_ms.append(round((time.monotonic() - due) * 1000))
        try:
            code, _ = await clients[number % patients % connections].send(message)
        except (Unacknowledged, OSError) as error:
            code = type(error).__name__
        outcome.answers[code] += 1
        outcome.times_ms.append(round((time.monotonic() - due) * 1000))

    tasks: set[asyncio.Task[None]] = set()
    for number in range(round(rate * seconds)):
        due = began + number / rate
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(number, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.wait(tuple(tasks))
    outcome.seconds = time.monotonic() - began
    await asyncio.gather(*(client.close() for client in clients))
    return outcome


@contextmanager
def own_edge(whole: bool, folder: Path) -> Iterator[tuple[str, Services, dict[str, str]]]:
    """Kafka (and Triton), the services as processes; the MLLP address, the processes, the environment."""
    mllp, http, dicom, page = free_ports(4)
    environment = {"WARDSTREAM_HOME": str(folder), "WARDSTREAM_OBJECTS": str(folder / "objects")}
    ports = {"MLLP": mllp, "HTTP": http, "DICOM": dicom, "PAGE": page}
    for name, port in ports.items():
        environment |= {f"WARDSTREAM_{name}_PORT": str(port), f"WARDSTREAM_{name}_HOST": "127.0.0.1"}
    with ExitStack() as running:
        if whole:
            environment |= running.enter_context(stack(folder)).environment()
        else:
            kafka = running.enter_context(LocalKafka(folder / "kafka"))
            environment["WARDSTREAM_BOOTSTRAP"] = kafka.bootstrap
            create_topics(load_settings({**os.environ, **environment}))
        services = running.enter_context(Services(SERVICES if whole else ("edge",), folder / "logs", environment))
        yield f"127.0.0.1:{mllp}", services, environment


def main() -> int:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500.0, help="messages a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--edge", help="HOST:PORT of a running MLLP listener")
    parser.add_argument("--whole", action="store_true", help="all services, measured to the prediction")
    args = parser.parse_args()
    load = (args.rate, args.seconds, args.patients, args.connections)
    shown = {"rate_per_s": args.rate, "seconds": args.seconds, "patients": args.patients}
    if args.edge:
        shown |= asyncio.run(run_load(args.edge, *load)).as_dict()
    else:
        with (
            tempfile.TemporaryDirectory() as folder,
            own_edge(args.whole, Path(folder)) as (at, services, found),
        ):
            shown |= asyncio.run(run_load(at, *load)).as_dict()
            if args.whole:
                shown |= to_the_prediction(found)
            shown["peak_memory_mib"] = services.peak_memory_mib()
    print(json.dumps(shown, indent=2))
    return 0 if set(shown["answers"]) <= {"AA"} else 1


def to_the_prediction(environment: dict[str, str]) -> dict[str, Any]:
    """Wait until all is scored; times from the broker's stamp on the message to that on its prediction."""
    settings = load_settings({**os.environ, **environment})
    drained = await_drained(settings, 120.0, lambda _: None)
    whole = report(account(settings))
    names = ("messages_in", "predictions", "indeterminate", "lost", "dead_letters", "latency_ms", "throughput_per_s")
    return {"drained": drained, "end_to_end": {name: whole[name] for name in names}}


if __name__ == "__main__":
    sys.exit(main())
