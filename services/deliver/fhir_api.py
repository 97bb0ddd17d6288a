"""Predictions for FHIR clients: read and search of RiskAssessment (R4 sections 3.1.0 and 9.9).

GET  /fhir/metadata
GET  /fhir/RiskAssessment/{prediction id}
GET  /fhir/RiskAssessment?patient=KEY            or patient=Patient/id, patient.identifier=system|value
POST /fhir/RiskAssessment/_search                the same, so that identifiers need not stand in an address
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web
from fhir.resources.R4B.bundle import Bundle

from services import __version__
from services.deliver.board import Board
from services.deliver.people import People
from services.domain.events import Identifier
from services.domain.prediction import Prediction
from services.formats.fhir.outcome import Issue, operation_outcome
from services.formats.fhir.render import render, risk_assessment
from services.formats.ours import PREDICTION_SYSTEM

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/fhir+json"
COUNT = 20  # entries unless `_count` says otherwise
MAX_COUNT = 200

BOARD = web.AppKey("board", Board)
PEOPLE = web.AppKey("people", People)

_HINT = "give patient=KEY, patient=Patient/id, patient.identifier=system|value or identifier=PREDICTION"


def routes() -> list[web.RouteDef]:
    """The routes; the application holds BOARD and PEOPLE."""
    return [
        web.get("/fhir/metadata", _metadata),
        web.get("/fhir/RiskAssessment", _search),
        web.post("/fhir/RiskAssessment/_search", _search),
        web.get("/fhir/RiskAssessment/{id}", _read),
    ]


async def _read(request: web.Request) -> web.Response:
    prediction = request.app[BOARD].prediction(request.match_info["id"])
    if prediction is None:
        return _problem(404, "not-found", "not_found", "the newest predictions are kept; this one is not among them")
    return await _rendered(render, prediction)


async def _search(request: web.Request) -> web.Response:
    given = dict(request.query) | {k: v for k, v in (await request.post()).items() if isinstance(v, str)}
    try:
        count = min(MAX_COUNT, max(0, int(given.get("_count", COUNT))))
    except ValueError:
        return _problem(400, "value", "bad_count", "_count is a whole number")
    found = _found(request.app[BOARD], request.app[PEOPLE], given)
    if found is None:
        return _problem(400, "required", "no_patient", _HINT)
    predictions, subject = found
    address = str(request.url.origin() / "fhir" / "RiskAssessment")
    return await _rendered(_bundle, predictions, predictions[:count], subject, address)


async def _rendered(make: Callable[..., bytes], *content: Any) -> web.Response:
    """What `make` gives. Its error is not shown or logged: pydantic's carries the content."""
    try:
        body = await asyncio.to_thread(make, *content)
    except ValueError as error:
        log.error("a prediction cannot be rendered as FHIR: %s", type(error).__name__)
        return _problem(500, "exception", "not_renderable", "the prediction does not make a valid RiskAssessment")
    return web.Response(body=body, content_type=CONTENT_TYPE)


def _found(board: Board, people: People, given: dict[str, str]) -> tuple[list[Prediction], Identifier | None] | None:
    """The predictions asked for, and the identifier by which the caller knows the patient; None: not a question."""
    for name in ("patient", "subject"):
        if token := given.get(f"{name}.identifier") or given.get(f"{name}:identifier"):
            key, identifier = people.by_identifier(token)
            return (board.predictions(key) if key else []), identifier
        if reference := given.get(name) or given.get(f"{name}:Patient"):
            key = people.by_reference(reference)
            return (board.predictions(key) if key else []), None
    if token := given.get("identifier") or given.get("_id"):
        system, bar, value = token.rpartition("|")
        known = board.prediction(value) if not bar or system == PREDICTION_SYSTEM else None
        return ([known] if known else []), None
    return None


def _bundle(all_of_them: list[Prediction], shown: list[Prediction], subject: Identifier | None, address: str) -> bytes:
    """A searchset. Its self link does not repeat the question: that may hold an identifier."""
    entries = [
        {
            "fullUrl": f"{address}/{prediction.prediction_id}",
            "resource": risk_assessment(prediction, subject),
            "search": {"mode": "match"},
        }
        for prediction in shown
    ]
    document: dict[str, Any] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(all_of_them),
        "link": [{"relation": "self", "url": address}],
    }
    bundle = Bundle.model_validate({**document, "entry": entries} if entries else document)
    return bundle.model_dump_json().encode()


async def _metadata(request: web.Request) -> web.Response:
    parameters = [
        {"name": "patient", "type": "reference", "documentation": "pseudonymous key, or Patient/id of your server"},
        {"name": "patient.identifier", "type": "token"},
        {"name": "identifier", "type": "token"},
    ]
    statement = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "software": {"name": "Wardstream", "version": __version__},
        "implementation": {"description": "Wardstream: risk predictions"},
        "fhirVersion": "4.0.1",
        "format": [CONTENT_TYPE],
        "rest": [
            {
                "mode": "server",
                "resource": [
                    {
                        "type": "RiskAssessment",
                        "interaction": [{"code": "read"}, {"code": "search-type"}],
                        "searchParam": parameters,
                    }
                ],
            }
        ],
    }
    return web.Response(body=msgspec.json.encode(statement), content_type=CONTENT_TYPE)


def _problem(status: int, kind: str, reason: str, hint: str) -> web.Response:
    outcome = operation_outcome([Issue("error", kind, reason, "", hint)])
    return web.Response(body=msgspec.json.encode(outcome), content_type=CONTENT_TYPE, status=status)
