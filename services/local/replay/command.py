"""`wardstream replay SOURCE PATH`."""

import argparse
import socket
import sys
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from services.bus.settings import Settings, load
from services.local.replay.channels import Edge, split_address
from services.local.replay.chart import stamp
from services.local.replay.disorder import Disorder
from services.local.replay.report import ReplayReport
from services.local.replay.run import items, replay
from services.local.replay.source import Source
from services.local.replay.sources import open_source

CONNECT_TIMEOUT_S = 3.0


def command(args: argparse.Namespace) -> int:
    """Replay. Exit status 0: every message was kept or refused; 1: some had no answer; 2: the source cannot be read."""
    try:
        source = open_source(args.source, args.path)
        if args.disorder is not None:
            source = Disorder(source, args.disorder)
        if args.dry_run:
            return show(source, args.limit, sys.stdout)
        edge = edge_of(load())
        if missing := unreachable(edge, args.source):
            print(f"wardstream replay: nobody listens at {missing}; `wardstream run edge` starts one", file=sys.stderr)
            return 2
        console = Console(stderr=True)
        with progress_bar(console, source) as moved:
            report = replay(
                source,
                edge=edge,
                speed=args.speed,
                limit=args.limit,
                connections=args.connections,
                progress=moved,
            )
    except BrokenPipeError:
        raise
    except (OSError, ValueError, KeyError) as error:
        print(f"wardstream replay: {error}", file=sys.stderr)
        return 2
    print(summary(report))
    return 1 if report.unacknowledged.total() else 0


def edge_of(settings: Settings) -> Edge:
    """The edge that the settings describe, as seen from this machine."""

    def near(host: str, port: int) -> str:
        return f"{'127.0.0.1' if host in ('0.0.0.0', '::', '') else host}:{port}"

    return Edge(
        near(settings.mllp_host, settings.mllp_port),
        near(settings.http_host, settings.http_port),
        near(settings.dicom_host, settings.dicom_port),
        settings.dicom_ae_title,
        settings.token,
    )


def unreachable(edge: Edge, source: str) -> str:
    """The first address that the source sends to and that takes no connection; empty when all do."""
    used = {"fhir": [edge.http], "nih_cxr": [edge.mllp, edge.dicom], "synthetic": [edge.mllp, edge.dicom]}
    for address in used.get(source, [edge.mllp]):
        try:
            socket.create_connection(split_address(address), timeout=CONNECT_TIMEOUT_S).close()
        except OSError:
            return address
    return ""


def show(source: Source, limit: int | None, to: TextIO) -> int:
    """Print the messages instead of sending them: segments on lines, a blank line after each message."""
    for item in items(source, limit):
        if item.kind == "dicom":
            to.write(f"[DICOM {item.label} at {stamp(item.time_ms)}]\n\n")
        else:
            to.write(item.content().decode("utf-8", "replace").replace("\r", "\n").rstrip() + "\n\n")
    return 0


def summary(report: ReplayReport) -> str:
    """What a person wants to know of a replay."""
    formats = ", ".join(f"{count} {kind}" for kind, count in sorted(report.messages.items())) or "nothing"
    answers = ", ".join(f"{code} {count}" for code, count in sorted(report.answers.items()))
    return (
        f"{report.source}{' (synthetic)' if report.synthetic else ''}: {report.patients} patients, {formats} "
        f"in {report.seconds:.1f} s ({report.per_second}/s)\n"
        f"  kept {report.acknowledged.total()}, refused {report.rejected.total()}, "
        f"unanswered {report.unacknowledged.total()}, sent again {report.retries}; answers: {answers or 'none'}"
        + ("\n  stopped: a message was not kept after every retry" if report.stopped else "")
    )


class progress_bar:
    """Context manager: a line that says where the replay is; yields what `replay` calls."""

    def __init__(self, console: Console, source: Source) -> None:
        title = f"replaying {source.name}{' (synthetic)' if source.synthetic else ''}"
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("patients · {task.fields[messages]} messages · event time {task.fields[at]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, messages=0, at="-")

    def __enter__(self) -> "progress_bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, report: ReplayReport, at_ms: int, patients: int) -> None:
        self._bar.update(
            self._task,
            total=patients,
            completed=report.finished,
            messages=report.sent,
            at=f"{stamp(at_ms)[:8]} {stamp(at_ms)[8:12]}" if at_ms else "-",
        )
