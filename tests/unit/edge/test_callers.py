"""Only who has a token for sending sends by HTTP, where there are tokens."""

import argparse

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fhir.resources.R4B.operationoutcome import OperationOutcome

from services.bus.access import Tokens, command
from services.bus.objects import open_store
from services.edge.callers import admit
from services.edge.dicom_intake import DicomIntake
from services.edge.fhir_http import FhirEndpoint
from services.edge.publisher import MemoryPublisher
from services.edge.stow import Stow
from services.local.replay.channels import Fhir
from services.local.replay.source import Item
from tests.unit.formats.fhir.build import SITE, observation

BODY = orjson.dumps(observation())
POSTS = ("/fhir", "/fhir/Observation", "/fhir/$import", "/dicom-web/studies", "/dicom-web/studies/1.2", "/no/such")


class Door:
    """The edge's HTTP with tokens for sending and for reading."""

    def __init__(self, folder, capsys):
        self.publisher = MemoryPublisher()
        self.sender, self.reader = (self._make(folder, capsys, scope) for scope in ("send", "read"))
        self.app = web.Application(middlewares=[admit(Tokens(folder / "tokens"))])
        FhirEndpoint(self.publisher, SITE).add_to(self.app)
        Stow(DicomIntake(open_store("memory:"), self.publisher, SITE)).add_to(self.app)

    def _make(self, folder, capsys, scope):
        command(argparse.Namespace(name=f"can-{scope}", scopes=scope, file=folder / "tokens"))
        return capsys.readouterr().out.strip()


@pytest.fixture
def door(tmp_path, capsys):
    return Door(tmp_path, capsys)


@pytest.mark.parametrize("path", POSTS)
async def test_a_stranger_is_refused_before_anything_is_read_or_kept(door, path):
    async with TestClient(TestServer(door.app)) as client:
        for headers, status in (({}, 401), ({"Authorization": f"Bearer {door.reader}"}, 403)):
            answer = await client.post(path, data=BODY, headers=headers)
            assert answer.status == status
            assert ("WWW-Authenticate" in answer.headers) == (status == 401)
            assert OperationOutcome.model_validate(await answer.json(content_type=None))
    assert door.publisher.messages == []


async def test_who_has_a_token_for_sending_sends(door):
    async with TestClient(TestServer(door.app)) as client:
        headers = {"Authorization": f"Bearer {door.sender}", "Content-Type": "application/fhir+json"}
        assert (await client.post("/fhir/Observation", data=BODY, headers=headers)).status == 201
        assert (await client.get("/fhir/metadata")).status == 200
    assert [message.value for message in door.publisher.messages] == [BODY]


async def test_a_replay_shows_its_token(door):
    async with TestServer(door.app) as server:
        item = Item(0, "fhir", "p", BODY, "Observation")
        for token, code in ((door.sender, "201"), ("", "401")):
            channel = Fhir(f"{server.host}:{server.port}", token=token)
            assert (await channel.send(item)).code == code
            await channel.close()


async def test_without_tokens_anybody_who_reaches_it_sends():
    publisher = MemoryPublisher()
    app = web.Application(middlewares=[admit(None)])
    FhirEndpoint(publisher, SITE).add_to(app)
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/fhir/Observation", data=BODY, headers={"Content-Type": "application/fhir+json"})
        assert answer.status == 201
