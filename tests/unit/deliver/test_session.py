"""Who may look: systems by token, people by signing in."""

import argparse
import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from services.bus.access import Tokens, command
from services.deliver.session import COOKIE, SESSION_S, Sessions
from services.deliver.stream import Stream
from tests.unit.deliver.support import SECRET
from tests.unit.deliver.test_web import app, read_until

LOCKED = (
    *("/api/ward", "/api/patients/p", "/api/images/x", "/api/patients/p/documents/x", "/api/health", "/api/models"),
    *("/events", "/fhir/RiskAssessment?patient=p", "/fhir/RiskAssessment/x", "/no/such", "/static/../api/ward"),
)
OPEN = ("/login", "/static/style.css", "/static/app.js", "/fhir/metadata", "/cds-services")


class Doors:
    """A page that asks for tokens: one that may look, one that may only send."""

    def __init__(self, folder, capsys):
        self.path = folder / "tokens"
        self.reader, self.sender = (self._make(capsys, name) for name in ("read", "send"))
        self.tokens = Tokens(self.path)

    def _make(self, capsys, scope):
        command(argparse.Namespace(name=f"can-{scope}", scopes=scope, file=self.path))
        return capsys.readouterr().out.strip()


@pytest.fixture
def doors(tmp_path, capsys):
    return Doors(tmp_path, capsys)


@pytest.fixture
async def client(doors):
    async with TestClient(TestServer(app(tokens=doors.tokens))) as made:
        yield made


def caller(sessions, cookie):
    """The name of whom a cookie stands for."""
    found = sessions.caller(make_mocked_request("GET", "/", headers={"Cookie": f"{COOKIE}={cookie}"}))
    return found.name if found else None


def bearing(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", LOCKED)
async def test_a_stranger_sees_nothing(client, doors, path):
    for headers in ({}, bearing("ws_guessed"), {"Authorization": f"Basic {doors.reader}"}, bearing("")):
        answer = await client.get(path, headers=headers, allow_redirects=False)
        assert answer.status == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await client.get(path, headers=bearing(doors.sender))).status == 403
    assert (await client.get(path, headers=bearing(doors.reader))).status not in (401, 403)


@pytest.mark.parametrize("path", OPEN)
async def test_what_says_what_is_offered_is_open(client, path):
    assert (await client.get(path)).status == 200


async def test_systems_are_told_in_their_own_words_why_not(client):
    outcome = await (await client.get("/fhir/RiskAssessment?patient=p")).json(content_type=None)
    assert (outcome["resourceType"], outcome["issue"][0]["code"]) == ("OperationOutcome", "login")
    call = {"hook": "patient-view", "hookInstance": "1", "context": {"patientId": "p"}}
    assert (await client.post("/cds-services/wardstream", json=call)).status == 401


async def test_a_person_signs_in_looks_and_signs_out(client, doors):
    page = await client.get("/")
    assert page.url.path == "/login"
    assert "Sign in" in await page.text()
    answer = await client.post("/login", data={"token": f" {doors.reader}\n"}, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax", f"Max-Age={SESSION_S}", "Path=/"))
    assert doors.reader not in cookie
    assert (await (await client.get("/api/ward")).json())["caller"] == "can-read"
    assert (await client.post("/logout")).url.path == "/login"
    assert (await client.get("/api/ward")).status == 401


async def test_the_cookie_is_for_https_alone_where_the_page_is_shown_by_it(client, doors):
    answer = await client.post(
        "/login", data={"token": doors.reader}, headers={"X-Forwarded-Proto": "https"}, allow_redirects=False
    )
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("token", ["", "ws_wrong", "sender"])
async def test_another_token_opens_nothing_and_is_not_shown_again(client, doors, token):
    given = doors.sender if token == "sender" else token
    answer = await client.post("/login", data={"token": given})
    text = await answer.text()
    assert answer.status == 401
    assert '<p id="wrong" class' in text
    assert not given or given not in text
    assert "Set-Cookie" not in answer.headers


async def test_a_session_ends_with_its_time_and_with_its_token(doors):
    now = [1000.0]
    sessions = Sessions(doors.tokens, SECRET, clock=lambda: now[0])
    cookie = sessions.open(doors.reader)
    assert caller(sessions, cookie) == "can-read"
    now[0] += SESSION_S + 1
    assert caller(sessions, cookie) is None
    now[0] = 1000.0
    doors.path.write_text("".join(line for line in doors.path.open() if not line.startswith("can-read ")))
    assert caller(sessions, cookie) is None


async def test_a_stream_that_is_open_ends_when_its_token_is_taken_out(doors):
    stream = Stream("run")
    async with TestClient(TestServer(app(stream=stream, tokens=doors.tokens))) as client:
        answer = await client.get("/events", headers=bearing(doors.reader))
        stream.publish("row", b"1")
        await read_until(answer, b"data: 1\n")
        doors.path.write_text("")
        stream.publish("row", b"2")
        async with asyncio.timeout(20):
            assert b"data: 2" not in await answer.content.read()


async def test_a_cookie_that_was_changed_or_made_elsewhere_is_none(doors):
    sessions = Sessions(doors.tokens, SECRET, clock=lambda: 0.0)
    cookie = sessions.open(doors.reader)
    name, expires, seal = cookie.rsplit(".", 2)
    for other in (
        f"can-send.{expires}.{seal}",
        f"{name}.{int(expires) + 9}.{seal}",
        f"{name}.{expires}.{'0' * 64}",
        "",
    ):
        assert caller(sessions, other) is None
    elsewhere = Sessions(doors.tokens, b"another site's secret", clock=lambda: 0.0)
    assert caller(elsewhere, cookie) is None


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8090", 200), ("localhost", 200), ("[::1]:8090", 200), ("rebound.example", 421), ("ward", 421)],
)
async def test_a_page_for_this_machine_alone_answers_to_its_own_names(host, status):
    async with TestClient(TestServer(app(local=True))) as client:
        assert (await client.get("/api/ward", headers={"Host": host})).status == status
    async with TestClient(TestServer(app())) as client:
        assert (await client.get("/api/ward", headers={"Host": host})).status == 200


async def test_without_tokens_there_is_nothing_to_sign_in_to():
    async with TestClient(TestServer(app())) as client:
        assert (await client.get("/login")).url.path == "/"
        assert (await client.get("/api/ward")).status == 200
