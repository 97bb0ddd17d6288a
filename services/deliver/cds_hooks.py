"""CDS Hooks 2.0 (cds-hooks.hl7.org): when a clinician opens a patient's chart, the risks as cards.

    GET  /cds-services              discovery
    POST /cds-services/wardstream   the `patient-view` hook

The EHR sends the Patient as prefetch, by whose identifiers it is found here; without it, by its id on the EHR's server.
"""

from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec
from aiohttp import web

from services.deliver import names
from services.deliver.fhir_api import BOARD, PEOPLE
from services.deliver.rows import NEWS2_EMERGENCY, SYNTHETIC
from services.domain.prediction import MISSING, Contribution, Outcome, Prediction, Risk, Status

SERVICE = "wardstream"
SUMMARY_LENGTH = 140  # characters, by the specification
PAGE = web.AppKey("page", str)

_TITLES = {
    Outcome.SEPSIS_6H: "Sepsis within 6 h",
    Outcome.MORTALITY: "Death in hospital",
    Outcome.DETERIORATION: "NEWS2",
}
_DISCOVERY = {
    "services": [
        {
            "hook": "patient-view",
            "id": SERVICE,
            "title": "Wardstream risks",
            "description": "Risk predictions from the hospital's event stream, with what drove them",
            "prefetch": {"patient": "Patient/{{context.patientId}}"},
        }
    ]
}


class Context(msgspec.Struct):
    """What the hook says of where the user is."""

    patientId: str = ""


class Call(msgspec.Struct):
    """A hook's call, as far as it is read."""

    hook: str
    context: Context
    prefetch: dict[str, Any] = {}
    fhirServer: str = ""


_CALL = msgspec.json.Decoder(Call)


def routes() -> list[web.RouteDef]:
    """The routes; the application holds BOARD, PEOPLE and PAGE (the page's public address, '' for the caller's)."""
    return [web.get("/cds-services", _discovery), web.post(f"/cds-services/{SERVICE}", _patient_view)]


async def _discovery(_: web.Request) -> web.Response:
    return _json(_DISCOVERY)


async def _patient_view(request: web.Request) -> web.Response:
    try:
        call = _CALL.decode(await request.read())
    except msgspec.MsgspecError:
        return _json({"error": "not_a_hook_call", "hint": "see cds-hooks.hl7.org: hook, context.patientId"}, 400)
    if call.hook != "patient-view":
        return _json({"error": "unknown_hook", "hint": "this service answers patient-view"}, 400)
    people, board = request.app[PEOPLE], request.app[BOARD]
    resource = call.prefetch.get("patient")
    key = people.by_resource(resource, call.fhirServer) if isinstance(resource, dict) else None
    if key is None and call.context.patientId:
        key = people.by_reference(call.context.patientId, call.fhirServer)
    if key is None:
        return _json({"cards": []})
    link = f"{request.app[PAGE] or str(request.url.origin())}/#ward/{key}"
    synthetic = any(found.authority.upper() == SYNTHETIC for found in board.identifiers(key))
    return _json({"cards": cards(board.latest(key), link, synthetic=synthetic)})


def cards(risks: list[tuple[Prediction, Risk]], link: str, *, synthetic: bool = False) -> list[dict[str, Any]]:
    """A card for each risk that alerts; when none does, one that tells them all. No risks, no cards."""
    alerting = [pair for pair in risks if pair[1].alert]
    if alerting:
        return [
            _card(prediction, _said(risk), [(prediction, risk)], _indicator(risk), link, synthetic)
            for prediction, risk in alerting
        ]
    if not risks:
        return []
    summary = "; ".join(_said(risk) for _, risk in risks)
    return [_card(risks[0][0], summary, risks, "info", link, synthetic)]


def _card(
    prediction: Prediction,
    summary: str,
    risks: list[tuple[Prediction, Risk]],
    indicator: str,
    link: str,
    synthetic: bool,
) -> dict[str, Any]:
    label = "SYNTHETIC patient: " if synthetic else ""
    named = "/".join((prediction.prediction_id, *(risk.outcome for _, risk in risks)))
    return {
        "uuid": str(uuid5(NAMESPACE_URL, named)),
        "summary": f"{label}{summary}"[:SUMMARY_LENGTH],
        "indicator": indicator,
        "detail": "\n".join(_detail(prediction, risk) for prediction, risk in risks),
        "source": {
            "label": f"Wardstream, {prediction.model} {prediction.model_version}",
            "url": link.partition("#")[0],
        },
        "links": [{"label": "Open in Wardstream", "url": link, "type": "absolute"}],
    }


def _indicator(risk: Risk) -> str:
    """`critical` is kept for NEWS2's emergency threshold; a model's alert is a warning."""
    return "critical" if (risk.score or 0) >= NEWS2_EMERGENCY else "warning"


def _said(risk: Risk) -> str:
    title = _TITLES[risk.outcome]
    if risk.probability is not None:
        return f"{title}: {risk.probability * 100:.1f} %"
    if risk.score is not None:
        return f"{title}: {risk.score:g} points"
    return f"{title}: not judged"


def _detail(prediction: Prediction, risk: Risk) -> str:
    """Markdown: the risk, its threshold, when, and what moved it most."""
    parts = [f"- **{_said(risk)}**, data as of {prediction.as_of:%Y-%m-%d %H:%M} UTC"]
    if risk.threshold is not None and risk.probability is not None:
        parts.append(f"alert from {risk.threshold * 100:.1f} %")
    if risk.status is not Status.SCORED and risk.reason:
        parts.append(risk.reason.replace("_", " "))
    raised = sorted((one for one in risk.features if one.value > 0), key=lambda one: -one.value)[:3]
    if raised:
        parts.append("raised by " + ", ".join(map(_driver, raised)))
    return "; ".join(parts)


def _driver(one: Contribution) -> str:
    label = names.contribution(one.name).label
    return f"{label} (missing)" if one.observed == MISSING else label


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json", status=status)
