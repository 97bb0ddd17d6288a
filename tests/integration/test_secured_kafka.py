"""Kafka with TLS, SCRAM and client certificates: the whole system gets in with the rights of the table, and no further.

The rights are services/bus/rights.py, which k8s/users repeats for Strimzi.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from services.bus import reach
from services.bus.connect import connection, kafka_python_producer
from services.bus.reach import entry, require_entry
from services.bus.rights import ROLES
from services.bus.settings import BadSetting, Settings, load, site_from_settings
from services.bus.topics import DEAD_LETTERS, HL7_RAW, TOPICS, Topic
from services.local.drain import await_drained
from services.local.ports import free_ports
from services.local.processes import Services
from services.local.replay.command import edge_of
from services.local.replay.run import replay
from services.local.report import account
from services.local.simulate.source import Simulation
from services.local.triton import LocalTriton
from tests.certificates import Authority
from tests.kafka_fixture import Secured
from tests.support import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

SERVICES = ("edge", "normalize", "assemble", "encode", "score", "fallback", "monitor", "deliver", "announce")
BY_CERTIFICATE = ("edge", "encode", "fallback", "deliver", "announce")  # both ways on either engine
READ_S = 1.0
HELD_TO = ("score", "deliver", "stranger")


def wardstream(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def system(secured: Secured, triton: LocalTriton, tmp_path: Path) -> Iterator[Settings]:
    """All services, each under its own name; the settings are an administrator's."""
    environment = {"WARDSTREAM_TRITON_URL": triton.url, "WARDSTREAM_HOME": str(tmp_path / "home")}
    for name, port in zip(("MLLP", "HTTP", "DICOM", "PAGE"), free_ports(4), strict=True):
        environment |= {f"WARDSTREAM_{name}_PORT": str(port), f"WARDSTREAM_{name}_HOST": "127.0.0.1"}
    settings = load({**os.environ, **environment, **secured.by_password("admin")})
    site_from_settings(settings)  # makes the pseudonym secret that all services share
    own = {
        name: secured.by_certificate(name) if name in BY_CERTIFICATE else secured.by_password(name) for name in SERVICES
    }
    with Services(SERVICES, tmp_path / "logs", environment, own):
        yield settings


@pytest.mark.triton
def test_services_and_operators_do_their_work_with_the_rights_of_the_table(secured: Secured, system: Settings):
    """Patients with notes and pictures, from the edge to the prediction; a dead letter, found and tried again."""
    sent = replay(Simulation(), edge=edge_of(system), limit=2)
    assert sent.acknowledged.total() == sent.sent > 0
    assert await_drained(system, 60.0, lambda _: None)
    seen = account(system)
    assert set(seen.lost().values()) == {0}
    assert seen.encoded
    assert seen.scored
    publish(secured.settings("edge"), HL7_RAW, b"no HL7")
    assert await_drained(system, 60.0, lambda _: None)
    retried = wardstream(secured.by_certificate("dead-letters"), "dead-letters", "retry", "--all")
    assert retried.stdout == "1 message(s) published again\n"
    checked = wardstream(secured.by_password("topics"), "topics", "--check")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("principal", HELD_TO)
def test_a_principal_can_read_and_write_nothing_that_is_not_its_own(secured: Secured, principal: str):
    settings, role = secured.settings(principal), ROLES.get(principal)
    reads, writes = (role.reads, role.writes) if role else ((), ())
    for topic in TOPICS:
        publish(secured.settings("admin"), topic, b"{}")
    assert readable(settings) == {topic.name for topic in reads}
    written = {topic.name for topic in TOPICS if may(partial(publish, settings, topic, b"{}"))}
    assert written == {topic.name for topic in writes}
    assert not may(partial(join, settings, "wardstream-normalize"))


def may(act) -> bool:  # type: ignore[no-untyped-def]
    """Whether the broker lets it be done."""
    try:
        act()
    except KafkaError as error:
        if "AuthorizationFailed" in repr(error):
            return False
        raise
    return True


def publish(settings: Settings, topic: Topic, value: bytes) -> None:
    producer = KafkaProducer(**kafka_python_producer(settings))
    try:
        producer.send(topic.name, value, partition=0).get(10)
    finally:
        producer.close()


def readable(settings: Settings) -> set[str]:
    """The topics that messages come from."""
    consumer, found, until = KafkaConsumer(**connection(settings), group_id=None), set(), time.monotonic() + READ_S
    try:
        consumer.assign([TopicPartition(topic.name, 0) for topic in TOPICS])
        consumer.seek_to_beginning()
        while time.monotonic() < until:
            with suppress(TopicAuthorizationFailedError):  # it names one that is not; the others go on
                found |= {partition.topic for partition in consumer.poll(200)}
    finally:
        consumer.close()
    return found


def join(settings: Settings, group: str) -> None:
    consumer = KafkaConsumer(**connection(settings), group_id=group)
    try:
        consumer.committed(TopicPartition(DEAD_LETTERS.name, 0))
    finally:
        consumer.close()


def test_who_is_not_let_in_is_told_why(secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reach, "RETRY_S", 0.0)
    other = Authority(tmp_path).certificate
    password, certificate = secured.by_password("admin"), secured.by_certificate("edge")
    refused = {
        "user or password": password | {"WARDSTREAM_SASL_PASSWORD": "wrong"},
        "unable to get local issuer certificate": password | {"WARDSTREAM_SSL_CAFILE": str(other)},
        "Hostname mismatch": password
        | {"WARDSTREAM_BOOTSTRAP": secured.kafka.bootstrap.replace("127.0.0.1", "localhost")},
        "does not take PLAIN": password | {"WARDSTREAM_SASL_MECHANISM": "PLAIN"},
        "ends the connection": password | {"WARDSTREAM_SECURITY_PROTOCOL": "PLAINTEXT"},
        "_SSL_CERTFILE": certificate | {"WARDSTREAM_SSL_CERTFILE": ""},
        "_CERTFILE or _KEYFILE": password | {"WARDSTREAM_SSL_CAFILE": str(tmp_path / "absent.pem")},
    }
    for reason, environment in refused.items():
        with pytest.raises(BadSetting, match=reason) as caught:
            require_entry(load(environment))
        assert "wrong" not in str(caught.value)
    assert entry(load(password)) == entry(load(certificate)) == ""


@pytest.mark.parametrize("arguments", [("topics",), ("run", "normalize")])
def test_a_command_that_is_not_let_in_ends_with_a_line(secured: Secured, arguments: tuple[str, ...]):
    done = wardstream(secured.by_password("edge") | {"WARDSTREAM_SASL_PASSWORD": "wrong"}, *arguments)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("wardstream:")]
    assert "the user or password is not accepted" in line
