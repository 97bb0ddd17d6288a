"""dcmtk, which nobody here wrote, talks to the C-STORE provider; what it was told is kept is kept."""

import asyncio
import logging
import shutil
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

from services.bus.messages import DeadLetter
from services.bus.objects import FolderObjects, StoreUnavailable
from services.bus.topics import DEAD_LETTERS, DICOM_RAW
from services.domain.references import Reference
from services.edge import dicom_scp, dicom_wire
from services.edge.dicom_intake import DicomIntake
from services.edge.dicom_scp import DicomScp
from services.edge.publisher import MemoryPublisher
from services.formats.dicom import DicomObject, decode_object, read
from services.formats.dicom.pixels import decode
from services.formats.reading import Reading
from tests.unit.formats.dicom.files import CHEST, RECEIVED_MS, SITE, edited, picture, radiograph

pytestmark = pytest.mark.peer


class Folder(FolderObjects):
    """A folder store that can be told to be away, or to wait."""

    away = False

    async def put(self, data: bytes, content_type: str = "application/octet-stream") -> Reference:
        if self.away:
            raise StoreUnavailable("told to be away")
        return await super().put(data, content_type)


class Bench:
    """A provider on a free port, and what it keeps and publishes."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.objects, self.publisher = Folder(folder / "objects"), MemoryPublisher()
        intake = DicomIntake(self.objects, self.publisher, SITE)
        self.scp = DicomScp(intake, host="127.0.0.1", port=0, **options)  # type: ignore[arg-type]

    async def letters(self) -> list[tuple[str, bytes]]:
        """Reason and object of each dead letter, in order."""
        found = [msgspec.json.decode(m.value, type=DeadLetter) for m in self.publisher.on(DEAD_LETTERS)]
        return [(one.reason, await self.objects.get(decode_object(one.value).object)) for one in found]

    @property
    def kept(self) -> list[DicomObject]:
        """What was published, in order."""
        return [decode_object(message.value) for message in self.publisher.on(DICOM_RAW)]

    async def store(self, *arguments: str | Path) -> tuple[int, str]:
        """storescu with these options and files: its exit status and what it said."""
        options = [a for a in arguments if isinstance(a, str)]
        files = [a for a in arguments if isinstance(a, Path)]
        return await tool("storescu", "-v", *options, "-aec", "WARDSTREAM", "127.0.0.1", str(self.scp.port), *files)


async def tool(name: str, *arguments: str | Path) -> tuple[int, str]:
    """Run one of dcmtk's programs."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} (Debian's dcmtk) is not here")
    process = await asyncio.create_subprocess_exec(
        name, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output.decode(errors="replace")


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; TimeoutError after 20 s."""
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.scp.start()
    yield made
    await made.scp.stop()


async def test_echoscu_is_answered(bench: Bench) -> None:
    status, said = await tool("echoscu", "-v", "-aec", "WARDSTREAM", "127.0.0.1", str(bench.scp.port))
    assert status == 0, said
    assert "Received Echo Response (Success)" in said


LOSSLESS = {
    "explicit": ("-xe", "1.2.840.10008.1.2.1"),
    "implicit": ("-xi", "1.2.840.10008.1.2"),
    "deflated": ("-xd", "1.2.840.10008.1.2.1.99"),
    "rle": ("-xr", "1.2.840.10008.1.2.5"),
    "jpeg2000": ("-xv", "1.2.840.10008.1.2.4.90"),
    "jpeg lossless": ("-xs", "1.2.840.10008.1.2.4.70"),
    "jpeg-ls": ("-xt", "1.2.840.10008.1.2.4.80"),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("encoding", LOSSLESS)
async def test_every_lossless_encoding_arrives_with_the_same_pixels(
    bench: Bench, tmp_path: Path, encoding: str, dtype: type
) -> None:
    pixels = picture(dtype=dtype)
    path = await encoded(tmp_path, encoding, pixels)
    option, syntax = LOSSLESS[encoding]
    status, said = await bench.store("-R", option, path)
    assert status == 0, said
    (kept,) = bench.kept
    assert kept.transfer_syntax == syntax
    data = await bench.objects.get(kept.object)
    shown = decode(data)
    assert isinstance(shown, np.ndarray)
    low, spread = (pixels.min(), np.ptp(pixels)) if dtype == np.uint16 else (0, 255)  # the windows of `write`
    expected = (pixels - float(low)) / float(spread)
    assert np.abs(shown - expected).max() < 1e-6


async def encoded(folder: Path, encoding: str, pixels: np.ndarray) -> Path:
    """A file in that encoding, by pydicom where it can and dcmtk's compressors where it cannot."""
    path = folder / "in.dcm"
    own = encoding if encoding in ("rle", "jpeg2000") else "explicit"
    path.write_bytes(radiograph(pixels, syntax=own))
    compressor = {"jpeg lossless": ("dcmcjpeg", "+e1"), "jpeg-ls": ("dcmcjpls", "+el")}.get(encoding)
    if compressor:
        packed = folder / "packed.dcm"
        status, said = await tool(*compressor, path, packed)
        assert status == 0, said
        return packed
    return path


async def test_big_endian_arrives_when_a_sender_has_nothing_else(bench: Bench, tmp_path: Path) -> None:
    pixels = picture(dtype=np.uint16)
    source, turned = tmp_path / "in.dcm", tmp_path / "big.dcm"
    source.write_bytes(radiograph(pixels))
    assert (await tool("dcmconv", "+tb", source, turned))[0] == 0
    assert await scu(bench.scp.port, turned) == 0x0000
    (kept,) = bench.kept
    assert kept.transfer_syntax == "1.2.840.10008.1.2.2"
    stored = decode(await bench.objects.get(kept.object), voi=False)
    assert np.array_equal(stored, pixels.astype(np.float32))


async def test_a_lossy_jpeg_arrives_and_looks_the_same(bench: Bench, tmp_path: Path) -> None:
    source, packed = tmp_path / "in.dcm", tmp_path / "lossy.dcm"
    source.write_bytes(radiograph(picture()))
    assert (await tool("dcmcjpeg", "+eb", source, packed))[0] == 0
    status, said = await bench.store("-R", "-xy", packed)
    assert status == 0, said
    (kept,) = bench.kept
    assert kept.transfer_syntax == "1.2.840.10008.1.2.4.50"
    shown = decode(await bench.objects.get(kept.object))
    assert isinstance(shown, np.ndarray)
    assert np.abs(shown - picture() / 255.0).mean() < 0.02


async def test_a_real_radiograph_becomes_an_image_in_the_record(bench: Bench) -> None:
    status, said = await bench.store(CHEST)
    assert status == 0, said
    (message,) = bench.publisher.on(DICOM_RAW)
    reading = read(message.value, SITE, RECEIVED_MS)
    assert isinstance(reading, Reading)
    (event,) = reading.events
    assert (event.patient, event.type) == (message.key, "CR")
    assert event.facts[1].rows == 1955


async def test_eight_associations_at_once_lose_nothing(bench: Bench, tmp_path: Path) -> None:
    senders = []
    for sender in range(8):
        folder = tmp_path / str(sender)
        folder.mkdir()
        for number in range(5):
            (folder / f"{number}.dcm").write_bytes(radiograph(picture(seed=100 * sender + number)))
        senders.append(bench.store("-R", *sorted(folder.iterdir())))
    for status, said in await asyncio.gather(*senders):
        assert status == 0, said
    assert len({kept.sha256 for kept in bench.kept}) == len(bench.kept) == 40
    for kept in bench.kept:
        assert await bench.objects.exists(kept.object)


async def test_success_is_said_only_after_the_broker_has_answered(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "in.dcm"
    path.write_bytes(radiograph())
    bench.publisher.gate.clear()
    sending = asyncio.create_task(bench.store(path))
    await until(lambda: bench.publisher.attempts > 0)
    assert list(bench.objects.root.rglob("sha256/*/*"))  # the object is kept before the event is tried
    done, _ = await asyncio.wait([sending], timeout=0.3)
    assert not done
    bench.publisher.gate.set()
    status, said = await sending
    assert status == 0, said
    assert len(bench.kept) == 1


@pytest.mark.parametrize("part", ["storage", "broker", "time-out"])
async def test_what_cannot_be_kept_is_refused_for_now_and_taken_later(tmp_path: Path, part: str) -> None:
    bench = Bench(tmp_path, keep_timeout=0.3 if part == "time-out" else 20.0)
    path = tmp_path / "in.dcm"
    path.write_bytes(radiograph())
    await bench.scp.start()
    try:
        if part == "storage":
            bench.objects.away = True
        elif part == "broker":
            bench.publisher.away = True
        else:
            bench.publisher.gate.clear()
        status, said = await bench.store(path)
        assert status != 0
        assert "Refused: OutOfResources" in said
        assert bench.kept == []
        bench.objects.away = bench.publisher.away = False
        bench.publisher.gate.set()
        status, said = await bench.store(path)
        assert status == 0, said
        assert len(bench.kept) == 1
    finally:
        await bench.scp.stop()


async def test_a_data_set_that_is_not_what_was_announced_is_told_so(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "in.dcm"
    path.write_bytes(edited(radiograph(), SOPInstanceUID="1.2.3.4"))  # the file meta still names the first one
    assert await scu(bench.scp.port, path, announce="1.2.3.5") == 0xA900
    assert bench.kept == []
    ((reason, data),) = await bench.letters()
    assert reason == "not_as_announced"
    assert pydicom.dcmread(BytesIO(data)).SOPInstanceUID == "1.2.3.4"
    (letter,) = (msgspec.json.decode(m.value, type=DeadLetter) for m in bench.publisher.on(DEAD_LETTERS))
    assert isinstance(read(letter.value, SITE, RECEIVED_MS), Reading), "a retry takes it as it is"


async def test_what_cannot_be_read_is_told_so(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "in.dcm"
    path.write_bytes(radiograph())
    assert await scu(bench.scp.port, path, cut=100) == 0xC000
    assert bench.kept == []
    ((reason, data),) = await bench.letters()
    assert reason == "malformed"
    assert len(data) > 100


async def test_a_defect_is_a_failure_with_the_object_kept_and_no_word_of_the_patient(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(data: bytes) -> None:
        raise ValueError("FEATHERSTONEHAUGH^JANE")

    path = tmp_path / "in.dcm"
    path.write_bytes(radiograph())
    monkeypatch.setattr(dicom_scp, "read_header", broken)
    assert await scu(bench.scp.port, path) == 0x0110
    ((reason, data),) = await bench.letters()
    assert reason == "step_failed"
    assert pydicom.dcmread(BytesIO(data)).SOPInstanceUID == pydicom.dcmread(path).SOPInstanceUID
    assert "ValueError at test_dicom_scp.py:" in caplog.text
    assert "FEATHERSTONEHAUGH" not in caplog.text
    monkeypatch.undo()
    bench.publisher.away = True
    path.write_bytes(edited(radiograph(), SOPInstanceUID="1.2.3.4"))
    assert await scu(bench.scp.port, path, announce="1.2.3.5") == 0xA700, "refused only once that is kept"


async def scu(port: int, path: Path, announce: str = "", cut: int = 0) -> int:
    """A C-STORE of pynetdicom's, which lets us announce one thing and send another, or send half."""
    return await asyncio.to_thread(_scu, port, path, announce, cut)


def _scu(port: int, path: Path, announce: str, cut: int) -> int:
    dataset = pydicom.dcmread(path)
    entity = AE("TESTER")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="WARDSTREAM")
    assert association.is_established
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = dataset.SOPClassUID
    request.AffectedSOPInstanceUID = announce or dataset.SOPInstanceUID
    body = path.read_bytes()
    start = 144 + int.from_bytes(body[140:144], "little")
    request.DataSet = BytesIO(body[start : len(body) - cut])
    association._reactor_checkpoint.clear()  # as its own send_c_store does: the answer is for us, not for its reactor
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    return int(answer.Status)


async def test_a_wrong_called_or_calling_title_is_told_so(tmp_path: Path) -> None:
    bench = Bench(tmp_path, callers=("MODALITY1",))
    path = tmp_path / "in.dcm"
    path.write_bytes(radiograph())
    await bench.scp.start()
    try:
        status, said = await bench.store("-aet", "STRANGER", path)
        assert status != 0
        assert "Calling AE Title Not Recognized" in said
        status, said = await bench.store("-aet", "MODALITY1", path)
        assert status == 0, said
    finally:
        await bench.scp.stop()


async def test_a_peer_that_claims_a_huge_pdu_is_cut_off_and_others_go_on(bench: Bench, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.scp.port)
    writer.write(struct.pack(">BBL", 0x01, 0, 0xFFFFFFF0) + b"\0" * 4096)
    await writer.drain()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    path = tmp_path / "in.dcm"
    path.write_bytes(radiograph())
    assert (await bench.store(path))[0] == 0


async def test_an_object_above_the_cap_is_cut_off_before_it_fills_the_memory(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_object_bytes=1 << 20)
    path = tmp_path / "in.dcm"
    path.write_bytes(radiograph(picture(1500, 1500, np.uint16)))
    await bench.scp.start()
    try:
        status, _ = await bench.store(path)
        assert status != 0
        assert bench.kept == []
    finally:
        await bench.scp.stop()


async def test_many_large_objects_at_once_take_turns_and_all_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_wire, "SMALL_BYTES", 100_000)
    bench = Bench(tmp_path)
    paths = [tmp_path / f"{number}.dcm" for number in range(6)]
    for number, path in enumerate(paths):
        path.write_bytes(radiograph(picture(400, 400, np.uint16, seed=number)))
    await bench.scp.start()
    try:
        bench.publisher.gate.clear()
        sending = [asyncio.create_task(bench.store("-R", path)) for path in paths]
        await until(lambda: bench.publisher.attempts == 2)
        done, _ = await asyncio.wait(sending, timeout=0.5)
        assert not done
        assert bench.publisher.attempts == 2  # the others wait for their turn
        bench.publisher.gate.set()
        assert [status for status, _ in await asyncio.gather(*sending)] == [0] * 6
        assert len(bench.kept) == 6
    finally:
        await bench.scp.stop()


async def test_who_leaves_in_the_middle_of_a_large_object_gives_its_turn_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_wire, "SMALL_BYTES", 100_000)
    monkeypatch.setattr(dicom_wire, "LARGE_TIMEOUT_S", 5.0)
    bench = Bench(tmp_path, max_object_bytes=1 << 20)
    large, path = tmp_path / "large.dcm", tmp_path / "in.dcm"
    large.write_bytes(radiograph(picture(1500, 1500, np.uint16)))
    path.write_bytes(radiograph(picture(400, 400, np.uint16)))
    await bench.scp.start()
    try:
        for _ in range(4):
            assert (await bench.store("-R", large))[0] != 0  # above the cap: cut off
        assert (await bench.store("-R", path))[0] == 0
    finally:
        await bench.scp.stop()


async def test_a_peer_that_stalls_inside_a_pdu_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_wire, "STALL_TIMEOUT_S", 0.3)
    bench = Bench(tmp_path)
    await bench.scp.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.scp.port)
        writer.write(struct.pack(">BBL", 0x01, 0, 1000) + b"\0" * 10)
        await writer.drain()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    finally:
        await bench.scp.stop()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return key, cert


async def test_tls_with_client_certificates_and_a_silent_peer_that_holds_nobody_up(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(cert)
    context.verify_mode = ssl.CERT_REQUIRED
    bench = Bench(tmp_path, tls=context)
    path = tmp_path / "in.dcm"
    path.write_bytes(radiograph())
    await bench.scp.start()
    try:
        with socket.create_connection(("127.0.0.1", bench.scp.port)):  # says nothing, and no handshake
            status, said = await bench.store("+tls", str(key), str(cert), "+cf", str(cert), path)
            assert status == 0, said
        status, _ = await bench.store(path)  # without TLS
        assert status != 0
        assert len(bench.kept) == 1
    finally:
        await bench.scp.stop()


async def test_no_log_holds_who_the_patient_is(bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger().setLevel(logging.DEBUG)
    path = tmp_path / "in.dcm"
    path.write_bytes(radiograph(patient_id="MRN-SECRET", accession="ACC-SECRET"))
    assert (await bench.store(path))[0] == 0
    bench.publisher.away = True
    assert (await bench.store(path))[0] != 0
    await scu(bench.scp.port, path, cut=100)
    assert "SECRET" not in caplog.text
    assert "could not be kept" in caplog.text
    assert all(b"SECRET" not in str(message.headers).encode() for message in bench.publisher.messages)


async def test_stopping_lets_a_store_in_progress_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    path = tmp_path / "in.dcm"
    path.write_bytes(radiograph())
    await bench.scp.start()
    bench.publisher.gate.clear()
    sending = asyncio.create_task(bench.store(path))
    await until(lambda: bench.publisher.attempts > 0)
    port = bench.scp.port
    stopping = asyncio.create_task(bench.scp.stop())
    await until(lambda: not listens(port))
    bench.publisher.gate.set()
    await stopping
    _, said = await sending
    assert "Received Store Response (Success)" in said


def listens(port: int) -> bool:
    """Whether anybody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
