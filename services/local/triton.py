"""The real tritonserver, on CPU, without Docker: the binary that the `nvidia-pytriton` wheel carries.

It lives in an environment of its own (`.venv-triton`, numpy < 2: with numpy 2 the server's Python backend returns
empty outputs). docs/decisions/local-triton.md says why each option is what it is.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

import tritonclient.grpc as grpc_client

from services.inference.probe import check_probe, echo_name, probe_inputs
from services.local import triton_repository
from services.local.ports import free_ports

START_TIMEOUT_S = 60.0  # 2 s is usual; a busy 2-core machine loading several models needs more
STOP_TIMEOUT_S = 8.0  # SIGTERM drains requests in flight (exit time-out 5 s), then SIGKILL
PROBE_TIMEOUT_S = 10.0
POLL_S = 0.05
SUPERVISE_S = 3.0
ROOT = Path(__file__).resolve().parents[2]


class TritonError(RuntimeError):
    """The local Triton cannot be started or used; the text says what is missing and how to get it."""


@dataclass(frozen=True)
class Endpoint:
    """Where a running server listens, all on loopback. `url` is what the services' client takes."""

    pid: int
    grpc_port: int
    http_port: int
    metrics_port: int

    @property
    def url(self) -> str:
        """host:port of gRPC."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"


class LocalTriton:
    """One tritonserver serving `repository`; its files (log, pid, prepared repository) are below `folder`.

    `start` returns once a real inference of every model has passed. A server that an earlier process left in the same
    folder is stopped first.
    """

    def __init__(self, folder: Path, repository: Path, *, venv: Path | None = None) -> None:
        self._folder = folder
        self._repository = repository
        self._venv = venv or Path(os.environ.get("WARDSTREAM_TRITON_VENV") or ROOT / ".venv-triton")
        self._process: subprocess.Popen[bytes] | None = None
        self._endpoint: Endpoint | None = None
        self._ports: list[int] | None = None
        self._ending = threading.Event()
        self._supervisor: threading.Thread | None = None
        self.models: list[str] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def endpoint(self) -> Endpoint:
        """Raises TritonError before `start`."""
        if self._endpoint is None:
            raise TritonError("the local Triton is not started")
        return self._endpoint

    @property
    def url(self) -> str:
        return self.endpoint.url

    @property
    def log(self) -> Path:
        return self._folder / "triton.log"

    def start(self, timeout_s: float = START_TIMEOUT_S, ports: list[int] | None = None) -> Endpoint:
        """Start the server and wait until it answers for every model; free ports unless gRPC, HTTP, metrics are given.

        Raises TritonError with the end of the server's log.
        """
        stop_left_over(self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self.models = triton_repository.prepare(self._repository, self._folder / "repository")
        if not self.models:
            raise TritonError(f"no complete model in {self._repository}: train or export one first")
        ports = self._ports = ports or free_ports(3)
        install = _Installation(self._venv)
        install.prepare(self._folder)
        command = install.command(self._folder, ports, shm_prefix(self._folder))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=install.environment(),
                start_new_session=True,
            )
        self._endpoint = Endpoint(self._process.pid, *ports)
        _pid_file(self._folder).write_text(json.dumps(asdict(self._endpoint)))
        try:
            self._wait(time.monotonic() + timeout_s)
        except BaseException:
            self._kill()
            raise
        return self._endpoint

    def stop(self) -> None:
        """Stop the server and its model processes, and remove their shared memory. Safe to call twice."""
        self._end_supervision()
        if self._process is not None:
            _terminate(self._process.pid, self._process)
            self._process = None
        self._endpoint = None
        _forget(self._folder)

    def kill(self) -> None:
        """As `stop`, at once: for tests, and for a server that is broken already (it would not end by itself)."""
        self._end_supervision()
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            _terminate(self._process.pid, self._process, grace_s=0.0)
            self._process = None
        self._endpoint = None
        _forget(self._folder)

    def restart(self) -> Endpoint:
        """Kill and start again on the same ports, so that clients find it where it was."""
        self._kill()
        return self.start(ports=self._ports)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def broken(self, timeout_s: float = PROBE_TIMEOUT_S) -> list[str]:
        """The models that do not answer a real inference. The server's own ready flags stay true when a model
        process is killed, so they are not asked."""
        return [model for model in self.models if not self._answers(model, timeout_s)]

    def heal(self, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
        """Restart the server if it or any of its models does not answer; True when it did restart."""
        if self.running and not self.broken(timeout_s):
            return False
        self.restart()
        return True

    def supervise(self, every_s: float = SUPERVISE_S) -> None:
        """From now on, in a thread: restart a server that has ended, or of which a model fails two probes in a row,
        until `stop` or `kill`."""

        def watch() -> None:
            while not self._ending.wait(every_s):
                if not self.running or (self.broken() and self.broken()):
                    with suppress(TritonError):
                        self.restart()

        self._ending.clear()
        self._supervisor = threading.Thread(target=watch, name="triton-supervisor", daemon=True)
        self._supervisor.start()

    def _end_supervision(self) -> None:
        self._ending.set()
        if self._supervisor is not None and self._supervisor is not threading.current_thread():
            self._supervisor.join()
            self._supervisor = None

    def _answers(self, model: str, timeout_s: float) -> bool:
        if self._endpoint is None:
            return False
        with suppress(grpc_client.InferenceServerException, ValueError), _client(self._endpoint.url) as client:
            probe(client, model, timeout_s)
            return True
        return False

    def _wait(self, deadline: float) -> None:
        waiting = list(self.models)
        while waiting:
            if not self.running:
                raise TritonError(f"tritonserver ended while starting:\n{self._log_tail()}")
            if self._live() and self._answers(waiting[0], PROBE_TIMEOUT_S):
                waiting.pop(0)
            elif reason := self._refusal(waiting[0]):
                raise TritonError(f"model {waiting[0]} cannot be loaded: {reason}")
            elif time.monotonic() > deadline:
                raise TritonError(f"model {waiting[0]} does not answer:\n{self._log_tail()}")
            else:
                time.sleep(POLL_S)

    def _refusal(self, model: str) -> str:
        """Why the server gave up loading the model; empty while it has not."""
        with suppress(grpc_client.InferenceServerException), _client(self.endpoint.url) as client:
            index = client.get_model_repository_index(client_timeout=PROBE_TIMEOUT_S)
            return next((one.reason for one in index.models if one.name == model and one.state == "UNAVAILABLE"), "")
        return ""

    def _live(self) -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.endpoint.grpc_port)) == 0

    def _log_tail(self, lines: int = 15) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class _Installation:
    """What the wheel installed, and how to call it."""

    def __init__(self, venv: Path) -> None:
        self.python = venv / "bin" / "python"
        if not self.python.exists():
            raise TritonError(f"no Triton environment at {venv}: run `make .venv-triton`")
        self.venv = venv
        facts = subprocess.run([self.python, "-c", _FACTS], check=True, capture_output=True, text=True, timeout=60)
        self.version, libdir, library, site = facts.stdout.split("\n")[:4]
        self.libdir = libdir
        self.site = Path(site)
        self.server = self.site / "pytriton" / "tritonserver"
        if not (self.server / "bin" / "tritonserver").exists():
            raise TritonError(f"{venv} has no nvidia-pytriton: run `make .venv-triton`")
        if not library:
            raise TritonError(
                f"Python {self.version} has no libpython{self.version}.so.1.0, which Triton's Python backend "
                f"loads: install libpython{self.version} (Debian, Ubuntu) or a Python built with --enable-shared"
            )

    def prepare(self, folder: Path) -> None:
        """A private backends folder whose stub fits the environment's Python version."""
        backends = folder / "backends" / "python"
        shutil.rmtree(backends, ignore_errors=True)
        backends.mkdir(parents=True)
        for file in (self.server / "backends" / "python").iterdir():
            if file.is_file():
                (backends / file.name).symlink_to(file)
        source = self.server / "python_backend_stubs" / self.version / "triton_python_backend_stub"
        if not source.exists():
            raise TritonError(f"nvidia-pytriton has no Python backend for Python {self.version}: use 3.11 to 3.13")
        stub = backends / source.name
        shutil.copyfile(source, stub)
        stub.chmod(0o755)

    def command(self, folder: Path, ports: list[int], prefix: str) -> list[str]:
        grpc, http, metrics = ports
        return [
            str(self.server / "bin" / "tritonserver"),
            f"--model-repository={folder / 'repository'}",
            f"--backend-directory={folder / 'backends'}",
            f"--cache-directory={self.server / 'caches'}",
            f"--backend-config=python,shm-region-prefix-name={prefix}",
            "--model-config-name=cpu",
            "--model-control-mode=explicit",
            "--load-model=*",
            "--strict-readiness=false",
            "--exit-on-error=false",
            "--exit-timeout-secs=5",
            "--disable-auto-complete-config",
            "--http-address=127.0.0.1",
            "--grpc-address=127.0.0.1",
            "--metrics-address=127.0.0.1",
            f"--grpc-port={grpc}",
            f"--http-port={http}",
            f"--metrics-port={metrics}",
            "--log-verbose=0",
        ]

    def environment(self) -> dict[str, str]:
        """The stub finds its environment's Python through PATH, libpython and libcudart through LD_LIBRARY_PATH."""
        own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        libraries = [self.libdir, str(self.site / "nvidia_pytriton.libs"), os.environ.get("LD_LIBRARY_PATH", "")]
        return own | {
            "PATH": f"{self.venv / 'bin'}:{os.environ.get('PATH', '')}",
            "LD_LIBRARY_PATH": ":".join(part for part in libraries if part),
            "VIRTUAL_ENV": str(self.venv),
            "OMP_NUM_THREADS": "1",
        }


_FACTS = """
import pathlib, sys, sysconfig
version = f"{sys.version_info[0]}.{sys.version_info[1]}"
name = f"libpython{version}.so.1.0"
folders = [sysconfig.get_config_var("LIBDIR") or "", f"{sys.base_prefix}/lib"]
folders += [f"{f}/{sysconfig.get_config_var('MULTIARCH')}" for f in folders]
found = next((f for f in folders if pathlib.Path(f, name).exists()), "")
print(version, found, "yes" if found else "", sysconfig.get_path("purelib"), sep="\\n")
"""


def probe(client: grpc_client.InferenceServerClient, model: str, timeout_s: float = PROBE_TIMEOUT_S) -> None:
    """One real inference of one row. Raises InferenceServerException or ValueError when the model does not answer."""
    metadata = client.get_model_metadata(model, client_timeout=timeout_s)
    arrays = probe_inputs(metadata)
    inputs = []
    for name, (datatype, array) in arrays.items():
        tensor = grpc_client.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    answer = client.infer(model, inputs, client_timeout=timeout_s)
    check_probe(arrays, answer.as_numpy(echo_name(metadata)))


def stop_left_over(folder: Path) -> bool:
    """Stop the server whose pid file lies in `folder`, if that process is still a tritonserver. True if one was."""
    path = _pid_file(folder)
    found = False
    with suppress(OSError, ValueError, KeyError):
        pid = int(json.loads(path.read_text())["pid"])
        if b"tritonserver" in Path(f"/proc/{pid}/cmdline").read_bytes():
            found = True
            _terminate(pid, None)
    _forget(folder)
    return found


def running_endpoint(folder: Path) -> Endpoint | None:
    """The endpoint of the server that another process started in `folder`; None when there is none."""
    with suppress(OSError, ValueError, TypeError):
        endpoint = Endpoint(**json.loads(_pid_file(folder).read_text()))
        if b"tritonserver" in Path(f"/proc/{endpoint.pid}/cmdline").read_bytes():
            return endpoint
    return None


def shm_prefix(folder: Path) -> str:
    """Name prefix of the Python backend's shared memory regions, one for each folder."""
    return f"wardstream_triton_{blake2b(str(folder.resolve()).encode(), digest_size=6).hexdigest()}_"


def _terminate(pid: int, process: subprocess.Popen[bytes] | None, grace_s: float = STOP_TIMEOUT_S) -> None:
    """SIGTERM to the server, then SIGKILL to its whole process group (the model processes are in it)."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM if grace_s else signal.SIGKILL)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and _alive(pid, process):
        time.sleep(POLL_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if process is not None:
        process.wait()


def _alive(pid: int, process: subprocess.Popen[bytes] | None) -> bool:
    if process is not None:
        return process.poll() is None
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _forget(folder: Path) -> None:
    _pid_file(folder).unlink(missing_ok=True)
    for region in Path("/dev/shm").glob(f"{shm_prefix(folder)}*"):
        region.unlink(missing_ok=True)


def _pid_file(folder: Path) -> Path:
    return folder / "triton.json"


def _client(url: str) -> grpc_client.InferenceServerClient:
    return grpc_client.InferenceServerClient(url)


def server_version(url: str) -> str:
    """The version that the server at host:port (gRPC) states. Raises TritonError when none answers."""
    try:
        with _client(url) as client:
            return str(client.get_server_metadata(client_timeout=PROBE_TIMEOUT_S).version)
    except grpc_client.InferenceServerException as error:
        raise TritonError(f"no Triton answers at {url}: {error.status()}") from None
