"""The MLLP listener on real Kafka: what is acknowledged is on the topic, also when the broker comes and goes."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.bus.admin import create_topics
from services.bus.connect import connection
from services.bus.settings import Settings, load
from services.bus.topics import DEAD_LETTERS, HL7_RAW, Topic
from services.domain.site import Site
from services.edge.acceptance import Acceptance
from services.edge.ledger import Ledger
from services.edge.mllp import MllpListener
from services.edge.mllp_client import MllpClient
from services.edge.publisher import KafkaPublisher, PublishFailed, TooLarge, partition_of
from services.formats.hl7v2.control import routing
from services.local.kafka import LocalKafka
from services.local.ports import free_ports
from tests.kafka_fixture import MakeTopic
from tests.unit.edge.conftest import SITE, oru

pytestmark = pytest.mark.kafka


@pytest.fixture
async def publisher(bus_settings: Settings) -> AsyncIterator[KafkaPublisher]:
    made = KafkaPublisher(bus_settings)
    await made.start()
    yield made
    await made.stop()


async def everything(settings: Settings, topic: Topic) -> list[tuple[int, bytes | None, bytes]]:
    """(partition, key, value) of a topic from its beginning to its end."""
    consumer = AIOKafkaConsumer(**connection(settings, "test"))
    await consumer.start()
    try:
        partitions = [TopicPartition(topic.name, n) for n in range(topic.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                found += [(m.partition, m.key, m.value) for m in batch]
        return found
    finally:
        await consumer.stop()


@pytest.mark.parametrize(("key", "partition"), [("21", 12), ("foobar", 8), ("a-little-bit-long-string", 2), ("", 5)])
def test_a_key_lands_where_javas_default_partitioner_puts_it(key: str, partition: int) -> None:
    # Hashes from Kafka's own UtilsTest.testMurmur2: -973932308, -790332482, -985981536, 275646681
    hashes = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "": 275646681}
    expected = (hashes[key] & 0x7FFFFFFF) % 13
    assert partition_of(key.encode(), list(reversed(range(13))), []) == expected


async def test_publishing_keeps_each_keys_order_and_the_headers(publisher, bus_settings, make_topic: MakeTopic) -> None:
    topic = make_topic("raw")
    keys = [f"patient{n}" for n in range(10)]
    await asyncio.gather(*(publisher.publish(topic, keys[n % 10], b"%d" % n, {"h": b"1"}) for n in range(1000)))
    found = await everything(bus_settings, topic)
    assert len(found) == 1000
    for number, key in enumerate(keys):
        mine = [(partition, value) for partition, k, value in found if k == key.encode()]
        assert [value for _, value in mine] == [b"%d" % n for n in range(number, 1000, 10)]
        assert {partition for partition, _ in mine} == {partition_of(key.encode(), list(range(topic.partitions)), [])}
    assert publisher.in_flight_bytes == 0


async def test_a_message_above_its_topics_size_is_refused_and_others_go_on(publisher, bus_settings, make_topic) -> None:
    topic = make_topic("raw", max_bytes=2000)
    with pytest.raises(TooLarge):
        await publisher.publish(topic, "k", b"x" * 3000, {})
    await publisher.publish(topic, "k", b"y", {})
    assert [value for _, _, value in await everything(bus_settings, topic)] == [b"y"]


async def test_a_batch_that_the_broker_refuses_for_good_does_not_stop_later_ones(publisher, bus_settings, make_topic):
    """The broker's own limit is below what we believe: the batch fails, and its sequence number with it."""
    topic = make_topic("raw", max_bytes=2000, partitions=1)
    believed = Topic(topic.name, topic.key, topic.value, topic.summary, max_bytes=1 << 20, partitions=1)
    await publisher.publish(believed, "k", b"1", {})
    with pytest.raises(PublishFailed):
        await publisher.publish(believed, "k", os.urandom(500_000), {})
    for _ in range(5):
        await publisher.publish(believed, "k", b"2", {})
    assert [value for _, _, value in await everything(bus_settings, topic)] == [b"1"] + [b"2"] * 5


async def test_an_absent_topic_is_a_failed_publish(bus_settings) -> None:
    impatient = KafkaPublisher(bus_settings, delivery_timeout=1.0)
    await impatient.start()
    with pytest.raises(PublishFailed):
        await impatient.publish(Topic("no-such-topic", "", "", ""), "k", b"1", {})
    assert impatient.in_flight_bytes == 0
    await impatient.stop()


async def test_what_is_acknowledged_is_on_the_topic_in_order(publisher, bus_settings, tmp_path: Path) -> None:
    create_topics(bus_settings, [HL7_RAW, DEAD_LETTERS])
    site = Site(secret=os.urandom(8))  # keys of this test's own on a topic that others use too
    ledger = Ledger(tmp_path / "ledger")
    listener = MllpListener(Acceptance(publisher, ledger, site), "127.0.0.1", 0)
    await listener.start()
    clients = [MllpClient("127.0.0.1", listener.port) for _ in range(3)]

    async def patient(number: int) -> None:
        for n in range(30):
            code, _ = await clients[n % 3].send(oru(f"{number}-{n}", str(number)))
            assert code == "AA"

    await asyncio.gather(*(patient(number) for number in range(20)))
    found = await everything(bus_settings, HL7_RAW)
    for number in range(20):
        key = routing(oru(patient=str(number)), site).patient.encode()
        assert [v for _, k, v in found if k == key] == [oru(f"{number}-{n}", str(number)) for n in range(30)]
    for client in clients:
        await client.close()
    await listener.stop()
    await ledger.close()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    made = LocalKafka(tmp_path / "kafka", die_with_parent=True)
    made.start()
    yield made
    made.kill()


async def kept(client: MllpClient, message: bytes) -> None:
    """Send until it is acknowledged, as a sender does after AE."""
    for _ in range(60):
        if (await client.send(message))[0] == "AA":
            return
    raise AssertionError("never kept")


async def test_while_the_broker_is_away_messages_get_ae_and_are_kept_once_when_it_is_back(own_kafka, tmp_path) -> None:
    settings = load({"WARDSTREAM_BOOTSTRAP": own_kafka.bootstrap, "WARDSTREAM_HOME": str(tmp_path)})
    create_topics(settings, [HL7_RAW, DEAD_LETTERS])
    publisher = KafkaPublisher(settings, delivery_timeout=1.0)
    await publisher.start()
    ledger = Ledger(None)
    listener = MllpListener(Acceptance(publisher, ledger, SITE, patience=1.5), "127.0.0.1", 0)
    await listener.start()
    client = MllpClient("127.0.0.1", listener.port)
    await kept(client, oru("before"))
    own_kafka._processes[1].suspend()
    try:
        for _ in range(2):
            assert (await client.send(oru("while it hangs")))[0] == "AE"
        assert publisher.in_flight_bytes < 2 * len(oru("while it hangs"))  # the repeat waits for the first
    finally:
        own_kafka._processes[1].resume()
    await kept(client, oru("while it hangs"))
    own_kafka.kill_broker(1)
    assert (await client.send(oru("while it is dead")))[0] == "AE"
    await asyncio.to_thread(own_kafka.start_broker, 1)
    await kept(client, oru("while it is dead"))
    values = [value for _, _, value in await everything(settings, HL7_RAW)]
    assert values == [oru("before"), oru("while it hangs"), oru("while it is dead")]
    await client.close()
    await listener.stop()
    await publisher.stop()
    await ledger.close()


async def test_the_edge_starts_without_kafka_and_keeps_messages_once_it_is_there(tmp_path, kafka) -> None:
    (port,) = free_ports(1)
    settings = load({"WARDSTREAM_BOOTSTRAP": f"127.0.0.1:{port}", "WARDSTREAM_HOME": str(tmp_path)})
    publisher = KafkaPublisher(settings, delivery_timeout=0.5)
    await publisher.start()
    with pytest.raises(PublishFailed):
        await publisher.publish(HL7_RAW, "k", b"1", {})
    assert not publisher.connected
    assert publisher.in_flight_bytes == 0

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, real = kafka.bootstrap.partition(":")
        there, back = await asyncio.open_connection(host, int(real))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    create_topics(load({"WARDSTREAM_BOOTSTRAP": kafka.bootstrap}), [HL7_RAW])
    door = await asyncio.start_server(forward, "127.0.0.1", port)
    for _ in range(60):
        try:
            await publisher.publish(HL7_RAW, None, b"MSH|late", {})
            break
        except PublishFailed:
            continue
    assert publisher.connected
    await publisher.stop()
    door.close()
