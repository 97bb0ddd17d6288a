"""The local Apache Kafka of the test session, and topics of one test."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from services.bus.admin import create_topics
from services.bus.settings import Settings, load
from services.bus.topics import Topic
from services.local.kafka import LocalKafka

MakeTopic = Callable[..., Topic]


def _started(factory: pytest.TempPathFactory, brokers: int) -> Iterator[LocalKafka]:
    kafka = LocalKafka(factory.mktemp(f"kafka{brokers}"), brokers=brokers, die_with_parent=True)
    kafka.start()
    try:
        yield kafka
    finally:
        kafka.kill()  # nothing of it is kept, so it need not flush


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """One broker for the whole session; tests keep apart by topics and groups of their own."""
    yield from _started(tmp_path_factory, 1)


@pytest.fixture(scope="session")
def kafka3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """Three brokers: replication 3, min in-sync 2."""
    yield from _started(tmp_path_factory, 3)


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
