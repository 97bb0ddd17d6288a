"""The main job on one machine: real Kafka, real Triton, all services, real or simulated patients, a page."""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from services.bus.settings import CHECKOUT, load
from services.local.drain import await_drained
from services.local.kafka_artifacts import KAFKA_VERSION
from services.local.ports import free_ports, is_free
from services.local.processes import ServiceFailed, Services
from services.local.replay.channels import Edge
from services.local.replay.command import edge_of, progress_bar, summary
from services.local.replay.report import ReplayReport
from services.local.replay.run import replay
from services.local.replay.sources import open_source
from services.local.report import account, report
from services.local.stack import Stack, settings_for, stack
from services.local.triton import server_version

SERVICES = ("edge", "normalize", "assemble", "encode", "score", "fallback", "monitor", "deliver")
SHARED_DATA = CHECKOUT.parent / "shared" / "data"


@dataclass(frozen=True)
class Cast:
    """One data set's part in the demo: the replay source, its path, and how many patients unless told otherwise."""

    source: str
    path: Path | None
    patients: int


DEMO_SPEED = 1800.0  # half an hour of event time a second: a person sees the ward change
DRAIN_TIMEOUT_S = 120.0  # without any step moving
KILL_TIMEOUT_S = 5.0
PAGE_PORT = 8090

SYNTHETIC = Cast("synthetic", None, 24)


def demo(args: argparse.Namespace) -> int:
    """Run it; returns 0 only if nothing was lost and every service ended well.

    Told to end, it stops all it started and raises SystemExit with 128 and the signal's number (143 for SIGTERM).
    """
    try:
        casts = choose(args.data, args.synthetic)
    except ValueError as error:
        print(f"wardstream demo: {error}", file=sys.stderr)
        return 2
    runs = load().home / "demo"
    runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=runs))
    try:
        with _ended_by_signals():
            return _run(args, casts, folder)
    except (ServiceFailed, RuntimeError) as error:
        print(f"wardstream demo: {error}", file=sys.stderr)
        return 1
    finally:
        if args.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind what runs inside, as Ctrl-C does. Whatever is left of what was started is then killed:
    a signal can come between a process's start and our noting it down."""

    def end(number: int, _frame: object) -> None:
        for one in heard:
            signal.signal(one, lambda *_: None)  # told once is enough: the unwinding goes on undisturbed
        raise SystemExit(128 + number)

    # A hang-up that is ignored already (nohup) stays so.
    heard = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, end) for one in heard}
    known = {child.pid for child in psutil.Process().children()}
    try:
        yield
    finally:
        left = [child for child in psutil.Process().children(recursive=True) if child.pid not in known]
        for child in left:
            with suppress(psutil.NoSuchProcess):
                child.kill()  # psutil makes sure that the pid is still the same process's
        psutil.wait_procs(left, timeout=KILL_TIMEOUT_S)
        for one, handler in before.items():
            signal.signal(one, handler)


def choose(data: Path | None, synthetic: bool) -> list[Cast]:
    """Which data sets to replay: those below `data`, else those found beside the checkout, else simulated patients.

    Raises ValueError when `data` is given and holds nothing that we know.
    """
    if synthetic:
        return [SYNTHETIC]
    if data is not None:
        found = known_in(data)
        if not found:
            raise ValueError(
                f"{data} holds no data set that we know (cinc2019 .parquet/.psv, cinc2012 .parquet/.txt, eicu .csv.gz, "
                "nih_cxr images, HL7 .hl7 files)"
            )
        return found
    return known_in(SHARED_DATA) or [SYNTHETIC]


def known_in(path: Path) -> list[Cast]:
    """The data sets at or directly below a path, told by their files; raises ValueError when it does not exist."""
    if not path.exists():
        if path == SHARED_DATA:
            return []
        raise ValueError(f"{path} does not exist")
    below = sorted(path.iterdir()) if path.is_dir() else []
    return _told_by(path) or [cast for place in below for cast in _told_by(place)]


def _told_by(place: Path) -> list[Cast]:
    if place.is_dir():
        files = {entry.name for entry in place.iterdir()}
        if "train.parquet" in files or any(name.endswith(".psv") for name in files):
            return [Cast("cinc2019", place / "train.parquet" if "train.parquet" in files else place, 24)]
        if "set-a.parquet" in files or "Outcomes-a.txt" in files:
            return [Cast("cinc2012", place, 8)]
        if "patient.csv.gz" in files:
            return [Cast("eicu", place, 8)]
        if "labels.csv" in files and "images" in files:
            return [Cast("nih_cxr", place, 8)]
        return [Cast("hl7v2", place, 1000)] if any(name.endswith(".hl7") for name in files) else []
    kinds = {".psv": "cinc2019", ".hl7": "hl7v2"}
    if place.suffix == ".parquet":
        return [Cast("cinc2012" if place.name.startswith("set-") else "cinc2019", place, 24)]
    return [Cast(kinds[place.suffix], place, 24)] if place.suffix in kinds else []


def _run(args: argparse.Namespace, casts: list[Cast], folder: Path) -> int:
    say = print
    data = "simulated patients" if casts == [SYNTHETIC] else ", ".join(cast.source for cast in casts)
    say(f"Wardstream demo: replaying {data}")
    with ExitStack() as running:
        made = running.enter_context(stack(folder, args.brokers))
        environment, addresses = _environment(made, folder)
        say("starting the services: " + ", ".join(SERVICES))
        services = running.enter_context(Services(SERVICES, folder / "logs", environment))
        if not args.once:
            say(f"\n  The page: http://{addresses['page']}\n  Stop with Ctrl-C.\n")
        before = services.cpu_seconds()
        sent = replay_all(args, casts, edge_of(load({**os.environ, **environment})))
        services.check()
        say("replayed; waiting until everything is scored")
        settings = settings_for(made)
        drained = await_drained(settings, DRAIN_TIMEOUT_S, _show_lag)
        services.check()
        seen = account(settings)
        result = report(
            seen,
            seen.unkept(sent.acknowledged, sent.digests),
            source="+".join(cast.source for cast in casts),
            synthetic=sent.synthetic,
            sent=sent.as_dict(),
            drained=drained,
            brokers=args.brokers,
            kafka_version=KAFKA_VERSION,
            triton_version=server_version(made.triton_url),
            peak_memory_mib=services.peak_memory_mib(),
            cpu_seconds={name: round(after - before[name], 2) for name, after in services.cpu_seconds().items()},
        )
        _show(result)
        if args.report:
            args.report.write_text(json.dumps(result, indent=2) + "\n")
            say(f"report: {args.report}")
        if not args.once:
            _stay(services, addresses["page"])
    return 0 if drained and result["lost"] == 0 and not sent.unacknowledged.total() else 1


def replay_all(args: argparse.Namespace, casts: list[Cast], edge: Edge) -> ReplayReport:
    """Replay the data sets one after the other; returns all their reports together."""
    speed = args.speed if args.speed is not None else (0.0 if args.once else DEMO_SPEED)
    whole = ReplayReport("")
    for cast in casts:
        source = open_source(cast.source, cast.path)
        with progress_bar(Console(stderr=True), source) as moved:
            report = replay(source, edge=edge, speed=speed, limit=args.patients or cast.patients, progress=moved)
        print("  " + summary(report).replace("\n", "\n  "))
        whole = whole + report
    return whole


def _environment(made: Stack, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The services' variables, and the addresses that people and the replay use."""
    mllp, http, dicom, page = free_ports(4)
    if is_free(PAGE_PORT):
        page = PAGE_PORT
    ports = {"MLLP_PORT": mllp, "HTTP_PORT": http, "DICOM_PORT": dicom, "PAGE_PORT": page}
    hosts = dict.fromkeys(("MLLP_HOST", "HTTP_HOST", "DICOM_HOST", "PAGE_HOST"), "127.0.0.1")
    environment = {f"WARDSTREAM_{name}": str(value) for name, value in {**ports, **hosts}.items()}
    environment |= made.environment() | {"WARDSTREAM_OBJECTS": str(folder / "objects"), "WARDSTREAM_HOME": str(folder)}
    addresses = {"mllp": mllp, "http": http, "dicom": dicom, "page": page}
    return environment, {name: f"127.0.0.1:{port}" for name, port in addresses.items()}


def _stay(services: Services, page: str) -> None:
    print(f"\nStill running: http://{page} (Ctrl-C stops everything)")
    try:
        while True:
            services.check()
            time.sleep(1)
    except KeyboardInterrupt:
        print("\nstopping")


def _show_lag(lags: dict[str, int]) -> None:
    if sys.stdout.isatty():
        waiting = ", ".join(f"{step} {lag}" for step, lag in lags.items())
        print(f"\r\033[K  waiting: {waiting}", end="", flush=True)


def _show(result: dict[str, Any]) -> None:
    latency = result["latency_ms"]
    print(f"""
Source: {result["source"]}
  messages in     {result["messages_in"]}
  clinical events {result["clinical_events"]}, records {result["records"]} of {result["patients"]} patients
  predictions     {result["predictions"]} ({result["indeterminate"]} indeterminate, {result["fallback"]} fallback)
  filtered        {result["filtered"]}, dead letters {result["dead_letters"]}, lost {result["lost"]}
  latency ms      {latency}
  throughput      {result["throughput_per_s"]} messages/s
""")
