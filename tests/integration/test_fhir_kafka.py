"""The FHIR endpoint on real Kafka: what is answered with 2xx is on the topic, and reads the same from there."""

from collections.abc import AsyncIterator

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.bus.admin import create_topics
from services.bus.connect import connection
from services.bus.settings import Settings
from services.bus.topics import DEAD_LETTERS, FHIR_RAW
from services.edge.fhir_http import fhir_app
from services.edge.publisher import KafkaPublisher
from services.formats import fhir
from services.formats.reading import Reading
from tests.unit.formats.fhir.build import NOW, SITE, key, observation, patient, transaction

pytestmark = pytest.mark.kafka


@pytest.fixture
async def http(bus_settings: Settings) -> AsyncIterator[TestClient]:
    create_topics(bus_settings, [FHIR_RAW, DEAD_LETTERS])
    publisher = KafkaPublisher(bus_settings)
    await publisher.start()
    async with TestClient(TestServer(fhir_app(publisher, SITE))) as client:
        yield client
    await publisher.stop()


async def ends(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    return await consumer.end_offsets([TopicPartition(FHIR_RAW.name, n) for n in range(FHIR_RAW.partitions)])


async def test_what_is_answered_with_2xx_is_on_the_topic_under_its_patients_key(http, bus_settings):
    bundle = orjson.dumps(transaction(("urn:uuid:1", patient()), ("urn:uuid:2", observation())))
    single = orjson.dumps(observation(id="o1"))
    consumer = AIOKafkaConsumer(**connection(bus_settings, "test"))
    await consumer.start()
    try:
        before = await ends(consumer)
        assert (await http.post("/fhir", data=bundle)).status == 200
        assert (await http.post("/fhir/Observation", data=single)).status == 201
        after = await ends(consumer)  # no wait: an answer means kept
        changed = [p for p in after if after[p] != before[p]]
        assert len(changed) == 1, "one patient, one partition"
        consumer.assign(changed)
        consumer.seek(changed[0], before[changed[0]])
        found = [m for batch in (await consumer.getmany(timeout_ms=5000)).values() for m in batch]
    finally:
        await consumer.stop()
    assert [(m.key, m.value) for m in found] == [(key().encode(), bundle), (key().encode(), single)]
    reading = fhir.read(found[1].value, SITE, NOW)
    assert isinstance(reading, Reading)
    assert reading.events[0].patient.encode() == found[1].key
