"""The local Apache Kafka of the test session, and topics of one test."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.bus.admin import create_topics
from services.bus.rights import ROLES, grant
from services.bus.settings import Settings, load
from services.bus.topics import Topic
from services.local.kafka import LocalKafka
from services.local.kafka_security import Security
from tests.certificates import Authority

MakeTopic = Callable[..., Topic]


def _started(folder: Path, brokers: int, security: Security | None = None) -> Iterator[LocalKafka]:
    kafka = LocalKafka(folder, brokers=brokers, die_with_parent=True, security=security)
    kafka.start()
    try:
        yield kafka
    finally:
        kafka.kill()  # nothing of it is kept, so it need not flush


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """One broker for the whole session; tests keep apart by topics and groups of their own."""
    yield from _started(tmp_path_factory.mktemp("kafka1"), 1)


@pytest.fixture(scope="session")
def kafka3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """Three brokers: replication 3, min in-sync 2."""
    yield from _started(tmp_path_factory.mktemp("kafka3"), 3)


@dataclass(frozen=True)
class Secured:
    """A Kafka behind TLS, with a user for each principal of the rights table, and how one is let in."""

    kafka: LocalKafka
    authority: Authority

    def by_password(self, principal: str) -> dict[str, str]:
        """The variables of one who comes with a user name and password (SCRAM-SHA-512 over TLS)."""
        return {
            "WARDSTREAM_BOOTSTRAP": self.kafka.bootstrap,
            "WARDSTREAM_SECURITY_PROTOCOL": "SASL_SSL",
            "WARDSTREAM_SASL_USERNAME": principal,
            "WARDSTREAM_SASL_PASSWORD": password(principal),
            "WARDSTREAM_SSL_CAFILE": str(self.authority.certificate),
        }

    def by_certificate(self, principal: str) -> dict[str, str]:
        """The variables of one who comes with a certificate (mutual TLS)."""
        return {
            "WARDSTREAM_BOOTSTRAP": self.kafka.bootstrap_certificates,
            "WARDSTREAM_SECURITY_PROTOCOL": "SSL",
            "WARDSTREAM_SSL_CERTFILE": str(self.authority.issue(principal)),
            "WARDSTREAM_SSL_CAFILE": str(self.authority.certificate),
        }

    def settings(self, principal: str) -> Settings:
        return load(self.by_password(principal))


def password(principal: str) -> str:
    return f"{principal}-password"


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One broker that lets nobody in without a name, and nobody do more than its service needs; the topics are made."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    security = Security(
        certificate=authority.issue("broker", "IP:127.0.0.1"),
        authority=authority.certificate,
        users={name: password(name) for name in ("admin", "stranger", *ROLES)},
        administrator="admin",
    )
    for kafka in _started(tmp_path_factory.mktemp("secured"), 1, security):
        made = Secured(kafka, authority)
        grant(made.settings("admin"))
        create_topics(made.settings("topics"))
        yield made


@pytest.fixture
def bus_settings(kafka: LocalKafka, tmp_path) -> Settings:  # type: ignore[no-untyped-def]
    """Settings that point at the session's broker, with a home of the test's own."""
    return load({"WARDSTREAM_BOOTSTRAP": kafka.bootstrap, "WARDSTREAM_HOME": str(tmp_path)})


@pytest.fixture
def make_topic(bus_settings: Settings) -> MakeTopic:
    """`make_topic("raw", partitions=4)`: a new topic with a name of its own on the session's broker."""

    def make(stem: str, **options: object) -> Topic:
        topic = Topic(
            f"{stem}-{uuid.uuid4().hex[:10]}",
            "patient key",
            "bytes",
            "of a test",
            **{"partitions": 4, **options},  # type: ignore[arg-type]
        )
        create_topics(bus_settings, [topic])
        return topic

    return make
