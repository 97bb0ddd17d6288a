"""STOW-RS as clients speak it: over HTTP, many instances, cut, mislabelled, too large, and with storage away."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.bus.messages import DeadLetter
from services.bus.objects import open_store
from services.bus.topics import DEAD_LETTERS, DICOM_RAW
from services.edge import stow
from services.edge.dicom_intake import DicomIntake
from services.edge.publisher import MemoryPublisher
from services.edge.stow import Stow
from services.formats.dicom import DicomObject, decode_object, read
from services.formats.reading import Reading
from tests.unit.formats.dicom.files import CHEST, RECEIVED_MS, SITE, picture, radiograph


class Bench:
    """The endpoint on a free port, and what it keeps and publishes."""

    def __init__(self, folder: Path) -> None:
        self.objects, self.publisher = open_store(str(folder / "objects")), MemoryPublisher()
        self.stow = Stow(
            DicomIntake(self.objects, self.publisher, SITE),
            max_object_bytes=16 << 20,
            max_request_bytes=32 << 20,
            keep_timeout=0.5,
            read_timeout=0.5,
        )

    async def __aenter__(self) -> "Bench":
        app = web.Application()
        self.stow.add_to(app)
        self._runner = web.AppRunner(app, lingering_time=0.2, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/dicom-web/studies"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    @property
    def kept(self) -> list[DicomObject]:
        """What was published, in order."""
        return [decode_object(message.value) for message in self.publisher.on(DICOM_RAW)]

    async def post(self, body: Any, url: str = "", **headers: str) -> tuple[int, Any]:
        """One request: status and JSON answer."""
        async with self._session.post(url or self.url, data=body, headers=headers) as response:
            said = await response.read()
            return response.status, json.loads(said) if said.startswith(b"{") else said

    async def store(self, *files: bytes, url: str = "") -> tuple[int, Any]:
        """Store instances by aiohttp's own multipart writer."""
        with aiohttp.MultipartWriter("related") as body:
            for file in files:
                body.append(file, {"Content-Type": "application/dicom"})
        body.headers["Content-Type"] = f'multipart/related; type="application/dicom"; boundary={body.boundary}'
        return await self.post(body, url)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as made:
        yield made


def reasons(answer: Any) -> list[int]:
    """The failure reasons (0008,1197) of an answer."""
    return [item["00081197"]["Value"][0] for item in answer.get("00081198", {}).get("Value", [])]


def instances(answer: Any) -> list[str]:
    """The instances that an answer says are kept."""
    return [item["00081155"]["Value"][0] for item in answer.get("00081199", {}).get("Value", [])]


async def test_instances_are_kept_published_and_named_in_the_answer(bench: Bench) -> None:
    files = [radiograph(picture(seed=n)) for n in range(3)] + [CHEST.read_bytes()]
    status, answer = await bench.store(*files)
    assert status == 200
    assert len(instances(answer)) == 4
    assert instances(answer) == [kept.header["00080018"].Value[0] for kept in bench.kept]
    assert [await bench.objects.get(kept.object) for kept in bench.kept] == files
    for message in bench.publisher.messages:
        reading = read(message.value, SITE, RECEIVED_MS)
        assert isinstance(reading, Reading)
        assert reading.events[0].patient == message.key


async def test_curl_can_store(bench: Bench, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")
    body = b"--B\r\nContent-Type: application/dicom\r\n\r\n" + radiograph() + b"\r\n--B--\r\n"
    (tmp_path / "body").write_bytes(body)
    kind = 'Content-Type: multipart/related; type="application/dicom"; boundary=B'
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-w", "%{http_code}", "-H", kind, "--data-binary", f"@{tmp_path}/body", bench.url,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert said.endswith(b"200"), said
    assert len(bench.kept) == 1


async def test_some_refused_is_202_with_the_reason_of_each(bench: Bench) -> None:
    status, answer = await bench.store(radiograph(), b"not DICOM at all", radiograph()[:-50])
    assert status == 202
    assert reasons(answer) == [0xC000, 0xC000]
    assert len(instances(answer)) == len(bench.kept) == 1


async def test_all_refused_is_409(bench: Bench) -> None:
    status, answer = await bench.store(b"not DICOM at all")
    assert (status, reasons(answer)) == (409, [0xC000])
    assert bench.kept == []
    (letter,) = (msgspec.json.decode(m.value, type=DeadLetter) for m in bench.publisher.on(DEAD_LETTERS))
    assert letter.reason == "not_dicom"
    assert await bench.objects.get(decode_object(letter.value).object) == b"not DICOM at all"


async def test_a_defect_is_told_with_the_object_kept_and_no_word_of_the_patient(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(data: bytes) -> None:
        raise ValueError("FEATHERSTONEHAUGH^JANE")

    monkeypatch.setattr(stow, "read_header", broken)
    file = radiograph()
    status, answer = await bench.store(file)
    assert (status, reasons(answer)) == (409, [0x0110])
    (letter,) = (msgspec.json.decode(m.value, type=DeadLetter) for m in bench.publisher.on(DEAD_LETTERS))
    assert letter.reason == "step_failed"
    assert await bench.objects.get(decode_object(letter.value).object) == file
    monkeypatch.setattr(stow, "_parts", broken)
    assert (await bench.store(file))[0] == 500
    assert "ValueError at test_dicom_stow.py:" in caplog.text
    assert "FEATHERSTONEHAUGH" not in caplog.text


async def test_an_instance_of_another_study_than_the_address_is_refused(bench: Bench) -> None:
    file = radiograph()
    status, answer = await bench.store(file, url=f"{bench.url}/1.2.3")
    assert (status, reasons(answer)) == (409, [0xA900])
    await bench.store(file)
    study = bench.kept[0].header["0020000D"].Value[0]
    status, _ = await bench.store(file, url=f"{bench.url}/{study}")
    assert status == 200


async def test_while_the_broker_is_away_nothing_is_promised_and_later_all_is_kept(bench: Bench) -> None:
    bench.publisher.away = True
    status, answer = await bench.store(radiograph())
    assert (status, reasons(answer)) == (503, [0xA700])
    bench.publisher.away = False
    bench.publisher.gate.clear()
    status, answer = await bench.store(radiograph())  # the broker never answers
    assert (status, reasons(answer)) == (503, [0xA700])
    bench.publisher.gate.set()
    assert (await bench.store(radiograph()))[0] == 200


RELATED = 'multipart/related; type="application/dicom"; boundary=B'
PART = b"--B\r\nContent-Type: application/dicom\r\n\r\n"


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/dicom", b"x", 415),
        ('multipart/related; type="application/dicom+json"; boundary=B', PART + b"{}\r\n--B--", 415),
        ('multipart/related; type="application/dicom"', PART, 400),
        (f"multipart/related; boundary={'B' * 71}", PART, 400),
        (RELATED, b"", 400),
        (RELATED, b"--B--\r\n", 400),
        (RELATED, PART + b"cut off", 400),
        (RELATED, b"--B\r\nContent-Type: text/plain\r\n\r\nx\r\n--B--", 415),
        (RELATED, b"--B\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\n\r\nx\r\n--C--\r\n--B--", 415),
        (RELATED, b"--B\r\nContent-Length: -1\r\n\r\nx\r\n--B--", 400),
        (RELATED, b"--B\r\n" + b"x" * (1 << 20), 400),
    ],
)
async def test_a_body_that_is_not_what_it_should_be_is_told_so(
    bench: Bench, kind: str, body: bytes, expected: int
) -> None:
    status, _ = await bench.post(body, **{"Content-Type": kind})
    assert status == expected
    assert bench.kept == []


async def test_what_is_too_large_is_refused_before_it_is_held(bench: Bench) -> None:
    status, _ = await bench.post(PART + bytes(17 << 20) + b"\r\n--B--", **{"Content-Type": RELATED})
    assert status == 413
    status, _ = await bench.post(PART + bytes(33 << 20), **{"Content-Type": RELATED})
    assert status == 413


async def test_a_body_that_stops_coming_is_given_up(bench: Bench) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: {RELATED}\r\nContent-Length: 100000\r\n\r\n"
    writer.write(head.encode() + PART + b"and then silence")
    assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_an_answer_in_xml_is_not_acceptable(bench: Bench) -> None:
    status, _ = await bench.post(PART, **{"Content-Type": RELATED, "Accept": "application/dicom+xml"})
    assert status == 406


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_body_makes_the_server_fail(tmp_path: Path, data: st.DataObject) -> None:
    whole = PART + radiograph(picture(8, 8)) + b"\r\n--B--\r\n"
    cut = data.draw(st.integers(0, len(whole)))
    noise = data.draw(st.binary(max_size=200))
    at = data.draw(st.integers(0, cut))
    body = whole[:at] + noise + whole[at + data.draw(st.integers(0, 50)) : cut]

    async def send() -> int:
        async with Bench(tmp_path) as bench:
            status, answer = await bench.post(body, **{"Content-Type": RELATED})
            assert len(instances(answer) if isinstance(answer, dict) else []) in (0, len(bench.kept))
            return status

    assert asyncio.run(send()) in (200, 202, 400, 409, 415)
