"""Events per second of the engines, next to consuming with bare aiokafka, on the same messages in one run.

    python -m benchmarks.engine --messages 20000 --state-kib 24

Each engine runs in a process of its own against one local broker on the same machine. Timed from the first message
that the step sees to the last, so that starting does not count; a keyed step reads and writes a state of
`--state-kib` for every message and publishes one as large, as `assemble` does with patient records. The figures
per second of the process's own CPU time do not depend on what else the machine is doing.
"""

import argparse
import asyncio
import dataclasses
import json
import multiprocessing
import os
import random
import resource
import signal
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer
from kafka import KafkaProducer
from rich.console import Console
from rich.table import Table

from services.bus.admin import create_topics
from services.bus.connect import connection, kafka_python_producer
from services.bus.engine import Result
from services.bus.messages import Message, Output
from services.bus.run import run_step
from services.bus.settings import Settings, load
from services.bus.topics import LARGE, Topic
from services.local.kafka import LocalKafka

KEYS = 500
VALUE_BYTES = 1024
PARTITIONS = 4


class Stopwatch:
    """Counts messages; at the last it writes its figures and ends the process as an operator would."""

    def __init__(self, total: int, report: Path) -> None:
        self._left, self._total, self._report = total, total, report
        self._began = self._cpu_began = 0.0

    def count(self, messages: int) -> None:
        """So many messages were seen."""
        now = time.perf_counter()
        if self._left == self._total:
            self._began, self._cpu_began = now, time.process_time()
        self._left -= messages
        if self._left <= 0 and not self._report.exists():
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            figures = {
                "per_s": self._total / (now - self._began),
                "per_cpu_s": self._total / (time.process_time() - self._cpu_began),
                "peak_mib": peak,
            }
            self._report.write_text(json.dumps(figures))
            os.kill(os.getpid(), signal.SIGTERM)


class Keyed:
    """Rewrites a state of some size for every message and publishes it."""

    def __init__(self, name: str, source: Topic, out: Topic, state_bytes: int, watch: Stopwatch) -> None:
        self.name, self.inputs, self._out, self._watch = name, (source,), out, watch
        text = (
            random.Random(1).randbytes(state_bytes).hex()[: max(state_bytes - 8, 0)]
        )  # compresses to half, as JSON does
        self._filling = text.encode()

    def __call__(self, message: Message, state: bytes | None) -> Result:
        seen = (int(state[:8]) if state else 0) + 1
        new = b"%08d" % seen + self._filling
        self._watch.count(1)
        return Result(new, [Output(self._out, (message.key or b"").decode(), new)])


class Batch:
    """Answers every message with one as large."""

    max_batch = 256

    def __init__(self, name: str, source: Topic, out: Topic, watch: Stopwatch) -> None:
        self.name, self.inputs, self._out, self._watch = name, (source,), out, watch

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Sequence[Output]]:
        self._watch.count(len(messages))
        return [[Output(self._out, (m.key or b"").decode(), m.value)] for m in messages]


def _publish(settings: Settings, source: Topic, count: int) -> None:
    producer = KafkaProducer(**kafka_python_producer(settings))
    chance = random.Random(2)
    for n in range(count):
        producer.send(source.name, key=b"%032x" % (n % KEYS), value=chance.randbytes(VALUE_BYTES // 2).hex().encode())
    producer.flush()
    producer.close()


def _run(kind: str, settings: Settings, source: Topic, out: Topic, options: argparse.Namespace, report: Path) -> None:
    watch = Stopwatch(options.messages, report)
    name = f"bench-{uuid.uuid4().hex[:6]}"
    step: Any = Batch(name, source, out, watch)
    if kind == "keyed":
        step = Keyed(name, source, out, options.state_kib << 10, watch)
    run_step(step, settings)


def _bare(settings: Settings, source: Topic, count: int) -> float:
    async def consume() -> float:
        consumer = AIOKafkaConsumer(source.name, **connection(settings), auto_offset_reset="earliest")
        await consumer.start()
        try:
            seen, began = 0, time.perf_counter()
            while seen < count:
                seen += sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))
            return count / (time.perf_counter() - began)
        finally:
            await consumer.stop()

    return asyncio.run(consume())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--state-kib", type=int, nargs="+", default=[1, 24])
    parser.add_argument("--engines", nargs="+", default=["faust", "loop"])
    chosen = parser.parse_args()
    table = Table("engine", "step", "state and output", "events/s", "per s of its CPU", "peak MiB")
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka", die_with_parent=True) as kafka:
        settings = load({"WARDSTREAM_BOOTSTRAP": kafka.bootstrap, "WARDSTREAM_METRICS_HOST": "127.0.0.1"})
        source = Topic("bench-in", "key", "bytes", "", partitions=PARTITIONS)
        create_topics(settings, [source])
        _publish(settings, source, chosen.messages)
        table.add_row("aiokafka alone", "consume", "-", f"{_bare(settings, source, chosen.messages):,.0f}", "", "")
        for engine in chosen.engines:
            for kind, kib in [("batch", 1), *(("keyed", kib) for kib in chosen.state_kib)]:
                out = Topic(f"bench-{uuid.uuid4().hex[:6]}", "key", "bytes", "", partitions=PARTITIONS, max_bytes=LARGE)
                create_topics(settings, [out])
                report = Path(folder) / f"{out.name}.json"
                mine = dataclasses.replace(settings, engine=engine, home=Path(folder) / out.name)
                options = argparse.Namespace(messages=chosen.messages, state_kib=kib)
                arguments = (kind, mine, source, out, options, report)
                process = multiprocessing.get_context("spawn").Process(target=_run, args=arguments)
                process.start()
                process.join()
                got = json.loads(report.read_text())
                figures = (f"{got['per_s']:,.0f}", f"{got['per_cpu_s']:,.0f}", f"{got['peak_mib']:.0f}")
                table.add_row(engine, kind, f"{kib} KiB", *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
