"""Topics, end offsets and lag against the real broker."""

import dataclasses

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from services.bus.admin import create_topics, end_offsets, lag, verify_topics
from services.bus.connect import connection, kafka_python_producer
from services.bus.settings import Settings
from services.bus.topics import TOPICS, Topic
from tests.kafka_fixture import MakeTopic

pytestmark = pytest.mark.kafka


def test_the_table_of_topics_is_made_once_and_found_unchanged_again(bus_settings: Settings) -> None:
    assert create_topics(bus_settings, TOPICS) == []
    assert create_topics(bus_settings, TOPICS) == []
    assert verify_topics(bus_settings, TOPICS) == []


def test_an_absent_or_different_topic_is_reported(bus_settings: Settings, make_topic: MakeTopic) -> None:
    topic = make_topic("differs", partitions=2)
    wanted = dataclasses.replace(topic, partitions=3, log_append_time=True)
    absent = Topic("never-made", "none", "bytes", "of a test")
    found = {(d.topic, d.what) for d in verify_topics(bus_settings, [wanted, absent])}
    assert found == {(topic.name, "partitions"), (topic.name, "message.timestamp.type"), ("never-made", "absent")}


def test_a_topic_takes_a_message_of_its_largest_size(bus_settings: Settings, make_topic: MakeTopic) -> None:
    topic = make_topic("large", partitions=1, max_bytes=16 << 20)
    producer = KafkaProducer(**kafka_python_producer(bus_settings) | {"compression_type": None})
    try:
        sent = producer.send(topic.name, key=b"k", value=b"x" * (16 << 20), headers=[("a", b"b")]).get(timeout=30)
    finally:
        producer.close()
    assert sent.offset == 0


def test_lag_counts_what_a_group_has_not_committed(bus_settings: Settings, make_topic: MakeTopic) -> None:
    topic = make_topic("lag", partitions=1)
    producer = KafkaProducer(**kafka_python_producer(bus_settings))
    for n in range(5):
        producer.send(topic.name, value=str(n).encode())
    producer.close()
    consumer = KafkaConsumer(**connection(bus_settings), group_id=f"g-{topic.name}", enable_auto_commit=False)
    consumer.assign([TopicPartition(topic.name, 0)])
    from kafka.structs import OffsetAndMetadata

    consumer.commit({TopicPartition(topic.name, 0): OffsetAndMetadata(3, "", -1)})
    consumer.close()
    assert end_offsets(bus_settings, [topic.name]) == {(topic.name, 0): 5}
    (one,) = lag(bus_settings, f"g-{topic.name}")
    assert (one.committed, one.end, one.lag) == (3, 5, 2)
