"""Topics made and checked, lag and end offsets: the operator's view of the cluster (kafka-python's admin client)."""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, OffsetSpec
from kafka.errors import (
    LeaderNotAvailableError,
    RetriableError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)

from services.bus.connect import connection
from services.bus.settings import Settings, load
from services.bus.topics import TOPICS, Topic

READY_TIMEOUT_MS = 30_000  # until every partition of a new topic has a leader; below 1 s is usual
REQUEST_TIMEOUT_MS = 30_000
HEARSAY_S, HEARSAY_POLL_S = 5.0, 0.1  # in which every broker has heard of a new topic, also on a busy machine
_NOT_HEARD = (UnknownTopicOrPartitionError.errno, LeaderNotAvailableError.errno)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Difference:
    """A topic that is not as the table says: partitions that the table wants, or a configuration value."""

    topic: str
    what: str  # "absent", "partitions", "replication" or the name of a configuration
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        return f"{self.topic}: {self.what}" + (f" is {self.found}, should be {self.expected}" if self.expected else "")


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition's backlog for one group, in messages. `committed` is None before the first commit."""

    topic: str
    partition: int
    committed: int | None
    end: int

    @property
    def lag(self) -> int:
        return self.end - (self.committed or 0)


@contextmanager
def admin_client(settings: Settings) -> Iterator[KafkaAdminClient]:
    """An admin client, closed afterwards. Raises kafka.errors.KafkaError when no broker answers."""
    client = KafkaAdminClient(**connection(settings, "wardstream-admin"), request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        yield client
    finally:
        client.close()


def topic_configs(topic: Topic, settings: Settings) -> dict[str, str]:
    """The broker's configuration of a topic, as the table and the settings want it."""
    return {
        "min.insync.replicas": str(settings.min_isr),
        "max.message.bytes": str(topic.max_bytes + (topic.max_bytes >> 6)),  # headers and batch overhead on top
        "retention.ms": "-1" if topic.compact else str(topic.retention_ms),
        "cleanup.policy": "compact" if topic.compact else "delete",
        "message.timestamp.type": "LogAppendTime" if topic.log_append_time else "CreateTime",
        "unclean.leader.election.enable": "false",
    } | topic.config


def partitions(topic: Topic, settings: Settings) -> int:
    """How many partitions to make: the table's number, or the setting for topics that have more than one."""
    return settings.partitions if settings.partitions and topic.partitions > 1 else topic.partitions


def create_topics(settings: Settings, topics: Iterable[Topic] = TOPICS, *, exact: bool = False) -> list[Difference]:
    """Make the topics that are absent and wait until they have leaders; return how the others differ from the table.

    Safe to call again and from several processes at once. Nothing of an existing topic is changed.
    `exact`: the topics' own numbers of partitions, whatever the setting says.
    """
    if exact:
        settings = dataclasses.replace(settings, partitions=0)
    wanted = list(topics)
    with admin_client(settings) as client:
        present = set(client.list_topics())
        for topic in wanted:
            if topic.name not in present:
                _create(client, topic, settings)
        client.wait_for_topics([topic.name for topic in wanted], timeout_ms=READY_TIMEOUT_MS)
        return _differences(client, wanted, settings)


def verify_topics(settings: Settings, topics: Iterable[Topic] = TOPICS) -> list[Difference]:
    """How the cluster's topics differ from the table; empty when all is as it should be."""
    with admin_client(settings) as client:
        return _differences(client, list(topics), settings)


def _create(client: KafkaAdminClient, topic: Topic, settings: Settings) -> None:
    spec = {
        "num_partitions": partitions(topic, settings),
        "replication_factor": settings.replication,
        "configs": topic_configs(topic, settings),
    }
    try:
        client.create_topics({topic.name: spec})
    except TopicAlreadyExistsError:
        return  # another process was quicker


def _differences(client: KafkaAdminClient, wanted: Sequence[Topic], settings: Settings) -> list[Difference]:
    present = set(client.list_topics())
    described = _described(client, [topic.name for topic in wanted if topic.name in present])
    found = [topic for topic in wanted if topic.name in described]
    differences = [Difference(topic.name, "absent") for topic in wanted if topic.name not in described]
    if not found:
        return differences
    configs = _configured(client, [topic.name for topic in found])
    for topic in found:
        parts = described[topic.name]
        checks = {
            "partitions": (str(partitions(topic, settings)), str(len(parts))),
            "replication": (str(settings.replication), str(len(parts[0]["replica_nodes"]))),
        }
        for key, value in topic_configs(topic, settings).items():
            checks[key] = (value, configs[topic.name].get(key, "not told"))
        differences += [Difference(topic.name, what, *pair) for what, pair in checks.items() if pair[0] != pair[1]]
    return differences


def _described(client: KafkaAdminClient, topics: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The partitions of each topic."""

    def heard(found: list[dict[str, Any]]) -> bool:
        return not any(one["error_code"] in _NOT_HEARD for one in found)

    found = _asked_again(lambda: client.describe_topics(topics), heard)
    return {one["name"]: one["partitions"] for one in found if one["partitions"]}


def _configured(client: KafkaAdminClient, topics: list[str]) -> dict[str, dict[str, str]]:
    """The configuration of each topic; empty where we may not see it."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic, None) for topic in topics]
    ask = partial(client.describe_configs, resources, config_filter="all")
    found = _asked_again(lambda: ask().get("topic", {}), lambda told: all(told.get(topic) for topic in topics))
    return {topic: {key: str(one["value"]) for key, one in found.get(topic, {}).items()} for topic in topics}


def _asked_again(ask: Callable[[], Answer], heard: Callable[[Answer], bool]) -> Answer:
    """The answer of a broker that has heard of what another one has made, or the last one after HEARSAY_S.

    A young cluster has no coordinator of groups until somebody asks for one, and then it loads: what kafka-python calls
    retriable is asked again too, and raised after that time.
    """
    until = time.monotonic() + HEARSAY_S
    while True:
        try:
            answer = ask()
            if heard(answer) or time.monotonic() >= until:
                return answer
        except RetriableError:
            if time.monotonic() >= until:
                raise
        time.sleep(HEARSAY_POLL_S)


def end_offsets(settings: Settings, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """The offset after the last message of every partition."""
    with admin_client(settings) as client:
        return _ends(client, list(topics))


def lag(settings: Settings, group: str, topics: Iterable[str] | None = None) -> list[PartitionLag]:
    """A group's backlog per partition: of the topics given, or of those it has committed to."""
    with admin_client(settings) as client:
        found = _asked_again(lambda: client.list_group_offsets(group).get(group, {}), lambda _: True)
        committed = {(tp.topic, tp.partition): one.offset for tp, one in found.items() if one.offset >= 0}
        names = sorted({topic for topic, _ in committed}) if topics is None else list(topics)
        ends = _ends(client, names)
    return [PartitionLag(topic, part, committed.get((topic, part)), end) for (topic, part), end in sorted(ends.items())]


def _ends(client: KafkaAdminClient, topics: list[str]) -> dict[tuple[str, int], int]:
    if not topics:
        return {}
    specs = {
        TopicPartition(name, part["partition_index"]): OffsetSpec.LATEST
        for name, parts in _described(client, topics).items()
        for part in parts
    }
    return {(tp.topic, tp.partition): found.offset for tp, found in client.list_partition_offsets(specs).items()}


def command(*, check: bool) -> int:
    """`wardstream topics`: make what is missing (unless `check`), list the table; exit status 1 where Kafka differs."""
    settings = load()
    differences = verify_topics(settings) if check else create_topics(settings)
    for topic in TOPICS:
        days = topic.retention_ms / 86_400_000
        print(f"{topic.name:<24} {partitions(topic, settings):>3} partitions, {days:g} days  {topic.summary}")
    for difference in differences:
        print(f"differs: {difference}", file=sys.stderr)
    return 1 if differences else 0
