"""The C-STORE provider on real Kafka: success means that the event can be read, and never comes while Kafka is away."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.bus.admin import create_topics
from services.bus.connect import connection
from services.bus.objects import open_store
from services.bus.settings import Settings, load
from services.bus.topics import DICOM_RAW
from services.domain.identity import patient_key
from services.edge import service
from services.edge.dicom_intake import DicomIntake
from services.edge.dicom_scp import DicomScp
from services.edge.publisher import KafkaPublisher
from services.formats.dicom import decode_object
from services.local.kafka import LocalKafka
from services.local.ports import free_ports
from tests.unit.formats.dicom.files import SITE, radiograph

pytestmark = [pytest.mark.kafka, pytest.mark.peer]

SUCCESS, AWAY = "Received Store Response (Success)", "Received Store Response (Refused: OutOfResources"


@dataclass
class Bench:
    """A provider whose events go to a cluster, and the end of its topic."""

    settings: Settings
    scp: DicomScp
    consumer: AIOKafkaConsumer

    async def storescu(self, *files: Path, calling: str = "MODALITY") -> tuple[int, str]:
        if shutil.which("storescu") is None:
            pytest.skip("storescu (Debian's dcmtk) is not here")
        process = await asyncio.create_subprocess_exec(
            *("storescu", "-v", "-R", "-aet", calling, "-aec", "WARDSTREAM", "127.0.0.1", str(self.scp.port)),
            *map(str, files),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0, output.decode(errors="replace")

    async def ends(self) -> dict[TopicPartition, int]:
        return await self.consumer.end_offsets([TopicPartition(DICOM_RAW.name, n) for n in range(DICOM_RAW.partitions)])

    async def since(self, before: dict[TopicPartition, int]) -> list[tuple[bytes | None, bytes]]:
        """(key, value) of what has come to the topic since; read with no wait for more than is there."""
        after = await self.ends()
        changed = [p for p in after if after[p] != before[p]]
        self.consumer.assign(changed or list(after))
        found = []
        for partition in changed:
            self.consumer.seek(partition, before[partition])
        while any([await self.consumer.position(p) < after[p] for p in changed]):
            for batch in (await self.consumer.getmany(timeout_ms=500)).values():
                found += [(m.key, m.value) for m in batch]
        return found


@asynccontextmanager
async def bench(kafka: LocalKafka, folder: Path, **more: str) -> AsyncIterator[Bench]:
    given = {f"WARDSTREAM_{name.upper()}": value for name, value in more.items()}
    settings = load({"WARDSTREAM_BOOTSTRAP": kafka.bootstrap, "WARDSTREAM_HOME": str(folder), **given})
    create_topics(settings, [DICOM_RAW])
    publisher = KafkaPublisher(settings, delivery_timeout=3.0)
    await publisher.start()
    intake = DicomIntake(open_store(settings.objects_address), publisher, SITE)
    scp = DicomScp(
        intake,
        host="127.0.0.1",
        port=0,
        callers=settings.dicom_callers,
        max_associations=settings.dicom_max_associations,
    )
    await scp.start()
    consumer = AIOKafkaConsumer(**connection(settings, "test"))
    await consumer.start()
    try:
        yield Bench(settings, scp, consumer)
    finally:
        await asyncio.gather(consumer.stop(), scp.stop())
        await publisher.stop()


def image(folder: Path, name: str, patient: str) -> Path:
    path = folder / name
    path.write_bytes(radiograph(patient_id=patient))
    return path


async def test_success_is_answered_when_the_event_is_readable_and_its_object_kept(kafka, tmp_path):
    path = image(tmp_path, "a.dcm", "MRN-501")
    async with bench(kafka, tmp_path) as scp:
        before = await scp.ends()
        status, said = await scp.storescu(path)
        found = await scp.since(before)  # no wait: success means kept
        assert (status, SUCCESS in said) == (0, True), said
        ((key, value),) = found
        assert key == patient_key("WARDS", "MRN-501", SITE.secret).encode()
        event = decode_object(value)
        store = open_store(scp.settings.objects_address)
        kept = await store.get(event.object)
    assert event.sha256 in event.object
    assert len(kept) == event.size


async def test_while_kafka_is_away_a_failure_is_answered_and_the_repeat_is_kept(tmp_path):
    kafka = LocalKafka(tmp_path / "kafka", die_with_parent=True)
    kafka.start()
    try:
        async with bench(kafka, tmp_path) as scp:
            first, second = image(tmp_path, "a.dcm", "MRN-601"), image(tmp_path, "b.dcm", "MRN-602")
            before = await scp.ends()
            assert (await scp.storescu(first))[0] == 0
            kafka.kill_broker(1)
            status, said = await scp.storescu(second)
            assert status != 0
            assert AWAY in said, said
            assert SUCCESS not in said
            await asyncio.to_thread(kafka.start_broker, 1)
            async with asyncio.timeout(40):  # the sender keeps what was refused and sends it again
                while SUCCESS not in (await scp.storescu(second))[1]:
                    pass
            keys = [key for key, _ in await scp.since(before)]
    finally:
        kafka.kill()
    expected = [patient_key("WARDS", number, SITE.secret).encode() for number in ("MRN-601", "MRN-602")]
    assert set(keys) == set(expected), "nothing that was answered with success is missing"


async def test_callers_of_the_settings_are_let_in_and_others_are_not(kafka, tmp_path):
    path = image(tmp_path, "a.dcm", "MRN-701")
    async with bench(kafka, tmp_path, dicom_callers="CT1,XRAY2") as scp:
        assert (await scp.storescu(path, calling="XRAY2"))[0] == 0
        status, said = await scp.storescu(path, calling="STRANGER")
        assert status != 0
        assert "Calling AE Title Not Recognized" in said, said


async def test_the_edge_service_gives_its_provider_the_settings(monkeypatch, bus_settings, tmp_path):
    given = {}

    class Seen(DicomScp):
        def __init__(self, *arguments, **named):
            given.update(named)
            super().__init__(*arguments, **named)

    monkeypatch.setattr(service, "DicomScp", Seen)
    ports = free_ports(4)
    names = ("MLLP_PORT", "HTTP_PORT", "DICOM_PORT", "METRICS_PORT")
    settings = load(
        {f"WARDSTREAM_{name}": str(port) for name, port in zip(names, ports, strict=True)}
        | {"WARDSTREAM_BOOTSTRAP": bus_settings.bootstrap, "WARDSTREAM_HOME": str(tmp_path)}
        | {"WARDSTREAM_DICOM_CALLERS": "CT1, XRAY2", "WARDSTREAM_DICOM_MAX_ASSOCIATIONS": "3"}
    )
    stopping = asyncio.Event()
    stopping.set()
    await service.run_edge(settings, stopping)
    assert (given["callers"], given["max_associations"]) == (("CT1", "XRAY2"), 3)
