"""What Kubernetes would start, started here: each container's own command and settings, its probes, and its end.

Only what the machine decides is put in its place: addresses, ports, folders and secrets.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from services.bus.access import command
from services.local.kafka import LocalKafka
from services.local.ports import free_ports
from services.local.triton import LocalTriton
from tests.certificates import Authority
from tests.support import ROOT
from tests.triton_fixture import write_encoders, write_fusion
from tests.unit.deployment.test_manifests import built, component, pod, with_components, workloads

pytestmark = [pytest.mark.kafka, pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(500)]

READY_S = 300.0  # ten at once on two cores
ENTRYPOINT = [sys.executable, "-m", "services.cli"]  # the Dockerfile's


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_fusion(folder)
    write_encoders(folder)
    return folder


@pytest.fixture(scope="module")
def models(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTriton]:
    server = LocalTriton(tmp_path_factory.mktemp("server"), repository)
    server.start()
    yield server
    server.kill()


class Place:
    """This machine in place of a cluster: where the manifests' addresses and folders lie here."""

    def __init__(self, folder: Path, config: dict[str, str], **addresses: str) -> None:
        self._folder, self._config = folder, config
        self._addresses = {
            **{f"WARDSTREAM_{name.upper()}": address for name, address in addresses.items()},
            "WARDSTREAM_OBJECTS": str(folder / "objects"),
            "WARDSTREAM_REPLICATION": "1",
            "WARDSTREAM_MIN_ISR": "1",
            "WARDSTREAM_PSEUDONYM_SECRET": "of a test",
            "WARDSTREAM_HL7_OUT": "127.0.0.1:9",
            "PYTHONPATH": str(ROOT),
        }
        self.ports: dict[str, dict[str, int]] = {}
        command(argparse.Namespace(name="test", scopes="read,send", file=folder / "tokens"))
        shown = Authority(folder).issue("edge", "DNS:localhost")
        for name in ("tls.crt", "tls.key"):
            (folder / name).write_bytes(shown.read_bytes())

    def environment(self, workload: dict[str, Any], container: dict[str, Any]) -> dict[str, str]:
        """The container's settings, with what differs here."""
        name = container["name"]
        given = self._config | {one["name"]: one.get("value", f"{name}-0") for one in container.get("env", [])}
        names = [port["name"] for port in container.get("ports", [])]
        self.ports[name] = dict(zip(names, free_ports(len(names)), strict=True))
        ports = {f"WARDSTREAM_{n.upper()}_PORT": str(port) for n, port in self.ports[name].items()}
        (self._folder / name).mkdir()
        folders = {
            mount["mountPath"]: str(self._folder / name if mount["name"] in ("home", "state") else self._folder)
            for mount in container.get("volumeMounts", [])
            if mount["name"] != "tmp"
        }
        here = {key: self._here(value, folders) for key, value in given.items()}
        home = {"WARDSTREAM_HOME": str(self._folder / name)}
        return {**os.environ, **here, **self._addresses, **ports, **home}

    @staticmethod
    def _here(value: str, folders: dict[str, str]) -> str:
        for inside, outside in folders.items():
            if value.startswith(f"{inside}/"):
                return outside + value.removeprefix(inside)
        return value


def answers(port: int, path: str) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def test_every_container_starts_answers_its_probes_and_ends_when_it_is_told(
    kafka: LocalKafka, models: LocalTriton, repository: Path, tmp_path: Path
) -> None:
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    _, documents = built("everything", with_components(overlay))
    (config,) = [d["data"] for d in documents if d["kind"] == "ConfigMap"]
    place = Place(tmp_path, config, bootstrap=kafka.bootstrap, triton_url=models.url, models=str(repository))
    running: dict[str, subprocess.Popen[bytes]] = {}
    ours = {component(one): one for one in workloads(documents) if component(one) != "triton"}

    def start(name: str) -> subprocess.Popen[bytes]:
        (container,) = pod(ours[name])["containers"]
        environment = place.environment(ours[name], container)
        with (tmp_path / f"{name}.log").open("wb") as log:
            return subprocess.Popen([*ENTRYPOINT, *container["args"]], env=environment, stdout=log, stderr=log)

    def log(name: str) -> str:
        return f"{name}: {(tmp_path / f'{name}.log').read_text()[-2000:]}"

    assert start("topics").wait(60) == 0, log("topics")
    try:
        running |= {name: start(name) for name in ours if name != "topics"}
        deadline = time.monotonic() + READY_S
        for name, process in running.items():
            (container,) = pod(ours[name])["containers"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = container[probe]["httpGet"]
                while not answers(place.ports[name][asked["port"]], asked["path"]):
                    assert process.poll() is None, log(name)
                    assert time.monotonic() < deadline, log(name)
                    time.sleep(0.2)
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        for name, process in running.items():
            assert process.wait(pod(ours[name])["terminationGracePeriodSeconds"]) == 0, log(name)
    finally:
        for process in running.values():
            process.kill()


def test_the_model_servers_companion_says_that_its_models_answer(models: LocalTriton, tmp_path: Path) -> None:
    _, documents = built("cpu")
    (triton,) = [pod(one) for one in workloads(documents) if component(one) == "triton"]
    (companion,) = [one for one in triton["containers"] if one["name"] == "liveness"]
    (server,) = [one for one in triton["containers"] if one["name"] == "triton"]
    probe = server["livenessProbe"]["httpGet"]
    (port,) = free_ports(1)
    here = {"python": sys.executable, "localhost:8001": models.url, str(probe["port"]): str(port)}
    words = [here.get(word, word) for word in companion["command"]]
    assert set(here) <= set(companion["command"])
    with subprocess.Popen(words, cwd=ROOT) as process:
        try:
            deadline = time.monotonic() + server["livenessProbe"]["timeoutSeconds"] * 4
            while not answers(port, probe["path"]):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            process.terminate()
