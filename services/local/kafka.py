"""The local Kafka: Apache Kafka itself, one or three brokers in KRaft mode, without Docker.

    with LocalKafka(Path(".wardstream/kafka")) as kafka:
        print(kafka.bootstrap)

Each broker is one JVM that is controller too. Its data, log and settings lie in `folder/broker-N`; a folder keeps its
cluster, topics and offsets from one start to the next. `folder/running.json` tells other processes
(`wardstream down`, a second `up`) what runs: see `LocalKafka.attach`.
"""

import base64
import ctypes
import json
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from services.bus.settings import load
from services.local.kafka_artifacts import KAFKA_VERSION, Say, fetch, find_java
from services.local.kafka_security import Security
from services.local.ports import free_ports

HEAP = ("-Xms64m", "-Xmx400m")
QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")  # 2 s to ready on two cores
START_TIMEOUT_S = 120.0  # a cold disk and a busy machine; 2-4 s is usual
STOP_TIMEOUT_S = 30.0  # a broker moves its leaderships away and flushes before it ends
POLL_S = 0.05
MAX_MESSAGE_BYTES = 33 << 20  # above the largest topic's (dead letters hold a raw message and its surroundings)
PR_SET_PDEATHSIG = 1

LOG4J = """status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


class KafkaNotStarted(RuntimeError):
    """A broker ended or did not answer in time; the text has the end of its log."""


class LocalKafka:
    """Apache Kafka on this machine. With three brokers topics get replication 3 and min in-sync 2, with one 1 and 1."""

    version = KAFKA_VERSION

    def __init__(
        self,
        folder: Path,
        brokers: int = 1,
        *,
        port: int | None = None,
        cache: Path | None = None,
        say: Say = print,
        die_with_parent: bool = False,
        security: Security | None = None,
    ) -> None:
        """`port`: the first broker's; free ports otherwise. `cache`: where the jars are kept (home by default).
        `die_with_parent`: the kernel kills the brokers when the thread that started them ends (tests).
        `security`: TLS, users and rights; without it everybody on this machine may do everything."""
        if brokers not in (1, 3):
            raise ValueError(f"brokers must be 1 or 3, not {brokers}")
        self.folder = folder.resolve()
        self.brokers = brokers
        self._first_port = port
        self._cache = cache or load().home / "cache" / "maven"
        self._say = say
        self._die_with_parent = die_with_parent
        self._security = security
        self._ports: list[int] = []
        self._certificate_ports: list[int] = []
        self._processes: dict[int, psutil.Process] = {}

    @property
    def bootstrap(self) -> str:
        """`host:port,…` of every broker."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    @property
    def bootstrap_certificates(self) -> str:
        """`host:port,…` of the listeners that ask for the client's certificate; only with `security`."""
        return ",".join(f"127.0.0.1:{port}" for port in self._certificate_ports)

    @property
    def replication(self) -> int:
        """The replication factor that topics on this cluster can have."""
        return self.brokers

    @property
    def min_isr(self) -> int:
        """The min in-sync replicas that acks=all should wait for."""
        return 2 if self.brokers == 3 else 1

    def start(self) -> "LocalKafka":
        """Fetch what is missing, start the brokers, return when all serve; raises KafkaNotStarted, ArtifactsMissing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        running = LocalKafka.attach(self.folder)
        if running is not None:
            raise KafkaNotStarted(f"a Kafka already runs on {self.folder} (at {running.bootstrap})")
        jars, java = fetch(self._cache, self._say), find_java()
        self._class_path, self._java = ":".join(map(str, jars)), java
        began = time.monotonic()
        self._say(f"Apache Kafka {self.version}: starting {self.brokers} broker(s) on {java}")
        ports, count = free_ports(3 * self.brokers), self.brokers
        self._ports, self._controllers, self._certificate_ports = ports[:count], ports[count:-count], ports[-count:]
        if self._first_port is not None:
            self._ports[0] = self._first_port
        cluster = self._cluster_id()
        try:
            for node in range(1, self.brokers + 1):
                self._configure(node, cluster)
            for node in range(1, self.brokers + 1):
                self._launch(node)
            self._write_running()
            self._await_ready()
        except BaseException:
            self.kill()
            raise
        self._say(f"Apache Kafka {self.version}: ready at {self.bootstrap} after {time.monotonic() - began:.1f} s")
        return self

    def stop(self) -> None:
        """SIGTERM and wait: every broker flushes and leaves the cluster; SIGKILL after STOP_TIMEOUT_S."""
        # The last of three has no quorum to say goodbye to: it would wait for the others. All at once is what works.
        for process in self._processes.values():
            _send(process, signal.SIGTERM)
        _, alive = psutil.wait_procs(list(self._processes.values()), timeout=STOP_TIMEOUT_S)
        for process in alive:
            _send(process, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=5)
        self._forget()

    def kill(self) -> None:
        """SIGKILL every broker: the power cut."""
        for process in self._processes.values():
            _send(process, signal.SIGKILL)
        psutil.wait_procs(list(self._processes.values()), timeout=5)
        self._forget()

    def kill_broker(self, node: int) -> None:
        """SIGKILL broker `node` (from 1)."""
        process = self._processes.pop(node)
        _send(process, signal.SIGKILL)
        psutil.wait_procs([process], timeout=5)

    def start_broker(self, *nodes: int) -> None:
        """Start brokers again after `kill_broker`, on their old ports and data, and wait until all serve."""
        for node in nodes:
            self._launch(node)
        self._write_running()
        self._await_ready()

    @classmethod
    def attach(cls, folder: Path) -> "LocalKafka | None":
        """The Kafka that another process started on `folder`, or None when none of its brokers lives."""
        try:
            state = json.loads((folder / "running.json").read_text())
        except (OSError, ValueError):
            return None
        kafka = cls(folder, state["brokers"])
        kafka._ports, kafka._controllers = state["ports"], state["controllers"]
        kafka._class_path, kafka._java = state["class_path"], Path(state["java"])
        for node, (pid, created) in state["processes"].items():
            try:
                process = psutil.Process(pid)
                if abs(process.create_time() - created) < 1 and process.status() != psutil.STATUS_ZOMBIE:
                    kafka._processes[int(node)] = process
            except psutil.NoSuchProcess:
                continue
        return kafka if kafka._processes else None

    def __enter__(self) -> "LocalKafka":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _cluster_id(self) -> str:
        path = self.folder / "cluster-id"
        if not path.exists():
            path.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
        return path.read_text().strip()

    def _configure(self, node: int, cluster: str) -> None:
        folder = self._broker_folder(node)
        folder.mkdir(exist_ok=True)
        (folder / "log4j2.properties").write_text(LOG4J)
        lines = (f"{key}={value}" for key, value in self._properties(node).items())
        (folder / "server.properties").write_text("\n".join(lines) + "\n")
        if not (folder / "data" / "meta.properties").exists():
            arguments = ["format", f"--cluster-id={cluster}", "-c", str(folder / "server.properties")]
            arguments += self._security.format_arguments() if self._security else []
            command = self._command(node, "kafka.tools.StorageTool", *arguments)
            done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S)
            if done.returncode != 0:
                raise KafkaNotStarted(f"formatting {folder / 'data'} failed: {done.stderr[-2000:]}")

    def _properties(self, node: int) -> dict[str, object]:
        voters = ",".join(f"{n}@127.0.0.1:{port}" for n, port in enumerate(self._controllers, 1))
        port, controller = self._ports[node - 1], self._controllers[node - 1]
        listeners = {"PLAINTEXT": port}
        if self._security:
            listeners = {"SASL_SSL": port, "SSL": self._certificate_ports[node - 1]}
        return {
            "process.roles": "broker,controller",
            "node.id": node,
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(f"{n}://127.0.0.1:{p}" for n, p in {**listeners, "CONTROLLER": controller}.items()),
            "log.dirs": self._broker_folder(node) / "data",
            "auto.create.topics.enable": "false",
            "default.replication.factor": self.replication,
            "min.insync.replicas": self.min_isr,
            "offsets.topic.replication.factor": self.replication,
            "offsets.topic.num.partitions": 6,
            "transaction.state.log.replication.factor": self.replication,
            "transaction.state.log.min.isr": self.min_isr,
            "transaction.state.log.num.partitions": 3,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
            # One process of each service is usual here: do not wait three seconds for others to join its group.
            "group.initial.rebalance.delay.ms": 0,
            # Tests take workers away without a goodbye and should not wait long for the group to notice.
            "group.min.session.timeout.ms": 1000,
            "log.index.size.max.bytes": 1 << 20,
            "log.cleaner.dedupe.buffer.size": 8 << 20,
            "log.cleaner.threads": 1,
            "num.network.threads": 2,
            "num.io.threads": 4,
            "controlled.shutdown.max.retries": 1,
            "controller.quorum.election.timeout.ms": 500,
            "controller.quorum.fetch.timeout.ms": 1000,
        } | (self._security.properties() if self._security else {})

    def _command(self, node: int, main: str, *arguments: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self._broker_folder(node) / 'log4j2.properties'}"
        return [str(self._java), *HEAP, *QUICK_START, log4j, "-cp", self._class_path, main, *arguments]

    def _launch(self, node: int) -> None:
        folder = self._broker_folder(node)
        with open(folder / "broker.log", "ab") as log:
            process = subprocess.Popen(
                self._command(node, "kafka.Kafka", str(folder / "server.properties")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal reaches us first; we stop the brokers after the services
                preexec_fn=_die_with_parent() if self._die_with_parent else None,
            )
        self._processes[node] = psutil.Process(process.pid)
        _children.append(process)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            self._raise_if_ended()
            if self._all_serve():
                return
            if time.monotonic() > deadline:
                raise KafkaNotStarted(f"no answer within {START_TIMEOUT_S:.0f} s. {self._log_ends()}")
            time.sleep(POLL_S)

    def _all_serve(self) -> bool:
        """Whether every broker accepts connections and the cluster's metadata names them all."""
        for port in self._ports:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return False
        try:
            admin = KafkaAdminClient(**self._client(), request_timeout_ms=5000)
        except (KafkaError, OSError):
            return False
        try:
            return len(admin.describe_cluster()["brokers"]) == self.brokers
        except (KafkaError, OSError):
            return False
        finally:
            admin.close()

    def _client(self) -> dict[str, Any]:
        """How an administrator's client gets in."""
        return {"bootstrap_servers": self.bootstrap} | (self._security.client() if self._security else {})

    def _raise_if_ended(self) -> None:
        for node, process in self._processes.items():
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                raise KafkaNotStarted(f"broker {node} ended. {self._log_ends()}")

    def _log_ends(self) -> str:
        ends = []
        for node in range(1, self.brokers + 1):
            path = self._broker_folder(node) / "broker.log"
            ends.append(f"{path}: …{path.read_text(errors='replace')[-1500:]}" if path.exists() else f"{path}: absent")
        return "\n".join(ends)

    def _broker_folder(self, node: int) -> Path:
        return self.folder / f"broker-{node}"

    def _write_running(self) -> None:
        state = {
            "bootstrap": self.bootstrap,
            "brokers": self.brokers,
            "ports": self._ports,
            "controllers": self._controllers,
            "java": str(self._java),
            "class_path": self._class_path,
            "processes": {node: (p.pid, p.create_time()) for node, p in self._processes.items()},
        }
        (self.folder / "running.json").write_text(json.dumps(state))

    def _forget(self) -> None:
        self._processes.clear()
        (self.folder / "running.json").unlink(missing_ok=True)


_children: list[subprocess.Popen[bytes]] = []  # kept so that the interpreter reaps them instead of warning


def _send(process: psutil.Process, sign: signal.Signals) -> None:
    try:
        process.send_signal(sign)
    except psutil.NoSuchProcess:
        return


def _die_with_parent() -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return ask
