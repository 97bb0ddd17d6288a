"""Every client puts a key in the partition where Kafka's own (Java) partitioner puts it, so that topics are
co-partitioned whoever publishes to them."""

import pytest
from aiokafka.partitioner import DefaultPartitioner as AioPartitioner
from faust.transport.drivers.aiokafka import DefaultPartitioner as FaustPartitioner
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import DefaultPartitioner as KafkaPartitioner

from services.bus.memory import MemoryBus

# org.apache.kafka.common.utils.UtilsTest#testMurmur2
JAVA_MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
PARTITIONS = list(range(12))


class Cluster:
    """What kafka-python's partitioner asks of the metadata."""

    def topics(self) -> set[str]:
        return {"t"}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(PARTITIONS)

    available_partitions_for_topic = partitions_for_topic


def _chosen(key: bytes) -> set[int]:
    return {
        AioPartitioner()(key, PARTITIONS, PARTITIONS),
        FaustPartitioner()(key, PARTITIONS, PARTITIONS),
        KafkaPartitioner().partition("t", key, key, None, None, Cluster()),
        MemoryBus()._partition(key, len(PARTITIONS)),
    }


@pytest.mark.parametrize("key", JAVA_MURMUR2)
def test_a_key_lies_where_java_puts_it(key: bytes) -> None:
    expected = (JAVA_MURMUR2[key] & 0x7FFFFFFF) % len(PARTITIONS)
    assert _chosen(key) == {expected}


@given(st.binary(min_size=1, max_size=64))
def test_all_clients_agree(key: bytes) -> None:
    assert len(_chosen(key)) == 1
