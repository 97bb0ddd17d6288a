"""FHIR R4 over HTTP (R4 section 3.1), as much of it as a feed needs: create, update, transaction and batch, ndjson.

    POST /fhir                       a Bundle (or one resource); or ndjson, by its content type
    POST /fhir/{Type}                one resource
    PUT  /fhir/{Type}/{id}           one resource, its id the URL's
    POST /fhir/$import               ndjson, whatever its content type (Bulk Data: a resource a line)
    GET  /fhir/metadata              what is offered (CapabilityStatement)

A 2xx is sent after the broker's acknowledgement (acks=all), never before. A message that reached us whole and is not
taken is published to `dead.letters` with its bytes before the 4xx, also one over which a defect of ours raises (500).
What was never read whole has no dead letter: a body or ndjson line above the cap (413), one that stopped coming (408),
one that cannot be unpacked (400) or is of another media type (415). While the broker is away: 503 with
Retry-After. A repeat is harmless: the same bytes give the same events.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from services import __version__
from services.bus import metrics
from services.bus.messages import Message, dead_letter
from services.bus.topics import FHIR_RAW
from services.domain.reasons import Rejected, RejectReason
from services.domain.site import Site
from services.edge.defects import defect, described
from services.edge.fhir_body import JSON_TYPE, Limits, Refused, chunks, content_type, read_json, too_large
from services.edge.publisher import Publisher, PublishFailed, TooLarge
from services.formats.fhir import bulk, outcome
from services.formats.fhir.access import obj, text
from services.formats.fhir.capability import capability_statement
from services.formats.fhir.outcome import Issue
from services.formats.fhir.reader import examine
from services.formats.reading import Reading

log = logging.getLogger(__name__)

FORMAT = "fhir"
STEP = "edge"
NOT_ON_A_TOPIC = -1
_AWAY = "the broker has not acknowledged: nothing of what is not listed as kept is; send it again"


@dataclass(frozen=True, slots=True)
class Kept:
    """One message that the broker has, and what of it was set aside."""

    reading: Reading


class FhirEndpoint:
    """The endpoint; `add_to` puts it into an aiohttp application."""

    def __init__(
        self,
        publisher: Publisher,
        site: Site,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._publisher, self._site, self._clock = publisher, site, clock
        self._limits = limits or Limits()
        self._turns = asyncio.Semaphore(self._limits.max_requests)
        self._streams = asyncio.Semaphore(self._limits.max_streams)

    def add_to(self, app: web.Application, prefix: str = "/fhir") -> None:
        """Add the routes below `prefix`."""
        route = app.router.add_route
        route("GET", f"{prefix}/metadata", self._answered(self._metadata))
        for root in (prefix, f"{prefix}/"):
            route("POST", root, self._answered(self._post))
        route("POST", prefix + "/{operation:\\$[A-Za-z-]+}", self._answered(self._operation))
        route("POST", prefix + "/{type:[A-Z][A-Za-z]*}", self._answered(self._create))
        route("PUT", prefix + "/{type:[A-Z][A-Za-z]*}/{id}", self._answered(self._update))
        for rest in (prefix, prefix + "/{rest:.*}"):
            route("*", rest, self._answered(self._not_offered))

    def _answered(self, handler: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def answered(request: web.Request) -> web.Response:
            begun = time.perf_counter()
            try:
                response: web.Response = await handler(request)
            except Refused as refused:
                response = self._outcome(refused.status, [refused.issue])
            except web.HTTPException:
                raise
            except Exception as error:  # noqa: BLE001 -- aiohttp would log its text
                log.error("a FHIR request ended in a defect: %s", described(error))
                response = self._outcome(500, [outcome.rejected(defect(error))])
            metrics.ACK_SECONDS.labels(FORMAT).observe(time.perf_counter() - begun)
            metrics.ACKNOWLEDGED.labels(FORMAT, str(response.status)).inc()
            return response

        return answered

    async def _metadata(self, _request: web.Request) -> web.Response:
        return _json(200, capability_statement(__version__))

    async def _not_offered(self, request: web.Request) -> web.Response:
        hint = "offered: POST [base], POST [base]/Type, PUT [base]/Type/id, POST [base]/$import, GET [base]/metadata"
        status = 404 if request.method in ("POST", "PUT") else 405
        raise Refused(status, Issue("error", "not-supported", "not_supported", "", hint))

    async def _post(self, request: web.Request) -> web.Response:
        if content_type(request) in bulk.CONTENT_TYPES:
            return await self._import(request)
        async with self._turns:
            raw = await read_json(request, self._limits)
            kept = await self._keep(raw)
        if kept.reading.type != "Bundle":
            return self._outcome(201, _aside(kept.reading))
        return _json(200, self._bundle_answer(orjson.loads(raw.removeprefix(b"\xef\xbb\xbf")), kept))

    async def _create(self, request: web.Request) -> web.Response:
        if content_type(request) in bulk.CONTENT_TYPES:
            return await self._import(request)
        async with self._turns:
            kept = await self._keep(await read_json(request, self._limits), request.match_info["type"])
        return self._outcome(201, _aside(kept.reading))

    async def _update(self, request: web.Request) -> web.Response:
        named = request.match_info
        async with self._turns:
            kept = await self._keep(await read_json(request, self._limits), named["type"], named["id"])
        return self._outcome(200, _aside(kept.reading))

    async def _operation(self, request: web.Request) -> web.Response:
        if request.match_info["operation"] != "$import":
            return await self._not_offered(request)
        return await self._import(request)

    async def _keep(self, raw: bytes, kind: str = "", logical_id: str | None = None) -> Kept:
        """Publish one message. Raises Refused with the reason when it cannot be taken, or not now."""
        metrics.RECEIVED.labels(FORMAT).inc()
        now = int(self._clock() * 1000)
        try:
            return await self._publish(raw, kind, logical_id, now)
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 -- a defect of ours: no message is lost by it
            log.error("a FHIR message ended in a defect: %s", described(error))
            raise await self._refused(raw, defect(error), now) from None

    async def _publish(self, raw: bytes, kind: str, logical_id: str | None, now: int) -> Kept:
        work = asyncio.to_thread if len(raw) > _LARGE else _at_once
        found = await work(examine, raw, self._site, now)
        if isinstance(found, Rejected):
            raise await self._refused(raw, found, now)
        key, reading, own_id = found
        if kind and reading.type != kind:
            hint = f"the body must be a {kind}, as the URL says"
            rejected = Rejected(RejectReason.WRONG_TYPE, "resourceType", hint)
            raise await self._refused(raw, rejected, now)
        if logical_id is not None and own_id != logical_id:
            rejected = Rejected(RejectReason.WRONG_ID, "id", "the body's id must be the URL's")
            raise await self._refused(raw, rejected, now)
        try:
            await self._publisher.publish(FHIR_RAW, key, raw, {})
        except TooLarge:
            refused = too_large(self._limits)
            raise await self._refused(raw, Rejected(RejectReason.TOO_LARGE, hint=refused.issue.hint), now) from None
        except PublishFailed:
            raise Refused(503, Issue("error", "transient", "unavailable", "", _AWAY)) from None
        return Kept(reading)

    async def _refused(self, raw: bytes, rejected: Rejected, now: int) -> Refused:
        """The answer to a message that is not taken, once its dead letter is kept. Raises Refused (503) till it is."""
        message = Message(FHIR_RAW.name, NOT_ON_A_TOPIC, NOT_ON_A_TOPIC, None, raw, {}, now)
        letter = dead_letter(message, rejected, STEP)
        try:
            await self._publisher.publish(letter.topic, letter.key, letter.value, letter.headers)
        except Exception as error:  # noqa: BLE001 -- whatever it was, the message is not kept
            if not isinstance(error, PublishFailed):
                log.error("a dead letter ended in a defect: %s", described(error))
            raise Refused(503, Issue("error", "transient", "unavailable", "", _AWAY)) from None
        metrics.DEAD_LETTERS.labels(STEP, rejected.reason.value).inc()
        log.info("a FHIR message was refused: %s at %s", rejected.reason.value, rejected.where or "-")
        return Refused(_STATUS.get(rejected.reason, 422), outcome.rejected(rejected))

    def _bundle_answer(self, bundle: dict[str, Any], kept: Kept) -> dict[str, Any]:
        """transaction-response or batch-response with a status for each entry; of other Bundles an OperationOutcome."""
        kind = text(bundle.get("type"))
        if kind not in ("transaction", "batch"):
            return outcome.operation_outcome(_aside(kept.reading)[: self._limits.max_issues])
        by_entry: dict[int, list[Issue]] = {}
        for issue in _aside(kept.reading):
            number = issue.where.partition("[")[2].partition("]")[0]
            by_entry.setdefault(int(number) if number.isdigit() else 0, []).append(issue)
        entries = []
        for n, entry in enumerate(bundle.get("entry", [])):
            method = text(obj(obj(entry).get("request")).get("method")).upper()
            response: dict[str, Any] = {"status": "200 OK" if method in ("PUT", "DELETE", "PATCH") else "201 Created"}
            if n in by_entry:
                response["outcome"] = outcome.operation_outcome(by_entry[n])
            entries.append({"response": response})
        answer = {"resourceType": "Bundle", "type": f"{kind}-response"}
        return answer | ({"entry": entries} if entries else {})

    async def _import(self, request: web.Request) -> web.Response:
        """ndjson: a message a line, in order, published as they come in. The answer lists what was not taken."""
        async with self._streams:
            return await self._import_lines(request)

    async def _import_lines(self, request: web.Request) -> web.Response:
        tally = _Tally(self._limits.max_issues)
        cutter = bulk.Lines(self._limits.max_bytes)
        under_way: set[asyncio.Task[None]] = set()
        try:
            async for chunk in chunks(request, self._limits, self._limits.max_stream_bytes):
                for number, line in cutter.feed(chunk):
                    await self._line(number, line, tally, under_way)
            for number, line in cutter.end():
                await self._line(number, line, tally, under_way)
        except bulk.TooLong as error:
            raise too_large(self._limits, f"line {error.number}") from None
        finally:
            if under_way:
                await asyncio.wait(under_way)
        return self._outcome(tally.status, tally.issues())

    async def _line(self, number: int, line: bytes, tally: "_Tally", under_way: set[asyncio.Task[None]]) -> None:
        if tally.away:
            return  # one line was not acknowledged: the sender sends all again, so stop publishing
        while len(under_way) >= self._limits.max_lines_in_flight:
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._keep_line(number, line, tally))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        await asyncio.sleep(
            0
        )  # begin it now, so that lines go out in their order (those read in a thread may be later)

    async def _keep_line(self, number: int, line: bytes, tally: "_Tally") -> None:
        try:
            kept = await self._keep(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
        except Refused as refused:
            tally.refused(number, refused)
        else:
            tally.kept(number, kept.reading)

    def _outcome(self, status: int, issues: list[Issue]) -> web.Response:
        listed = issues[: self._limits.max_issues]
        headers = {"Retry-After": str(self._limits.retry_after)} if status == 503 else {}
        if status in (408, 413):
            headers["Connection"] = "close"
        return _json(status, outcome.operation_outcome(listed), headers)


_LARGE = 64 << 10
"""Bytes from which a message is read in a thread, so that other connections are not held up."""

_STATUS: dict[RejectReason, int] = {
    RejectReason.EMPTY: 400,
    RejectReason.NOT_JSON: 400,
    RejectReason.NOT_FHIR: 400,
    RejectReason.MALFORMED: 400,
    RejectReason.TOO_LARGE: 413,
    RejectReason.WRONG_TYPE: 400,
    RejectReason.WRONG_ID: 400,
    RejectReason.STEP_FAILED: 500,
}
"""HTTP status of a rejected message; of those not here 422 (R4 section 3.1.0.8)."""


async def _at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


class _Tally:
    """What became of an ndjson body's lines."""

    def __init__(self, max_issues: int) -> None:
        self._errors: list[tuple[int, Issue]] = []
        self._others: list[tuple[int, Issue]] = []
        self._max = max_issues
        self._kept = self._refused = self._aside = 0
        self.away = False

    def kept(self, number: int, reading: Reading) -> None:
        self._kept += 1
        self._aside += len(reading.filtered)
        room = self._max - len(self._others)
        self._others += [(number, outcome.set_aside(part, f"line {number}")) for part in reading.filtered[:room]]

    def refused(self, number: int, refused: Refused) -> None:
        self._refused += 1
        self.away = self.away or refused.status == 503
        if len(self._errors) < self._max:
            place = " ".join(filter(None, (f"line {number}", refused.issue.where)))
            self._errors.append((number, refused.issue._replace(where=place)))

    @property
    def status(self) -> int:
        """200: every line that could be read is kept. 503: the broker went away. 422: not one line could be read."""
        if self.away:
            return 503
        return 422 if self._refused and not self._kept else 200

    def issues(self) -> list[Issue]:
        """A summary, then errors, then what was set aside, each in line order."""
        said = f"{self._kept} lines kept, {self._refused} refused, {self._aside} parts set aside"
        summary = Issue("information", "informational", "summary", "", said)
        listed = (*sorted(self._errors), *sorted(self._others))
        return [summary, *(issue for _, issue in listed)]


def _aside(reading: Reading) -> list[Issue]:
    return [outcome.set_aside(part) for part in reading.filtered]


def _json(status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type=JSON_TYPE, headers=headers)


def fhir_app(publisher: Publisher, site: Site, limits: Limits | None = None) -> web.Application:
    """An application with the endpoint at `/fhir` alone."""
    app = web.Application()
    FhirEndpoint(publisher, site, limits).add_to(app)
    return app
