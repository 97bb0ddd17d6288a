"""The whole system, once for all end-to-end tests: real Kafka, real Triton with the shipped models, all services."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer

from services.bus.connect import connection
from services.bus.settings import Settings, load, site_from_settings
from services.bus.topics import Topic
from services.domain.identity import patient_key
from services.local.ports import free_ports
from services.local.processes import Services
from services.local.replay.channels import Edge
from services.local.replay.command import edge_of
from services.local.report import read_topic
from services.local.stack import stack

SERVICES = ("edge", "normalize", "assemble", "encode", "score", "fallback", "monitor", "deliver")
AWAIT_S = 60.0
POLL_S = 0.2


@dataclass
class System:
    """Addresses of the running system, and ways to look at its topics."""

    settings: Settings
    services: Services
    folder: Path

    @property
    def edge(self) -> Edge:
        return edge_of(self.settings)

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.settings.page_port}"

    def key(self, number: str, authority: str = "E2E") -> str:
        return patient_key(authority, number, site_from_settings(self.settings).secret)

    def messages(self, topic: Topic) -> list[Any]:
        return list(read_topic(topic, partial(KafkaConsumer, **connection(self.settings, "wardstream-e2e"))))

    def of_patient(self, topic: Topic, key: str) -> list[Any]:
        return [message for message in self.messages(topic) if message.key == key.encode()]

    def eventually(self, look: Callable[[], Any], what: str) -> Any:
        """The first true answer of `look`; fails after AWAIT_S saying what did not happen."""
        deadline = time.monotonic() + AWAIT_S
        while True:
            self.services.check()
            found = look()
            if found:
                return found
            assert time.monotonic() < deadline, f"did not happen within {AWAIT_S:.0f} s: {what}"
            time.sleep(POLL_S)


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    with stack(folder) as made:
        names = ("MLLP", "HTTP", "DICOM", "PAGE")
        ports = {f"WARDSTREAM_{n}_PORT": str(p) for n, p in zip(names, free_ports(4), strict=True)}
        hosts = {f"WARDSTREAM_{n}_HOST": "127.0.0.1" for n in names}
        environment = made.environment() | ports | hosts
        environment |= {"WARDSTREAM_HOME": str(folder / "home"), "WARDSTREAM_MONITOR_INTERVAL": "1"}
        settings = load({**os.environ, **environment})
        site_from_settings(settings)  # makes the pseudonym secret that all services share
        with Services(SERVICES, folder / "logs", environment) as services:
            yield System(settings, services, folder)
