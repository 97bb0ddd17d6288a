"""The whole system at a fixed rate: real Kafka, real Triton, all services, HL7 over MLLP in, predictions out.

    python -m benchmarks.pipeline --rate 500 --seconds 30 [--data cinc2019/train.parquet]

Open loop: each message has its time to be sent whether or not earlier ones were answered, and its acknowledgement is
timed from then (no coordinated omission). Prints rates, both latencies, and each process's peak memory and CPU time.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import tempfile
import time
from collections import deque
from pathlib import Path

import psutil

from services.bus.settings import load, site_from_settings
from services.edge.framing import framed
from services.local.demo import SERVICES
from services.local.drain import await_drained
from services.local.ports import free_ports
from services.local.processes import Services
from services.local.replay.channels import split_address
from services.local.replay.command import edge_of
from services.local.replay.run import items
from services.local.replay.source import Item, Source
from services.local.replay.sources import open_source
from services.local.report import account, percentiles, report
from services.local.stack import settings_for, stack

CONNECTIONS = 8
ACK_TIMEOUT_S = 60.0
FRAME_END = b"\x1c\r"
WARM_UP_S = 5  # of sending before the measured part: JIT of the JVM, first tables, first batches


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500.0, help="messages a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--data", type=Path, help="cinc2019 file or folder; simulated patients when absent")
    parser.add_argument("--json", type=Path, help="write the result here")
    args = parser.parse_args()
    source = open_source("cinc2019", args.data) if args.data else open_source("synthetic", None)
    count = int(args.rate * (args.seconds + WARM_UP_S))
    messages = hourly(source, count)
    with tempfile.TemporaryDirectory(prefix="wardstream-bench-") as folder:
        result = run(Path(folder), messages, args.rate)
    result |= {"source": source.name, "rate_asked_per_s": args.rate, "machine": machine()}
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def hourly(source: Source, count: int) -> list[Item]:
    """The first `count` HL7 messages of the source, patients side by side as on a ward."""
    limit = max(20, count // 25)
    found = (item for item in items(source, limit) if item.kind == "hl7v2")
    return list(itertools.islice(found, count))


def run(folder: Path, messages: list[Item], rate: float) -> dict[str, object]:
    """Start everything, send at the rate, drain, account."""
    with stack(folder) as made:
        names = ("MLLP", "HTTP", "DICOM", "PAGE")
        environment = made.environment() | {"WARDSTREAM_HOME": str(folder / "home")}
        environment |= {f"WARDSTREAM_{n}_PORT": str(p) for n, p in zip(names, free_ports(4), strict=True)}
        settings = load({**os.environ, **environment})
        site_from_settings(settings)
        with Services(SERVICES, folder / "logs", environment) as services:
            before, began = cpu_seconds(services), time.monotonic()
            acknowledged = asyncio.run(send_all(edge_of(settings).mllp, messages, rate))
            seconds = time.monotonic() - began
            drained = await_drained(settings_for(made), 120.0, lambda _: None)
            after = cpu_seconds(services)
            warm = int(rate * WARM_UP_S)
            found = account(settings)
            whole = report(found)
            return {
                "messages": len(messages),
                "sent_per_s": round(len(messages) / seconds, 1),
                "acknowledged_ms": percentiles([round(ms) for ms in acknowledged[warm:]]),
                "acknowledged_to_prediction_ms": percentiles(found.latencies_ms[warm:]),
                "drained": drained,
                "lost": whole["lost"],
                "predictions": whole["predictions"],
                "peak_memory_mib": services.peak_memory_mib(),
                "cpu_ms_per_message": {n: round(1000 * (after[n] - before[n]) / len(messages), 3) for n in after},
            }


def cpu_seconds(services: Services) -> dict[str, float]:
    """Processor time so far of each service, of the brokers, of the model server with its model processes, and of this
    process (the sender)."""
    rest = {"kafka": 0.0, "triton": 0.0, "sender": 0.0}
    for child in psutil.Process().children(recursive=True):
        name = "kafka" if child.name() == "java" else "triton" if child.name().startswith("triton") else None
        if name:
            rest[name] += sum(child.cpu_times()[:2])
    rest["sender"] = time.process_time()
    return services.cpu_seconds() | rest


class Sender(asyncio.Protocol):
    """One MLLP connection as cheap as it goes: what sends in earnest is another machine. Answers come in order."""

    def __init__(self) -> None:
        self._due: deque[tuple[int, float]] = deque()
        self._received = b""
        self.took: dict[int, float] = {}  # message number -> ms from when it was due to its acknowledgement
        self.refused: list[int] = []
        self.idle = asyncio.Event()
        self.idle.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, number: int, frame: bytes, due: float) -> None:
        """Send a frame that was due at that moment (monotonic, s)."""
        self._due.append((number, due))
        self.idle.clear()
        self.transport.write(frame)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        *answers, self._received = (self._received + data).split(FRAME_END)
        for answer in answers:
            number, due = self._due.popleft()
            self.took[number] = 1000 * (time.monotonic() - due)
            if b"\rMSA|AA|" not in answer:
                self.refused.append(number)
        if not self._due:
            self.idle.set()


async def send_all(address: str, messages: list[Item], rate: float) -> list[float]:
    """Send by the clock; milliseconds from each message's due time to its acknowledgement, in order of sending."""
    loop, (host, port) = asyncio.get_running_loop(), split_address(address)
    senders = [(await loop.create_connection(Sender, host, port))[1] for _ in range(CONNECTIONS)]
    ready = [(senders[hash(item.patient) % CONNECTIONS], framed(item.content())) for item in messages]
    start = time.monotonic() + 0.5
    for number, (sender, frame) in enumerate(ready):
        due = start + number / rate
        if (ahead := due - time.monotonic()) > 0:
            await asyncio.sleep(ahead)
        sender.send(number, frame, due)
    async with asyncio.timeout(ACK_TIMEOUT_S):
        for sender in senders:
            await sender.idle.wait()
    if refused := [number for sender in senders for number in sender.refused]:
        raise RuntimeError(f"{len(refused)} messages were not acknowledged with AA, the first is number {refused[0]}")
    took = {number: ms for sender in senders for number, ms in sender.took.items()}
    return [took[number] for number in range(len(messages))]


def machine() -> str:
    """What it ran on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
