"""The page's server: static files, a small JSON API, the live stream, FHIR RiskAssessment and CDS Hooks.

Who may look is `session`'s business.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from mimetypes import guess_extension
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import hdrs, web

from services.bus.access import Tokens
from services.bus.objects import ObjectError, ObjectStore
from services.deliver import cds_hooks, fhir_api
from services.deliver.board import Board
from services.deliver.fhir_api import BOARD, PEOPLE
from services.deliver.health_view import HealthView
from services.deliver.models_view import ModelFacts
from services.deliver.people import People
from services.deliver.session import SESSIONS, Sessions, admitted
from services.deliver.session import routes as session_routes
from services.deliver.stream import Evicted, Stream
from services.deliver.views import patient_view
from services.domain.site import Site
from services.formats.attachments import media_type

STATIC = Path(__file__).parent / "static"
SEND_TIMEOUT_S = 10.0  # for one write to a browser; a stuck one is cut off and comes back by itself
MAX_STREAMS = 1000  # live streams at once; more are told to try again
RETRY_MS = 2000  # after which a browser comes back
COMPRESS_FROM = 4096  # bytes of JSON
MAX_BODY = 1 << 20  # of what is posted here: hook calls and searches

PNG = b"\x89PNG\r\n\x1a\n"

STREAM = web.AppKey("stream", Stream)
HEALTH = web.AppKey("health", HealthView)
OBJECTS = web.AppKey("objects", ObjectStore)
MODELS = web.AppKey("models", list[ModelFacts])
ORIGINS = web.AppKey("origins", tuple[str, ...])
TIME_ZONE = web.AppKey("time_zone", str)

_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_SHARED = ("/fhir/", "/cds-services")
"""What other origins may be let in to: the addresses made for other systems, never the page's own."""


@dataclass
class State:
    """Whether all that was there at the start has been read: until then patients may be missing."""

    caught_up: bool = False


STATE = web.AppKey("state", State)


def application(
    board: Board,
    stream: Stream,
    health: HealthView,
    objects: ObjectStore,
    models: list[ModelFacts],
    site: Site,
    *,
    state: State | None = None,
    page_url: str = "",
    origins: Sequence[str] = (),
    tokens: Tokens | None = None,
    local: bool = False,
) -> web.Application:
    """The aiohttp application. `page_url`: its public address, for links; `origins`: other origins let in to FHIR and
    CDS Hooks (none by default); `tokens`: who may look (anybody when None); `local`: by this machine's own names alone.
    """
    app = web.Application(middlewares=[_cross_origin, admitted], client_max_size=MAX_BODY)
    app[BOARD], app[STREAM], app[HEALTH], app[OBJECTS], app[MODELS] = board, stream, health, objects, models
    app[PEOPLE], app[cds_hooks.PAGE], app[ORIGINS] = People(board, site), page_url.rstrip("/"), tuple(origins)
    app[TIME_ZONE] = site.time_zone
    app[SESSIONS] = Sessions(tokens, site.secret, local=local)
    app[STATE] = state or State(caught_up=True)
    app.on_response_prepare.append(_headers)
    app.on_shutdown.append(_close_streams)
    app.add_routes(
        [
            web.get("/", _index),
            web.get("/api/ward", _ward),
            web.get("/api/patients/{patient}", _patient),
            web.get("/api/patients/{patient}/documents/{document}", _document),
            web.get("/api/images/{reference:.+}", _image),
            web.get("/api/health", _health),
            web.get("/api/models", _models),
            web.get("/events", _events),
            web.static("/static", STATIC),
            *session_routes(),
            *fhir_api.routes(),
            *cds_hooks.routes(),
        ]
    )
    return app


async def _headers(request: web.Request, answer: web.StreamResponse) -> None:
    answer.headers.update(_SECURITY)
    answer.headers.setdefault("Cache-Control", "no-cache" if request.path.startswith("/static/") else "no-store")


async def _close_streams(app: web.Application) -> None:
    app[STREAM].close()


@web.middleware
async def _cross_origin(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """CORS (fetch.spec.whatwg.org), for the origins that were named and the addresses made for other systems."""
    origin, allowed = request.headers.get(hdrs.ORIGIN, ""), request.app[ORIGINS]
    shared = request.path.startswith(_SHARED) and bool(origin) and (origin in allowed or "*" in allowed)
    if shared and request.method == hdrs.METH_OPTIONS:
        answer: web.StreamResponse = web.Response(status=204)
        answer.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        answer.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization, Accept"
    else:
        answer = await handler(request)
    if shared and not answer.prepared:
        answer.headers["Access-Control-Allow-Origin"] = origin
        answer.headers["Vary"] = "Origin"
    return answer


async def _index(_: web.Request) -> web.StreamResponse:
    return web.FileResponse(STATIC / "index.html")


async def _ward(request: web.Request) -> web.Response:
    caller = request.app[SESSIONS].caller(request)
    rows, caught_up = request.app[BOARD].rows(), request.app[STATE].caught_up
    who = {"caller": caller.name if caller else "", "time_zone": request.app[TIME_ZONE]}
    return _json({"patients": rows, "caught_up": caught_up, **who})


async def _patient(request: web.Request) -> web.Response:
    board, key = request.app[BOARD], request.match_info["patient"]
    found, row = board.patient(key), board.row(key)
    if found is None or row is None:
        now = board.survivor(key)
        if now != key:  # merged: the record goes by another key
            return web.Response(status=307, headers={hdrs.LOCATION: f"/api/patients/{now}"})
        return _json({"error": "not_found", "hint": "the patient has left the board, or the key is wrong"}, 404)
    return _json(patient_view(*found, row))


async def _image(request: web.Request) -> web.Response:
    try:
        data = await request.app[OBJECTS].get(request.match_info["reference"])
    except ObjectError:
        return _json({"error": "not_found", "hint": "no such object in the object store"}, 404)
    if not data.startswith(PNG):  # thumbnails alone: whole DICOM objects and attachments do not leave by this door
        return _json({"error": "not_an_image", "hint": "only thumbnails are served here"}, 404)
    return web.Response(body=data, content_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


async def _document(request: web.Request) -> web.Response:
    """A PDF, image or the like of a note, to be saved: what a sender wrote is never shown within this page."""
    found = request.app[BOARD].patient(request.match_info["patient"])
    document = found[0].documents.get(request.match_info["document"]) if found else None
    if not found or document is None or not document.encapsulated or not found[0].stands(document):
        return _json({"error": "not_found", "hint": "the patient has no such document"}, 404)
    try:
        data = await request.app[OBJECTS].get(document.encapsulated)
    except ObjectError:
        return _json({"error": "not_found", "hint": "no such object in the object store"}, 404)
    kind = media_type(document.content_type)
    headers = {hdrs.CONTENT_DISPOSITION: f'attachment; filename="document{guess_extension(kind) or ".bin"}"'}
    return web.Response(body=data, content_type=kind, headers=headers)


async def _health(request: web.Request) -> web.Response:
    board = request.app[BOARD]
    view = request.app[HEALTH].view(round(time.time() * 1000), len(board))
    return _json({**view, "browsers": len(request.app[STREAM]), "patients": len(board)})


async def _models(request: web.Request) -> web.Response:
    return _json({"models": request.app[MODELS]})


async def _events(request: web.Request) -> web.StreamResponse:
    stream = request.app[STREAM]
    if stream.closed or len(stream) >= MAX_STREAMS:
        return _json({"error": "busy", "hint": "too many live streams; try again"}, 503)
    answer = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
    )
    with stream.subscribe() as subscription:
        last = request.headers.get("Last-Event-ID")
        missed = [] if last is None else stream.missed(last)
        frames = [b"event: reload\ndata: {}\n\n"] if missed is None else missed
        await answer.prepare(request)
        try:
            # Written at once, with the headers: the browser says that it is connected
            await _write(answer, b"retry: %d\n\n" % RETRY_MS + b"".join(frames))
            async for chunk in subscription.chunks():
                if request.app[SESSIONS].status(request):
                    break  # the session's time is over, or its token was taken out
                await _write(answer, chunk)
        except (Evicted, TimeoutError):
            _cut(request)
        except ConnectionError:
            pass
    return answer


async def _write(answer: web.StreamResponse, data: bytes) -> None:
    """Write within SEND_TIMEOUT_S; raises TimeoutError when the client does not read."""
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await answer.write(data)


def _cut(request: web.Request) -> None:
    """Drop the connection with what it has not read: closing it in order would wait for the client."""
    if request.transport is not None:
        request.transport.abort()


def _json(content: Any, status: int = 200) -> web.Response:
    body = msgspec.json.encode(content)
    answer = web.Response(body=body, content_type="application/json", status=status)
    if len(body) >= COMPRESS_FROM:
        answer.enable_compression()
    return answer
