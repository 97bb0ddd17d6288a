"""Services as child processes: started together, awaited by their readiness, stopped by their pids."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from services.bus.settings import CHECKOUT
from services.local.ports import free_ports

READY_TIMEOUT_S = 90.0  # seven interpreters importing at once on two cores take 10-20 s
STOP_TIMEOUT_S = 20.0  # a service finishes its batch, commits and leaves its group
POLL_S = 0.1


class ServiceFailed(RuntimeError):
    """A service ended or did not become ready; the text has the end of its log."""


class Services:
    """The services of one run, by name; their logs are `folder/NAME.log`."""

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        environment: dict[str, str],
        own: Mapping[str, dict[str, str]] | None = None,
    ) -> None:
        """`environment` is every service's, `own` holds what single ones have besides."""
        self.names, self.folder = tuple(names), folder
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._environment, self._own = environment, own or {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Services":
        try:
            for name in self.names:
                self.start(name)
            self.await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str) -> None:
        """Start one service (again)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "PYTHONPATH": str(CHECKOUT),
            **self._environment,
            **self._own.get(name, {}),
            "WARDSTREAM_METRICS_PORT": str(self.ports[name]),
            "WARDSTREAM_METRICS_HOST": "127.0.0.1",
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "services.cli", "run", name],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops them in order
            )

    def await_ready(self) -> None:
        """Return when every service says that it is ready; raises ServiceFailed."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        waiting = set(self.names)
        while waiting:
            for name in sorted(waiting):
                if _ready(self.ports[name]):
                    waiting.discard(name)
            self.check()
            if waiting and time.monotonic() > deadline:
                raise ServiceFailed(f"not ready after {READY_TIMEOUT_S:.0f} s: {', '.join(sorted(waiting))}")
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raise ServiceFailed if any service has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise ServiceFailed(f"{name} ended with status {process.returncode}:\n{self._log_end(name)}")

    def kill(self, name: str) -> None:
        """SIGKILL one service: the crash."""
        process = self._processes.pop(name)
        _signal_tree(process, signal.SIGKILL)
        process.wait()

    def pause(self, name: str) -> None:
        """SIGSTOP one service: the machine that stands still. `proceed` lets it go on."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def proceed(self, name: str) -> None:
        """SIGCONT."""
        self._processes[name].send_signal(signal.SIGCONT)

    def revive(self) -> list[str]:
        """Start again what has ended by itself, as a supervisor does; the names."""
        ended = [name for name, process in self._processes.items() if process.poll() is not None]
        for name in ended:
            self.start(name)
        return ended

    def peak_memory_mib(self) -> dict[str, float]:
        """Peak resident memory of each service, in MiB (Linux VmHWM), its children included."""
        return {name: round(peak_memory(process.pid), 1) for name, process in self._processes.items()}

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time of each service so far, in seconds, its children included."""
        return {name: round(_cpu(process.pid), 2) for name, process in self._processes.items()}

    def stop(self) -> None:
        """SIGTERM the services in the order of the flow, wait, SIGKILL what is left."""
        for name in self.names:
            process = self._processes.get(name)
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_tree(process, signal.SIGKILL)
                process.wait()
        self._processes.clear()

    def _log_end(self, name: str, lines: int = 15) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])


def peak_memory(pid: int) -> float:
    """Peak resident memory of a process and its children in MiB; 0 when it has gone."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(_high_water(member.pid) for member in family) / 1024


def _cpu(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(sum(member.cpu_times()[:2]) for member in family)
    except psutil.NoSuchProcess:
        return 0.0


def _high_water(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def _signal_tree(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    try:
        os.killpg(process.pid, sign)
    except ProcessLookupError:
        return


def _ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
