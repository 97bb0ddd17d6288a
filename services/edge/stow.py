"""STOW-RS: store instances over HTTP (PS3.18 section 10.5, `POST /dicom-web/studies[/{study}]`).

The body is multipart/related with parts of application/dicom, read as it streams in and kept one instance at a
time: object, then event, then its line in the answer. The answer is the Store Instances Response Module in DICOM
JSON (PS3.18 I.2): 200 all kept, 202 some, 409 none; 503 when none was kept because storage or broker is away.
"""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import orjson
from aiohttp import BodyPartReader, ClientError, MultipartReader, web
from aiohttp.helpers import parse_mimetype
from aiohttp.http_exceptions import HttpProcessingError

from services.bus.metrics import ACK_SECONDS, ACKNOWLEDGED, RECEIVED
from services.bus.objects import ObjectError
from services.domain.reasons import Rejected, RejectReason
from services.edge.defects import defect, described
from services.edge.dicom_intake import KEEP_TIMEOUT_S, LARGE_AT_ONCE, MAX_OBJECT_BYTES, SMALL_BYTES, DicomIntake
from services.edge.publisher import PublishFailed, TooLarge
from services.formats.dicom import read_header
from services.formats.dicom.model import DicomObject, text

log = logging.getLogger(__name__)

PROCESSING_FAILURE = 0x0110
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
"""Failure Reason (0008,1197), PS3.18 table I.2-2."""

OTHER_STUDY = Rejected(RejectReason.NOT_AS_ANNOUNCED, "(0020,000D)", "the URL names another study")
INSTANCE_TYPE = "application/dicom"
JSON_TYPE = "application/dicom+json"
MAX_REQUEST_BYTES = 4 << 30
MAX_PARTS = 10_000
READ_TIMEOUT_S = 60.0
"""Longest wait for the next bytes of a body."""
RETRY_AFTER_S = 5


class BadBody(Exception):
    """The body is not the multipart/related that it should be: what is wrong, for the client, and the HTTP status."""

    def __init__(self, status: int, hint: str) -> None:
        super().__init__(hint)
        self.status, self.hint = status, hint


@dataclass
class Stored:
    """The answer as it grows: items of (0008,1199) and of (0008,1198)."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    away: bool = False

    @property
    def status(self) -> int:
        """The HTTP status of PS3.18 table 10.5.3-1."""
        if not self.failed:
            return 200
        if self.kept:
            return 202
        return 503 if self.away else 409


class Stow:
    """The endpoint; `add_to` puts it into an aiohttp application."""

    def __init__(
        self,
        intake: DicomIntake,
        *,
        max_object_bytes: int = MAX_OBJECT_BYTES,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        max_requests: int = 32,
        keep_timeout: float = KEEP_TIMEOUT_S,
        read_timeout: float = READ_TIMEOUT_S,
    ) -> None:
        """At most `max_requests` are read at once, and LARGE_AT_ONCE large instances in them; others wait."""
        self._intake = intake
        self._max_object_bytes = max_object_bytes
        self._max_request_bytes = max_request_bytes
        self._keep_timeout = keep_timeout
        self._read_timeout = read_timeout
        self._turns = asyncio.Semaphore(max_requests)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_post("/dicom-web/studies", self.handle)
        app.router.add_post("/dicom-web/studies/{study}", self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        begun = perf_counter()
        async with self._turns:
            try:
                stored = await self._store(request)
            except BadBody as error:
                return web.json_response({"error": error.hint}, status=error.status, headers={"Connection": "close"})
            except Exception as error:  # noqa: BLE001 -- aiohttp would log its text
                log.error("a STOW-RS request ended in a defect: %s", described(error))
                return web.json_response({"error": "a defect; nothing is promised"}, status=500)
        ACK_SECONDS.labels("dicom").observe(perf_counter() - begun)
        return _response(stored)

    async def _store(self, request: web.Request) -> Stored:
        if request.content_length and request.content_length > self._max_request_bytes:
            raise BadBody(413, f"a request may be {self._max_request_bytes} bytes")
        parts = _parts(request)
        stored, budget, count = Stored(), self._max_request_bytes, 0
        while part := await self._next(parts):
            count += 1
            if count > MAX_PARTS:
                raise BadBody(413, f"a request may have {MAX_PARTS} instances")
            async with AsyncExitStack() as turn:
                data = await self._read(part, budget, turn)
                budget -= len(data)
                await self._one(data, request.match_info.get("study", ""), stored)
        if not count:
            raise BadBody(400, "the body has no part")
        return stored

    async def _next(self, parts: MultipartReader) -> BodyPartReader | None:
        part = await self._in_time(parts.next())
        if part is None:
            return None
        kind = part.headers.get("Content-Type", INSTANCE_TYPE).partition(";")[0].strip().lower()
        if not isinstance(part, BodyPartReader) or kind != INSTANCE_TYPE:
            raise BadBody(415, "each part must be application/dicom")
        return part

    async def _read(self, part: BodyPartReader, budget: int, turn: AsyncExitStack) -> bytes:
        """One part's bytes, within its own cap and the request's; `turn` holds its place among the large ones."""
        data, cap, large = bytearray(), min(budget, self._max_object_bytes), False
        while chunk := await self._in_time(part.read_chunk(1 << 16)):
            data += chunk
            if len(data) > cap:
                raise BadBody(413, f"an instance may be {self._max_object_bytes} bytes")
            if len(data) > SMALL_BYTES and not large:
                large = True
                await turn.enter_async_context(self._large)
        return bytes(data)

    async def _in_time(self, reading: Any) -> Any:
        """What aiohttp's multipart reader gives; its complaints, which quote the body, become our own."""
        try:
            async with asyncio.timeout(self._read_timeout):
                return await reading
        except TimeoutError:
            raise BadBody(408, "the body stopped coming") from None
        except (ValueError, RuntimeError, AssertionError, LookupError, HttpProcessingError, ClientError):
            raise BadBody(400, "the body is not multipart/related with the boundary that its header names") from None

    async def _one(self, data: bytes, study: str, stored: Stored) -> None:
        """Keep one instance and note how it went."""
        RECEIVED.labels("dicom").inc()
        found: DicomObject | Rejected | None = None
        try:
            found = await asyncio.to_thread(read_header, data)
            reason = await self._taken(found, data, study)
        except Exception as error:  # noqa: BLE001 -- a defect of ours: the object is not lost by it
            log.error("STOW-RS: an object ended in a defect: %s", described(error))
            reason = await self._in_store(self._intake.refuse(None, data, defect(error)), PROCESSING_FAILURE)
        ACKNOWLEDGED.labels("dicom", f"0x{reason:04X}").inc()
        stored.away = stored.away or reason == OUT_OF_RESOURCES
        if reason:
            stored.failed.append(_item(found) | {"00081197": {"vr": "US", "Value": [reason]}})
        else:
            stored.kept.append(_item(found) | {"00081190": {"vr": "UR"}})  # nothing to retrieve it from

    async def _taken(self, found: DicomObject | Rejected, data: bytes, study: str) -> int:
        """Keep the object, or its dead letter; the Failure Reason, 0 for none."""
        if isinstance(found, Rejected):
            return await self._in_store(self._intake.refuse(None, data, found), CANNOT_UNDERSTAND)
        if study and text(found.header, "0020000D") != study:
            return await self._in_store(self._intake.refuse(found, data, OTHER_STUDY), DATA_SET_MISMATCH)
        try:
            return await self._in_store(self._intake.keep(found, data), 0)
        except TooLarge:
            rejected = Rejected(RejectReason.TOO_LARGE, hint="the header is longer than its topic takes")
            return await self._in_store(self._intake.refuse(None, data, rejected), CANNOT_UNDERSTAND)

    async def _in_store(self, work: Awaitable[object], reason: int) -> int:
        """`reason` once the work is done; OUT_OF_RESOURCES when storage or broker is away. Raises TooLarge."""
        try:
            async with asyncio.timeout(self._keep_timeout):
                await work
        except TooLarge:
            raise
        except (ObjectError, PublishFailed, TimeoutError) as error:
            log.warning("STOW-RS: an object could not be kept: %s", type(error).__name__)
            return OUT_OF_RESOURCES
        return reason


def _parts(request: web.Request) -> MultipartReader:
    """The body's parts. Raises BadBody for another kind of body, or a client that takes no DICOM JSON."""
    kind = parse_mimetype(request.headers.get("Content-Type", ""))
    if (kind.type, kind.subtype) != ("multipart", "related"):
        raise BadBody(415, 'send multipart/related; type="application/dicom"')
    if kind.parameters.get("type", INSTANCE_TYPE).lower() != INSTANCE_TYPE:
        raise BadBody(415, "metadata with bulk data is not taken: send application/dicom")
    accepted = request.headers.get("Accept", "*/*").lower()
    if not any(word in accepted for word in ("*/*", "application/*", "json")):
        raise BadBody(406, f"the answer is {JSON_TYPE}")
    try:
        return MultipartReader(request.headers, request.content)
    except (ValueError, LookupError, AssertionError):
        raise BadBody(400, "Content-Type must name a boundary of at most 70 characters") from None


def _item(found: DicomObject | Rejected | None) -> dict[str, Any]:
    """Which instance an item of the answer is about, as far as that is known."""
    if not isinstance(found, DicomObject):
        return {}
    return {
        "00081150": _uid(text(found.header, "00080016")),
        "00081155": _uid(text(found.header, "00080018")),
    }


def _uid(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]} if value else {"vr": "UI"}


def _response(stored: Stored) -> web.Response:
    module: dict[str, Any] = {"00081190": {"vr": "UR"}}
    if stored.kept:
        module["00081199"] = {"vr": "SQ", "Value": stored.kept}
    if stored.failed:
        module["00081198"] = {"vr": "SQ", "Value": stored.failed}
    headers = {"Retry-After": str(RETRY_AFTER_S)} if stored.away else {}
    return web.Response(status=stored.status, body=orjson.dumps(module), content_type=JSON_TYPE, headers=headers)
