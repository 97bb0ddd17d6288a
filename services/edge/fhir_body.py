"""Bodies of FHIR requests: media types, unpacking, caps and deadlines (R4 section 3.1.0.1)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError

from services.bus.topics import FHIR_RAW
from services.domain.reasons import RejectReason
from services.formats.fhir.outcome import Issue

JSON_TYPE = "application/fhir+json"
JSON_TYPES = frozenset({JSON_TYPE, "application/json", "text/json", "application/octet-stream", ""})
ENCODINGS = frozenset({"identity", "gzip", "deflate"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all at once, may take."""

    max_bytes: int = FHIR_RAW.max_bytes - 4096  # of one message, unpacked: what its topic takes, less the headers
    max_stream_bytes: int = 4 << 30  # of one ndjson body, unpacked
    max_requests: int = 32  # bodies read at once; others wait
    max_streams: int = 4  # ndjson bodies read at once; others wait
    max_lines_in_flight: int = 256  # of one ndjson body
    max_issues: int = 1000  # listed in one answer
    read_timeout: float = 60.0  # longest wait for the next bytes of a body, seconds
    body_timeout: float = 120.0  # for the whole of a body that is not ndjson, seconds
    retry_after: int = 5  # seconds


class Refused(Exception):
    """The request is answered with a 4xx or 5xx: the HTTP status and the issue. Holds nothing of the body."""

    def __init__(self, status: int, issue: Issue) -> None:
        super().__init__(issue.reason)
        self.status, self.issue = status, issue


def too_large(limits: Limits, where: str = "") -> Refused:
    """413: above the cap of one message."""
    hint = f"at most {limits.max_bytes} bytes a message, unpacked: split the Bundle, or send ndjson"
    return Refused(413, Issue("error", "too-long", RejectReason.TOO_LARGE.value, where, hint))


def content_type(request: web.Request) -> str:
    """The media type without its parameters, lower case; '' when there is none."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def read_json(request: web.Request, limits: Limits) -> bytes:
    """The whole body, unpacked. Raises Refused: 415, 413, 408, 400."""
    if content_type(request) not in JSON_TYPES:
        raise _unsupported("Content-Type", "not_supported", f"send {JSON_TYPE}")
    charset = (request.charset or "utf-8").lower().replace("_", "-")
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise _unsupported("Content-Type", "unknown_charset", "FHIR JSON is UTF-8")
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_timeout):
            async for chunk in chunks(request, limits, limits.max_bytes):
                body += chunk
    except TimeoutError:
        raise _stopped() from None
    return bytes(body)


async def chunks(request: web.Request, limits: Limits, cap: int) -> AsyncIterator[bytes]:
    """The body as it comes in, unpacked. aiohttp's complaints, which may quote it, become Refused."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ENCODINGS:
        raise _unsupported("Content-Encoding", "not_supported", "gzip, deflate or none")
    if (request.content_length or 0) > cap:
        raise too_large(limits)
    size = 0
    while chunk := await _next(request, limits.read_timeout):
        size += len(chunk)
        if size > cap:
            raise too_large(limits)
        yield chunk


async def _next(request: web.Request, timeout: float) -> bytes:
    try:
        async with asyncio.timeout(timeout):
            return await request.content.readany()
    except TimeoutError:
        raise _stopped() from None
    except (web.RequestPayloadError, HttpProcessingError, ClientError, ValueError):
        hint = "the body is not what Content-Encoding and Transfer-Encoding say"
        raise Refused(400, Issue("error", "structure", "undecodable_body", "", hint)) from None


def _unsupported(header: str, reason: str, hint: str) -> Refused:
    return Refused(415, Issue("error", "not-supported", reason, header, hint))


def _stopped() -> Refused:
    return Refused(408, Issue("error", "timeout", "timeout", "", "the body stopped coming, or came too slowly"))
