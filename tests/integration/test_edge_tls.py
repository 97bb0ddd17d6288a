"""The edge behind TLS, with senders that nobody here wrote: OpenSSL's client for MLLP, curl for FHIR."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from services.bus.admin import create_topics
from services.bus.settings import Settings
from services.bus.topics import DEAD_LETTERS, DICOM_RAW, FHIR_RAW, HL7_RAW
from services.edge.framing import framed
from services.edge.service import run_edge
from services.local.ports import free_ports
from tests.certificates import Authority
from tests.integration.test_mllp_kafka import everything

pytestmark = [pytest.mark.kafka, pytest.mark.peer]

OBSERVATION = (
    b'{"resourceType": "Observation", "status": "final", "effectiveDateTime": "2026-03-01T08:00:00Z", '
    b'"subject": {"identifier": {"system": "TLS", "value": "1"}}, '
    b'"code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "valueQuantity": {"value": 80}}'
)


def oru(control: str) -> bytes:
    return (
        f"MSH|^~\\&|LAB|TLS|WARDSTREAM|W|20260301080000||ORU^R01^ORU_R01|{control}|P|2.5.1\r"
        "PID|1||1^^^TLS^MR\rOBR|1||F1|PANEL^Vitals^L|||20260301080000\rOBX|1|NM|8867-4^Heart rate^LN||80|/min|||||F\r"
    ).encode()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def edge(bus_settings: Settings, authority: Authority) -> AsyncIterator[Settings]:
    """The edge on real Kafka, showing a certificate and asking for one."""
    mllp, http, dicom, metrics = free_ports(4)
    hosts = dict.fromkeys(("mllp_host", "http_host", "dicom_host", "metrics_host"), "127.0.0.1")
    settings = replace(
        bus_settings,
        pseudonym_secret=os.urandom(8).hex(),
        mllp_port=mllp,
        http_port=http,
        dicom_port=dicom,
        metrics_port=metrics,
        edge_tls_cert=str(authority.issue("edge", "IP:127.0.0.1")),
        edge_tls_client_ca=str(authority.certificate),
        **hosts,
    )
    create_topics(settings, [HL7_RAW, FHIR_RAW, DICOM_RAW, DEAD_LETTERS])
    stopping = asyncio.Event()
    running = asyncio.create_task(run_edge(settings, stopping))
    await ready(running, metrics)
    yield settings
    stopping.set()
    await asyncio.wait_for(running, 30)


async def ready(running: "asyncio.Task[None]", port: int) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(400):
            assert not running.done(), running.result()
            with suppress(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
    raise AssertionError("the edge did not become ready")


async def started(program: str, *arguments: object) -> asyncio.subprocess.Process:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not here")
    pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(program, *map(str, arguments), stdin=pipe, stdout=pipe, stderr=nowhere)


async def openssl_hears(edge: Settings, authority: Authority, message: bytes, *certificate: object) -> bytes:
    """What OpenSSL's client is answered; empty when it is not let in."""
    trusted = ("-CAfile", authority.certificate, "-verify_return_error", "-verify_ip", "127.0.0.1")
    there = f"127.0.0.1:{edge.mllp_port}"
    client = await started("openssl", "s_client", "-quiet", "-connect", there, *trusted, *certificate)
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(framed(message))
    try:
        return await asyncio.wait_for(client.stdout.readuntil(b"\x1c\r"), 20)
    except asyncio.IncompleteReadError as error:
        return error.partial
    finally:
        with suppress(ProcessLookupError):
            client.kill()
        await client.wait()


async def test_openssl_sends_hl7_with_a_certificate_and_is_not_heard_without(edge: Settings, authority: Authority):
    own = authority.issue("sender")
    assert b"MSA|AA|C1" in await openssl_hears(edge, authority, oru("C1"), "-cert", own, "-key", own)
    assert await openssl_hears(edge, authority, oru("C2")) == b""
    strange = Authority(authority.folder / "other").issue("sender")
    assert await openssl_hears(edge, authority, oru("C3"), "-cert", strange, "-key", strange) == b""
    assert [value for _, _, value in await everything(edge, HL7_RAW) if b"|TLS|" in value] == [oru("C1")]


async def test_curl_posts_fhir_with_a_certificate_and_is_not_heard_without(edge: Settings, authority: Authority):
    own = authority.issue("sender")
    address = f"https://127.0.0.1:{edge.http_port}/fhir/Observation"
    post = ("-s", "--cacert", authority.certificate, "-H", "Content-Type: application/fhir+json", "--data-binary", "@-")
    shown = ("-o", authority.folder / "answer", "-w", "%{http_code}", address)
    let_in = await started("curl", *post, "--cert", own, *shown)
    assert (await let_in.communicate(OBSERVATION))[0] == b"201"
    refused = await started("curl", *post, *shown)
    assert (await refused.communicate(OBSERVATION))[0] == b"000"
    assert [value for _, _, value in await everything(edge, FHIR_RAW) if b"TLS" in value] == [OBSERVATION]
