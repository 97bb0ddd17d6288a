"""Every object store keeps the same promises: in memory, in a folder, and on an S3 server."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.bus import objects
from services.bus.objects import (
    BadReference,
    FolderObjects,
    ObjectCorrupt,
    ObjectMissing,
    ObjectStore,
    StoreUnavailable,
    open_store,
)
from services.domain.references import reference_of

ABSENT = reference_of(b"nobody has kept this")


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A versitygw (an S3 server in one binary: `go install github.com/versity/versitygw/cmd/versitygw@latest`)."""
    program = os.environ.get("WARDSTREAM_TEST_S3_SERVER") or shutil.which("versitygw")
    if not program:
        pytest.skip("no S3 server here: put versitygw on PATH or name it in WARDSTREAM_TEST_S3_SERVER")
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    access = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_REGION": "us-east-1"}
    command = [program, "--quiet", "--port", f"127.0.0.1:{port}", "--access", "test", "--secret", "test-secret"]
    server = subprocess.Popen([*command, "posix", "--nometa", str(folder)], stdout=subprocess.DEVNULL)
    try:
        _await_http(port, server)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (access | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}).items():
                patch.setenv(name, value)
            yield "s3://bucket/some/prefix"
    finally:
        server.terminate()
        server.wait(10)


def _await_http(port: int, server: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
            return
        except urllib.error.HTTPError:
            return  # it answers, if only to refuse us
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the S3 server did not start")


@pytest.fixture(params=["memory", "folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        return open_store(request.getfixturevalue("s3_address"))
    return open_store("memory:" if request.param == "memory" else str(tmp_path / "made" / "on" / "demand"))


@pytest.mark.parametrize("data", [b"", b"\x00", b"DICM" * 1000, os.urandom(7 << 20)], ids=["empty", "1", "4k", "7M"])
async def test_what_was_put_is_what_is_got(store: ObjectStore, data: bytes) -> None:
    reference = await store.put(data, "application/dicom")
    assert reference == reference_of(data)
    assert await store.get(reference) == data
    assert await store.exists(reference)


async def test_the_same_bytes_have_one_name_however_often_they_are_kept(store: ObjectStore) -> None:
    first = await store.put(b"again", "application/dicom")
    assert {first} == set(await asyncio.gather(*(store.put(b"again", "image/png") for _ in range(20))))
    assert await store.get(first) == b"again"


async def test_an_absent_object_is_missing(store: ObjectStore) -> None:
    assert not await store.exists(ABSENT)
    with pytest.raises(ObjectMissing):
        await store.get(ABSENT)


@pytest.mark.parametrize(
    "reference", ["", "..", "../../etc/passwd", f"sha256/00/{'1' * 64}", ABSENT + "/..", ABSENT.upper(), ABSENT + "\n"]
)
async def test_nothing_but_a_reference_reaches_the_store(store: ObjectStore, reference: str) -> None:
    with pytest.raises(BadReference):
        await store.get(reference)
    with pytest.raises(BadReference):
        await store.exists(reference)


async def test_a_damaged_object_is_never_handed_out(tmp_path: Path) -> None:
    store = FolderObjects(tmp_path)
    reference = await store.put(b"whole")
    (tmp_path / reference).write_bytes(b"wrong")
    with pytest.raises(ObjectCorrupt):
        await store.get(reference)


async def test_a_cut_object_is_written_again(tmp_path: Path) -> None:
    store = FolderObjects(tmp_path)
    reference = await store.put(b"whole")
    (tmp_path / reference).write_bytes(b"who")
    await store.put(b"whole")
    assert await store.get(reference) == b"whole"


async def test_a_folder_that_cannot_be_written_is_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("a file where the folder should be")
    with pytest.raises(StoreUnavailable):
        await FolderObjects(tmp_path / "objects").put(b"data")


async def test_a_full_disk_is_unavailable_and_leaves_no_half_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(objects.os, "fsync", full)
    (tmp_path / reference_of(b"data")).parent.mkdir(parents=True)
    with pytest.raises(StoreUnavailable):
        await FolderObjects(tmp_path).put(b"data")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_the_object_and_every_changed_folder_are_synced_before_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    monkeypatch.setattr(objects.os, "fsync", note)
    reference = await FolderObjects(tmp_path / "store").put(b"data")
    folder = (tmp_path / "store" / reference).parent
    assert {tmp_path, tmp_path / "store", tmp_path / "store" / "sha256", folder} <= set(synced)
    assert synced[-1] == folder
    assert synced[-2].parent == folder  # the file, under its temporary name


async def test_an_s3_server_that_is_away_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setattr(objects, "S3_RETRY", objects.timedelta(seconds=1))
    with pytest.raises(StoreUnavailable):
        await open_store("s3://bucket").put(b"data")


@pytest.mark.parametrize("address", ["", "gs://bucket", "http://host/x"])
def test_an_address_of_no_known_store_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="WARDSTREAM_OBJECTS"):
        open_store(address)
