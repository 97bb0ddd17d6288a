"""Who may look: a bearer token for systems, a cookie for people who have shown one at /login.

The cookie is `NAME.EXPIRES.SEAL`; the seal is an HMAC under the site's secret and the token's line, so that every
instance knows it, none keeps it, and taking the line out of the file ends it. It is HttpOnly, and SameSite=Lax: no
other site's page can post by it, while a link from the EHR opens the page.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from aiohttp import hdrs, web

from services.bus.access import CHALLENGE, Client, Handler, Scope, Tokens, bearer, is_loopback, status_of
from services.formats.fhir.outcome import Issue, operation_outcome

COOKIE = "wardstream"
SESSION_S = 12 * 3600  # a shift
LOGIN = Path(__file__).parent / "static" / "login.html"

_PUBLIC = frozenset({"/login", "/fhir/metadata", "/cds-services"})
"""What says what is offered, for anybody; and `/static/`."""
_REASONS = {
    401: ("login", "no_token", "sign in at /login, or send Authorization: Bearer TOKEN"),
    403: ("forbidden", "wrong_scope", "this token is not for reading"),
    421: ("security", "not_local", "call 127.0.0.1, or set WARDSTREAM_TOKENS, or WARDSTREAM_AUTH=proxy behind a proxy"),
}
_SEALED = re.compile(r"(?P<name>.+)\.(?P<expires>\d{1,12})\.(?P<seal>[0-9a-f]{64})", re.ASCII)


class Sessions:
    """Knows callers by token and by cookie. With no tokens everybody is let in.

    With `local` only who calls this machine by a name of its own: a web site that has its own name point here (DNS
    rebinding) reads nothing through its visitors' browsers.
    """

    def __init__(
        self, tokens: Tokens | None, secret: bytes, *, local: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._tokens, self._secret, self._local, self._clock = tokens, secret, local, clock

    @property
    def open_to_all(self) -> bool:
        """Whether nobody is asked for a token."""
        return self._tokens is None

    def caller(self, request: web.Request) -> Client | None:
        """Who calls; None for a stranger."""
        if self._tokens is None:
            return None
        token = bearer(request)
        return self._tokens.client(token) if token else self._of_cookie(request.cookies.get(COOKIE, ""))

    def status(self, request: web.Request) -> int:
        """0 when the caller may look, else 401, 403, or 421 where it meant another machine."""
        if self._local and not is_loopback(request.url.host or ""):
            return 421
        public = request.path in _PUBLIC or request.path.startswith("/static/")
        if self._tokens is None or public:
            return 0
        return status_of(self.caller(request), Scope.READ, "deliver")

    def open(self, token: str) -> str | None:
        """The cookie for a token that lets its holder look; None for any other."""
        client = self._tokens.client(token) if self._tokens else None
        if status_of(client, Scope.READ, "deliver") or client is None:
            return None
        expires = int(self._clock()) + SESSION_S
        return f"{client.name}.{expires}.{self._seal(client, expires)}"

    def _of_cookie(self, cookie: str) -> Client | None:
        match = _SEALED.fullmatch(cookie)
        if match is None or self._tokens is None or int(match["expires"]) < self._clock():
            return None
        named = [one for one in self._tokens.clients() if one.name == match["name"]]
        expires = int(match["expires"])
        return next((one for one in named if hmac.compare_digest(self._seal(one, expires), match["seal"])), None)

    def _seal(self, client: Client, expires: int) -> str:
        said = b"\0".join((b"session", client.digest, str(expires).encode()))
        return hmac.new(self._secret, said, hashlib.sha256).hexdigest()


SESSIONS = web.AppKey("sessions", Sessions)


def routes() -> list[web.RouteDef]:
    """The routes; the application holds SESSIONS."""
    return [web.get("/login", _form), web.post("/login", _sign_in), web.post("/logout", _sign_out)]


@web.middleware
async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in who may look. A person who asks for the page is shown the way to sign in."""
    status = request.app[SESSIONS].status(request)
    if not status:
        return await handler(request)
    if status == 401 and request.path == "/":
        return web.Response(status=303, headers={hdrs.LOCATION: "/login"})
    return _refusal(status, fhir=request.path.startswith("/fhir/"))


def _refusal(status: int, *, fhir: bool) -> web.Response:
    code, reason, hint = _REASONS[status]
    content = operation_outcome([Issue("error", code, reason, "", hint)]) if fhir else {"error": reason, "hint": hint}
    headers = {hdrs.WWW_AUTHENTICATE: CHALLENGE} if status == 401 else {}
    kind = "application/fhir+json" if fhir else "application/json"
    return web.Response(status=status, body=msgspec.json.encode(content), content_type=kind, headers=headers)


async def _form(request: web.Request) -> web.StreamResponse:
    if request.app[SESSIONS].open_to_all:
        return web.Response(status=303, headers={hdrs.LOCATION: "/"})
    return web.FileResponse(LOGIN)


async def _sign_in(request: web.Request) -> web.Response:
    """The form's answer goes back to the page, whose #place the browser keeps."""
    token = (await request.post()).get("token", "")
    cookie = request.app[SESSIONS].open(token.strip()) if isinstance(token, str) else None
    if cookie is None:
        page = LOGIN.read_text().replace('id="wrong" hidden', 'id="wrong"')
        return web.Response(status=401, text=page, content_type="text/html")
    answer = web.Response(status=303, headers={hdrs.LOCATION: "/"})
    secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
    answer.set_cookie(COOKIE, cookie, max_age=SESSION_S, path="/", httponly=True, samesite="Lax", secure=secure)
    return answer


async def _sign_out(_: web.Request) -> web.Response:
    answer = web.Response(status=303, headers={hdrs.LOCATION: "/login"})
    answer.del_cookie(COOKIE, path="/")
    return answer
