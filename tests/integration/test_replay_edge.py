"""A replay through the whole edge on real Kafka: every format kept, and a second replay adds no HL7 message."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from services.bus.admin import create_topics
from services.bus.settings import Settings, site_from_settings
from services.bus.topics import DEAD_LETTERS, DICOM_RAW, FHIR_RAW, HL7_RAW
from services.edge.service import run_edge
from services.formats.hl7v2.control import routing
from services.local.account import digest_of
from services.local.ports import free_ports
from services.local.replay.channels import open_channels
from services.local.replay.cinc2019 import Cinc2019
from services.local.replay.command import edge_of
from services.local.replay.files import FhirFiles
from services.local.replay.run import Run, items
from services.local.replay.source import Source
from services.local.simulate.source import Simulation
from tests.integration.test_mllp_kafka import everything
from tests.unit.local.replay import samples

pytestmark = pytest.mark.kafka


@pytest.fixture
async def edge(bus_settings: Settings, tmp_path: Path) -> AsyncIterator[Settings]:
    """The edge service on free ports, with a secret (and so patient keys) of this test's own."""
    mllp, http, dicom, metrics = free_ports(4)
    hosts = dict.fromkeys(("mllp_host", "http_host", "dicom_host", "metrics_host"), "127.0.0.1")
    ports = {"mllp_port": mllp, "http_port": http, "dicom_port": dicom, "metrics_port": metrics}
    settings = replace(bus_settings, pseudonym_secret=os.urandom(8).hex(), home=tmp_path, **hosts, **ports)
    create_topics(settings, [HL7_RAW, FHIR_RAW, DICOM_RAW, DEAD_LETTERS])
    stopping = asyncio.Event()
    running = asyncio.create_task(run_edge(settings, stopping))
    async with aiohttp.ClientSession() as session:
        for _ in range(400):
            assert not running.done(), running.result()
            try:
                async with session.get(f"http://127.0.0.1:{metrics}/readyz") as answer:
                    if answer.status == 200:
                        break
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
    yield settings
    stopping.set()
    await asyncio.wait_for(running, 30)


async def replayed(source: Source, settings: Settings):
    run = Run(source, open_channels(edge_of(settings), 3), in_flight=24)
    return await run.whole()


async def test_simulated_patients_arrive_whole_and_a_second_replay_adds_no_hl7_message(edge: Settings) -> None:
    source = Simulation(seed=3, patients=4)
    for _ in range(2):
        report = await replayed(source, edge)
        assert report.unacknowledged.total() == report.rejected.total() == report.retries == 0
    expected = list(items(source, None))
    site = site_from_settings(edge)
    keys = {routing(i.content(), site).patient.encode() for i in expected if i.kind == "hl7v2"}
    assert len(keys) == 4
    raw = [(key, value) for _, key, value in await everything(edge, HL7_RAW) if key in keys]
    assert Counter(value for _, value in raw) == Counter(i.content() for i in expected if i.kind == "hl7v2")
    for patient in {i.patient for i in expected}:
        mine = [i.content() for i in expected if i.patient == patient and i.kind == "hl7v2"]
        key = routing(mine[0], site).patient.encode()
        assert [value for k, value in raw if k == key] == mine
    images = {value for _, key, value in await everything(edge, DICOM_RAW) if key in keys}
    assert report.digests["hl7v2"] == {digest_of(value) for _, value in raw}  # what the report of a run compares
    assert len(images) == sum(i.kind == "dicom" for i in expected) > 0


async def test_a_psv_folder_arrives_in_event_time(edge: Settings, tmp_path: Path) -> None:
    (tmp_path / "psv").mkdir()
    source = Cinc2019(samples.cinc2019(tmp_path / "psv"))
    report = await replayed(source, edge)
    assert report.acknowledged["hl7v2"] == len(list(items(source, None)))
    assert report.answers == {"AA": report.sent}


async def test_fhir_files_are_kept(edge: Settings, tmp_path: Path) -> None:
    (tmp_path / "fhir").mkdir()
    patient = '{"resourceType":"Patient","id":"p1","identifier":[{"system":"urn:h","value":"77"}]}'
    value = '"valueQuantity":{"value":80,"unit":"/min","system":"http://unitsofmeasure.org","code":"/min"}'
    observation = (
        '{"resourceType":"Observation","id":"o1","status":"final","effectiveDateTime":"2025-01-01T10:00:00Z",'
        '"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},'
        f'"subject":{{"reference":"Patient/p1","identifier":{{"system":"urn:h","value":"77"}}}},{value}}}'
    )
    (tmp_path / "fhir" / "a.ndjson").write_text(f"{patient}\n{observation}\n")
    report = await replayed(FhirFiles(tmp_path / "fhir"), edge)
    assert (report.acknowledged["fhir"], report.rejected["fhir"]) == (2, 0)
    kept = {digest_of(value) for _, _, value in await everything(edge, FHIR_RAW)}
    assert len(report.digests["fhir"]) == 2
    assert report.digests["fhir"] <= kept
