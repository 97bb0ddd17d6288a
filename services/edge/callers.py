"""Who may send by HTTP: the middleware of FHIR and STOW-RS. What is refused here is neither read nor kept."""

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from services.bus.access import CHALLENGE, Handler, Scope, Tokens, bearer, status_of
from services.edge.fhir_body import JSON_TYPE
from services.formats.fhir.outcome import Issue, operation_outcome

_PUBLIC = (hdrs.METH_GET, "/fhir/metadata")  # what is offered, as R4 section 3.1.0.6 wants it
_ISSUES = {
    401: Issue("error", "login", "no_token", "", "send Authorization: Bearer TOKEN, made by `wardstream token`"),
    403: Issue("error", "forbidden", "wrong_scope", "", "this token is not for sending"),
}


def admit(tokens: Tokens | None) -> Middleware:
    """Let in who has a token for sending; anybody when there are no tokens."""

    @web.middleware
    async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
        if tokens is None or (request.method, request.path) == _PUBLIC:
            return await handler(request)
        status = status_of(tokens.client(bearer(request)), Scope.SEND, "edge")
        return _refusal(status) if status else await handler(request)

    return admitted


def _refusal(status: int) -> web.Response:
    headers = {hdrs.CONNECTION: "close"}  # the body that may follow is not read
    if status == 401:
        headers[hdrs.WWW_AUTHENTICATE] = CHALLENGE
    body = msgspec.json.encode(operation_outcome([_ISSUES[status]]))
    return web.Response(status=status, body=body, content_type=JSON_TYPE, headers=headers)
