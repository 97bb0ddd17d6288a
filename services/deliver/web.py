"""The page's server: static files, a small JSON API, the live stream, FHIR RiskAssessment."""

from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from services.bus.objects import ObjectError, ObjectStore
from services.deliver.board import Board
from services.deliver.health_view import HealthView
from services.deliver.stream import Evicted, Stream
from services.deliver.views import patient_view

STATIC = Path(__file__).parent / "static"

BOARD = web.AppKey("board", Board)
STREAM = web.AppKey("stream", Stream)
HEALTH = web.AppKey("health", HealthView)
OBJECTS = web.AppKey("objects", ObjectStore)
CARDS = web.AppKey("cards", dict[str, str])

_SECURITY = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def application(
    board: Board, stream: Stream, health: HealthView, objects: ObjectStore, cards: dict[str, str]
) -> web.Application:
    """The aiohttp application. `cards`: model name -> its card's Markdown."""
    app = web.Application(middlewares=[_headers])
    app[BOARD], app[STREAM], app[HEALTH], app[OBJECTS], app[CARDS] = board, stream, health, objects, cards
    app.add_routes(
        [
            web.get("/", _index),
            web.get("/api/ward", _ward),
            web.get("/api/patients/{patient}", _patient),
            web.get("/api/images/{reference:.+}", _image),
            web.get("/api/health", _health),
            web.get("/api/models", _models),
            web.get("/events", _events),
            web.static("/static", STATIC),
        ]
    )
    return app


@web.middleware
async def _headers(request: web.Request, handler: Any) -> web.StreamResponse:
    answer: web.StreamResponse = await handler(request)
    if not answer.prepared:
        answer.headers.update(_SECURITY)
    return answer


async def _index(_: web.Request) -> web.StreamResponse:
    return web.FileResponse(STATIC / "index.html")


async def _ward(request: web.Request) -> web.Response:
    return _json({"patients": request.app[BOARD].rows()})


async def _patient(request: web.Request) -> web.Response:
    key = request.match_info["patient"]
    found = request.app[BOARD].patient(key)
    if found is None:
        return _json({"error": "not_found", "hint": "the patient has left the board, or the key is wrong"}, 404)
    return _json(patient_view(*found, request.app[BOARD].row(key) or {}))


async def _image(request: web.Request) -> web.Response:
    try:
        data = await request.app[OBJECTS].get(request.match_info["reference"])
    except ObjectError:
        return _json({"error": "not_found", "hint": "no such object in the object store"}, 404)
    if not data.startswith(b"\x89PNG"):  # thumbnails alone: whole DICOM objects do not leave by this door
        return _json({"error": "not_an_image", "hint": "only thumbnails are served here"}, 404)
    return web.Response(body=data, content_type="image/png")


async def _health(request: web.Request) -> web.Response:
    return _json(request.app[HEALTH].view())


async def _models(request: web.Request) -> web.Response:
    return _json({"cards": request.app[CARDS]})


async def _events(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
    )
    await answer.prepare(request)
    stream = request.app[STREAM]
    await answer.write(b"retry: 2000\n\n")  # sends the headers too: the browser says at once that it is connected
    last = request.headers.get("Last-Event-ID")
    with stream.subscribe() as subscription:
        missed = [] if last is None else stream.missed(last)
        for frame in [b"event: reload\ndata: {}\n\n"] if missed is None else missed:
            await answer.write(frame)
        try:
            async for frame in subscription.frames():
                await answer.write(frame)
        except (Evicted, ConnectionError):
            pass
    return answer


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json", status=status)
