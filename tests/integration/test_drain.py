"""Waiting until the stream is drained waits for the steps that run, and for no others."""

import uuid

import pytest
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition

from services.bus.connect import connection, kafka_python_producer
from services.bus.topics import consumer_group
from services.local import drain
from services.local.drain import await_drained

pytestmark = pytest.mark.kafka


def commit(settings, step, topic, offset):
    consumer = KafkaConsumer(**connection(settings), group_id=consumer_group(step), enable_auto_commit=False)
    consumer.commit({TopicPartition(topic.name, 0): OffsetAndMetadata(offset, "", -1)})
    consumer.close()


def test_a_step_that_does_not_run_is_not_waited_for(bus_settings, make_topic, monkeypatch):
    records = make_topic("records", partitions=1)
    score, fallback = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("score", "fallback"))
    monkeypatch.setattr(drain, "STEP_INPUTS", {score: (records,), fallback: (records,)})
    producer = KafkaProducer(**kafka_python_producer(bus_settings))
    producer.send(records.name, b"a record").get(10)
    producer.close()
    commit(bus_settings, score, records, 1)
    backlog = {}
    assert await_drained(bus_settings, 10.0, backlog.update, ("edge", score))
    assert backlog == {score: 0}
    assert not await_drained(bus_settings, 0.0, backlog.update, ("edge", score, fallback))
    assert backlog == {score: 0, fallback: 1}
