"""Predictions to a hospital's receiver, by the processes that an operator runs, on real Kafka.

The receiver is hl7apy's MLLP server with strict validation, in a process that is killed and started again.
"""

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from kafka import KafkaProducer

from services.bus.admin import create_topics, lag
from services.bus.dead_letters import DeadLetters
from services.bus.settings import Settings
from services.bus.topics import DEAD_LETTERS, HL7_OUT, PATIENT_RECORDS, RISK_PREDICTIONS, Topic, consumer_group
from services.local.ports import free_ports
from services.local.processes import Services
from tests.unit.deliver.support import prediction, record

pytestmark = [pytest.mark.kafka, pytest.mark.peer, pytest.mark.slow]

PATIENTS = 12
TIMEOUT_S = 60.0
SESSION_S = 6.0


class Receiver:
    """The receiver's process, and what it has written down."""

    def __init__(self, folder: Path) -> None:
        self.port, self._file = free_ports(1)[0], folder / "received"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        script = Path(__file__).with_name("hl7apy_receiver.py")
        self._process = subprocess.Popen([sys.executable, str(script), str(self.port), str(self._file)])

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def free(self) -> None:
        self._file.with_suffix(".free").touch()

    def received(self, prefix: str) -> list[tuple[str, ...]]:
        """(patient number, filler, OBX-5, OBX-11) of this test's messages, each control id once, as they first came."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        rows = {tuple(line.split("\t")): None for line in lines}
        return [row[1:] for row in rows if prefix in row[1]]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path)
    made.start()
    yield made
    made.kill()


def until(what: Callable[[], bool], said: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not what():
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


def status(port: int, path: str) -> int:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_predictions_reach_a_receiver_that_dies_and_comes_back(
    bus_settings: Settings, tmp_path: Path, receiver: Receiver
) -> None:
    create_topics(bus_settings, [PATIENT_RECORDS, RISK_PREDICTIONS, HL7_OUT, DEAD_LETTERS])
    prefix = uuid.uuid4().hex[:8]
    numbers = [f"{prefix}{n}" for n in range(PATIENTS)]
    producer = KafkaProducer(bootstrap_servers=bus_settings.bootstrap, acks="all")

    def publish(topic: Topic, number: str, value: bytes) -> None:
        producer.send(topic.name, value, number.encode())

    def tell(hours: int, probability: float, whom: list[str]) -> None:
        for number in whom:
            publish(RISK_PREDICTIONS, number, prediction(number, hours, probability))
        producer.flush()

    def came(rounds: int) -> bool:
        return len(receiver.received(prefix)) == rounds * PATIENTS

    environment = {
        "WARDSTREAM_BOOTSTRAP": bus_settings.bootstrap,
        "WARDSTREAM_HOME": str(tmp_path / "home"),
        "WARDSTREAM_HL7_OUT": f"127.0.0.1:{receiver.port}",
        "WARDSTREAM_HL7_OUT_AUTHORITY": "HOSPITAL",
        "WARDSTREAM_HL7_OUT_ACK_TIMEOUT": "1",
        "WARDSTREAM_SESSION_TIMEOUT": str(SESSION_S),
        "WARDSTREAM_STALL_AFTER": "4",
    }
    for number in numbers:
        publish(PATIENT_RECORDS, number, record(number, number=number))
    with Services(("announce", "deliver-hl7"), tmp_path / "logs", environment) as services:
        tell(1, 0.1, numbers)
        until(lambda: came(1), "the first round did not come")
        receiver.kill()
        tell(2, 0.4, numbers)
        probes = services.ports["deliver-hl7"]
        until(lambda: status(probes, "/readyz") == 503, "the receiver was not missed")
        time.sleep(SESSION_S + 1)  # longer than a session and WARDSTREAM_STALL_AFTER: the point is that nothing happens
        assert status(probes, "/healthz") == 200
        services.kill("deliver-hl7")
        services.start("deliver-hl7")
        receiver.start()
        until(lambda: came(2), "what waited did not come")
        tell(3, 0.1, numbers)
        until(lambda: came(3), "the third round did not come")
        until(lambda: _lag(bus_settings) == 0, "not all is committed")

        stranger, busy, after = f"unknown-{prefix}", f"busy-{prefix}", f"after-{prefix}"
        for number in (stranger, busy, after):
            publish(PATIENT_RECORDS, number, record(number, number=number))
        tell(1, 0.4, [stranger])
        until(lambda: _letters(bus_settings, stranger) == ["PID^1^3"], "what was rejected is no dead letter")
        tell(1, 0.4, [busy, after])
        until(lambda: status(probes, "/readyz") == 503, "errors were not missed")
        receiver.free()
        until(lambda: len(receiver.received(prefix)) == 3 * PATIENTS + 2, "what met an error was not sent again")
        assert _letters(bus_settings, busy) == []

    for number in numbers:
        mine = [row[1:] for row in receiver.received(prefix) if row[0] == number]
        assert mine == [(f"{number}{n}risk-fusion", risk, "F") for n, risk in ((1, "10"), (2, "40"), (3, "10"))]
    logs = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
    assert prefix not in logs


def _lag(settings: Settings) -> int:
    return sum(part.lag for part in lag(settings, consumer_group("deliver-hl7"), [HL7_OUT.name]))


def _letters(settings: Settings, number: str) -> list[str]:
    """Where the receiver saw the fault, of each dead letter about a patient."""
    found = [one.letter for one in DeadLetters(settings).all("refused_by_receiver")]
    return [letter.where for letter in found if letter.key == number.encode()]
