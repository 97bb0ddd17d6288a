"""Object storage: where DICOM objects, thumbnails and attachments lie, named by their content's SHA-256.

A reference is `sha256/<first two digits>/<64 hex digits>`, the same in every store, so an object has one name
however often and wherever it is kept, and what is read back can be checked against its own name. `put` returns
only when the object would survive a power failure: the folder store calls fsync on the file and on each folder
whose entries changed (obstore's local store renames without any fsync, so it is not used for folders); an S3
server answers a PUT once it has stored it.

Errors, all below `ObjectError`; their texts name the reference, never what is in it:

    ObjectError
    ├── BadReference      not of the form above
    ├── ObjectMissing     no such object
    ├── ObjectCorrupt     its bytes are not those of its name
    └── StoreUnavailable  the disk, network or server failed: keep the message and try again
"""

import asyncio
import logging
import os
import re
import secrets
import stat
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from obstore.exceptions import BaseError, NotFoundError
from obstore.store import MemoryStore, S3Store, from_url

from services.domain.references import Reference, reference_of

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_REFERENCE = re.compile(r"sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})", re.ASCII)

S3_TIMEOUT = timedelta(seconds=20)
"""For one request; a DICOM object of 256 MiB at 100 Mbit/s takes 21 s, so big sites raise their bandwidth first."""
S3_RETRY = timedelta(seconds=30)
"""After this the caller hears of it, well within a C-STORE sender's usual time-out of a minute."""


class ObjectError(Exception):
    """What a store raises."""


class BadReference(ObjectError):
    """The reference is not of the form that this module makes."""


class ObjectMissing(ObjectError):
    """There is no object of that name."""


class ObjectCorrupt(ObjectError):
    """The bytes kept under a name are not the bytes it was made from."""


class StoreUnavailable(ObjectError):
    """Storage is away or full; nothing is wrong with the object."""


class ObjectStore(Protocol):
    """The port. `tests/contract/test_object_store.py` holds every store to it."""

    async def put(self, data: bytes, content_type: str = "application/octet-stream") -> Reference:
        """Keep `data` for good and return its name; the same bytes again change nothing. Raises StoreUnavailable."""
        ...

    async def get(self, reference: str) -> bytes:
        """The object's bytes, checked against its name. Raises any ObjectError."""
        ...

    async def exists(self, reference: str) -> bool:
        """Whether the object is there. Raises BadReference, StoreUnavailable."""
        ...


def check_reference(reference: str) -> Reference:
    """The reference itself; raises BadReference for anything else (a path out of the store, say)."""
    if not _REFERENCE.fullmatch(reference):
        raise BadReference("not an object reference (sha256/ab/ab...)")
    return Reference(reference)


def _checked(reference: str, data: bytes) -> bytes:
    if reference_of(data) != reference:
        raise ObjectCorrupt(f"{reference} holds other bytes than its name says")
    return data


class FolderObjects:
    """Objects as files below one folder, readable by this user and group alone."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"FolderObjects({str(self.root)!r})"

    async def put(self, data: bytes, content_type: str = "application/octet-stream") -> Reference:
        return await asyncio.to_thread(self._put, bytes(data))

    async def get(self, reference: str) -> bytes:
        path = self.root / check_reference(reference)
        try:
            return _checked(reference, await asyncio.to_thread(path.read_bytes))
        except FileNotFoundError:
            raise ObjectMissing(reference) from None
        except OSError as error:
            raise StoreUnavailable(f"cannot read {reference}: {error.strerror}") from error

    async def exists(self, reference: str) -> bool:
        path = self.root / check_reference(reference)
        try:
            return stat.S_ISREG((await asyncio.to_thread(path.stat)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StoreUnavailable(f"cannot look for {reference}: {error.strerror}") from error

    def _put(self, data: bytes) -> Reference:
        reference = reference_of(data)
        path = self.root / reference
        try:
            _make_folders(path.parent)
            if not _same_size(path, len(data)):
                _write(path, data)
            _fsync(path.parent)  # also when another writer renamed it a moment ago and has not come to this line
        except OSError as error:
            raise StoreUnavailable(f"cannot keep an object below {self.root}: {error.strerror}") from error
        return reference


def _same_size(path: Path, size: int) -> bool:
    """A file appears under its name only when it is whole, so its size tells a damaged one well enough."""
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _write(path: Path, data: bytes) -> None:
    """Write beside, fsync, rename: the name never stands for half an object, whoever else writes it meanwhile."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _make_folders(folder: Path) -> None:
    """mkdir -p in which each new folder's entry is on disk too."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True, mode=0o750)
    _fsync(folder.parent)


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class RemoteObjects:
    """Objects in anything obstore speaks to: an S3 server, or memory in tests."""

    def __init__(self, store: S3Store | MemoryStore) -> None:
        self._store = store

    async def put(self, data: bytes, content_type: str = "application/octet-stream") -> Reference:
        reference = reference_of(data)
        try:
            attributes = {"Content-Type": content_type}
            await self._store.put_async(reference, bytes(data), attributes=attributes, use_multipart=False)
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"cannot keep {reference}: {type(error).__name__}") from error
        return reference

    async def get(self, reference: str) -> bytes:
        check_reference(reference)
        try:
            found = await self._store.get_async(reference)
            return _checked(reference, bytes(await found.bytes_async()))
        except (NotFoundError, FileNotFoundError):
            raise ObjectMissing(reference) from None
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"cannot read {reference}: {type(error).__name__}") from error

    async def exists(self, reference: str) -> bool:
        check_reference(reference)
        try:
            await self._store.head_async(reference)
        except (NotFoundError, FileNotFoundError):
            return False
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"cannot look for {reference}: {type(error).__name__}") from error
        return True


RETRY_S = 2.0
"""Between two tries of `Persistent` while the store is away."""


class Persistent:
    """A store that is asked again for as long as it is away, for steps that must not go on without it.

    `on_wait` is called before each wait, so that a step that waits does not look like one that hangs.
    """

    def __init__(
        self,
        store: ObjectStore,
        on_wait: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._on_wait, self._sleep = store, on_wait, sleep

    async def put(self, data: bytes, content_type: str = "application/octet-stream") -> Reference:
        """`ObjectStore.put`."""
        return await self._insist(lambda: self._store.put(data, content_type))

    async def get(self, reference: str) -> bytes:
        """`ObjectStore.get`. Raises BadReference, ObjectMissing, ObjectCorrupt."""
        return await self._insist(lambda: self._store.get(reference))

    async def exists(self, reference: str) -> bool:
        """`ObjectStore.exists`. Raises BadReference."""
        return await self._insist(lambda: self._store.exists(reference))

    async def _insist(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        while True:
            try:
                return await ask()
            except StoreUnavailable as error:
                log.warning("object store away: %s", error)
            self._on_wait()
            await self._sleep(RETRY_S)


def open_store(address: str) -> ObjectStore:
    """The store at WARDSTREAM_OBJECTS: a folder's path, `s3://bucket/prefix`, or `memory:` (tests).

    S3 credentials, region and end point come from the usual variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_REGION, AWS_ENDPOINT_URL; an http:// end point is taken as it is), or from the pod's service account.
    """
    if address == "memory:":
        return RemoteObjects(MemoryStore())
    if address.startswith("s3://"):
        plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
        store = from_url(
            address,
            client_options={"allow_http": plain, "timeout": S3_TIMEOUT},
            retry_config={"max_retries": 5, "retry_timeout": S3_RETRY},
        )
        assert isinstance(store, S3Store)
        return RemoteObjects(store)
    if "://" in address or not address:
        raise ValueError("WARDSTREAM_OBJECTS must be a folder or s3://bucket/prefix")
    return FolderObjects(Path(address).expanduser())
