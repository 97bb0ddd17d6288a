"""The page's server over real sockets, in this process."""

import asyncio
import json
import socket

import pytest
from aiohttp import TCPConnector
from aiohttp.test_utils import TestClient, TestServer

from services.bus.objects import open_store
from services.deliver import web as module
from services.deliver.health_view import HealthView
from services.deliver.models_view import models_in
from services.deliver.stream import Stream
from services.deliver.web import PNG, application
from services.domain.events import Document, Rank, Version
from services.domain.record import PatientRecord, encode_record
from services.domain.references import reference_of
from services.domain.site import Site
from tests.support import ROOT
from tests.unit.deliver.support import SECRET, T0, board, hospital_board, prediction, record


def app(made=None, stream=None, **options):
    models = models_in(ROOT / "model_repository")
    site = Site(secret=SECRET)
    shown = made if made is not None else board(prediction())
    return application(
        shown,
        stream if stream is not None else Stream("run"),
        HealthView(),
        open_store("memory:"),
        models,
        site,
        **options,
    )


@pytest.fixture
async def client():
    async with TestClient(TestServer(app())) as made:
        yield made


def test_a_card_is_shown_without_the_marks_between_which_training_writes():
    cards = {facts.model: facts.card for facts in models_in(ROOT / "model_repository")}
    assert "| AUROC |" in cards["note_encoder"]
    assert not any("<!--" in card for card in cards.values())


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/api/ward", "/api/patients/nobody", "/no/such", "/events"])
async def test_every_answer_has_the_security_headers(client, path):
    async with client.get(path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_the_page_asks_nothing_of_other_servers(client):
    page = await (await client.get("/")).text()
    scripts = [path.read_text() for path in (ROOT / "services/deliver/static").glob("*.*s")]
    for text in (page, *scripts):
        assert "https://" not in text
        assert "innerHTML" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")


async def test_only_thumbnails_leave_by_the_image_door(client):
    objects = client.app[module.OBJECTS]
    picture = await objects.put(PNG + b"...")
    dicom = await objects.put(b"\0" * 128 + b"DICM")
    assert (await client.get(f"/api/images/{picture}")).status == 200
    for name in (dicom, "sha256/00/none", "../../etc/passwd"):
        assert (await client.get(f"/api/images/{name}")).status == 404


async def test_a_merged_patient_s_address_tells_the_new_one():
    made = board(prediction())
    made.take_record(encode_record(PatientRecord(patient="p", merged_into="q")))
    async with TestClient(TestServer(app(made))) as client:
        answer = await client.get("/api/patients/p", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (307, "/api/patients/q")


async def test_models_tell_their_thresholds_and_a_damaged_manifest_hides_no_other(tmp_path):
    for name, text in (
        ("bad", "{"),
        ("good", '{"model": "good", "outcomes": [{"name": "mortality", "threshold": 0.3}]}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(text)
    (tmp_path / "good" / "MODEL_CARD.md").write_text("# Good")
    bad, good = models_in(tmp_path)
    assert (bad.model, bad.outcomes) == ("bad", [])
    assert (good.outcomes[0].threshold, good.card) == (0.3, "# Good")


async def read_until(answer, wanted):
    text = b""
    async with asyncio.timeout(20):
        while wanted not in text:
            assert not answer.content.at_eof(), "the stream ended"
            text += await answer.content.readany()
    return text


async def test_two_hundred_browsers_get_every_row_in_order():
    stream = Stream("run")
    many = TCPConnector(limit=0)
    async with TestClient(TestServer(app(stream=stream)), connector=many) as client:
        answers = await asyncio.gather(*(client.get("/events") for _ in range(200)))
        assert len(stream) == 200
        for n in range(50):
            stream.publish("row", b"%d" % n)
            await asyncio.sleep(0)
        texts = await asyncio.gather(*(read_until(answer, b"data: 49\n") for answer in answers))
        wanted = [b"data: %d" % n for n in range(50)]
        assert all([line for line in text.split(b"\n") if line.startswith(b"data")] == wanted for text in texts)


async def test_a_browser_that_comes_back_gets_what_it_missed_and_no_more():
    stream = Stream("run")
    for n in range(4):
        stream.publish("row", b"%d" % n)
    async with TestClient(TestServer(app(stream=stream))) as client:
        answer = await client.get("/events", headers={"Last-Event-ID": "run-2"})
        text = await read_until(answer, b"data: 3\n")
        assert b"data: 2\n" in text
        assert b"data: 1\n" not in text
        stranger = await client.get("/events", headers={"Last-Event-ID": "other-2"})
        assert b"event: reload" in await read_until(stranger, b"reload")


async def test_a_browser_that_does_not_read_is_cut_off(monkeypatch):
    monkeypatch.setattr(module, "SEND_TIMEOUT_S", 0.2)
    stream = Stream("run")
    async with TestServer(app(stream=stream)) as server:
        stuck = socket.create_connection((server.host, server.port))
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        async with TestClient(server) as client:
            other = await client.get("/events")
            async with asyncio.timeout(20):
                while len(stream) != 1:  # both come, then the stuck one goes
                    stream.publish("row", b"x" * 200_000)
                    await read_until(other, b"\n\n")
            stream.publish("row", b"still here")
            await read_until(other, b"still here")
        stuck.close()


async def test_more_streams_than_allowed_are_told_to_try_again(monkeypatch):
    monkeypatch.setattr(module, "MAX_STREAMS", 1)
    async with TestClient(TestServer(app())) as client:
        assert (await client.get("/events")).status == 200
        assert (await client.get("/events")).status == 503


async def test_other_origins_are_let_in_to_fhir_and_hooks_alone_and_only_when_named():
    origin = {"Origin": "https://ehr.example"}
    async with TestClient(TestServer(app(origins=("https://ehr.example",)))) as client:
        asked = await client.options("/cds-services/wardstream", headers=origin)
        assert (asked.status, asked.headers["Access-Control-Allow-Origin"]) == (204, "https://ehr.example")
        assert "Access-Control-Allow-Origin" in (await client.get("/fhir/metadata", headers=origin)).headers
        assert "Access-Control-Allow-Origin" not in (await client.get("/api/ward", headers=origin)).headers
        stranger = await client.get("/cds-services", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in stranger.headers


async def test_the_ward_says_while_it_is_still_reading():
    async with TestClient(TestServer(app(state=module.State()))) as client:
        assert (await (await client.get("/api/ward")).json())["caught_up"] is False


async def test_a_large_ward_is_sent_compressed():
    made = board(prediction())
    for n in range(50):
        made.take_record(record(f"p{n}"))
    async with TestClient(TestServer(app(made))) as client:
        answer = await client.get("/api/ward")
        assert answer.headers["Content-Encoding"] in ("deflate", "gzip")
        assert len((await answer.json())["patients"]) == 51


async def test_nothing_on_any_address_of_the_page_holds_the_number():
    made, key = hospital_board()
    async with TestClient(TestServer(app(made))) as client:
        for path in ("/api/ward", f"/api/patients/{key}", "/api/health", f"/fhir/RiskAssessment?patient={key}"):
            text = await (await client.get(path)).text()
            assert json.loads(text)
            assert "SECRET" not in text


PDF = b"%PDF-1.7 a report"


def filed(**more):
    return Document(
        id="d1",
        version=more.pop("version", Version()),
        time=T0,
        title="Report",
        encapsulated=reference_of(PDF),
        content_type=more.pop("content_type", "application/pdf"),
        **more,
    )


async def saved(document, path="/api/patients/p/documents/d1"):
    made = app(board(prediction(), facts=[document]))
    await made[module.OBJECTS].put(PDF)
    async with TestClient(TestServer(made)) as client, client.get(path) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_a_document_that_came_as_a_file_can_be_saved_and_is_never_shown_within_the_page():
    status, headers, body = await saved(filed())
    assert (status, body, headers["Content-Type"]) == (200, PDF, "application/pdf")
    assert headers["Content-Disposition"] == 'attachment; filename="document.pdf"'
    _, headers, _ = await saved(filed(content_type="text/html\r\nX: y"))
    assert headers["Content-Type"] == "application/octet-stream"
    _, headers, _ = await saved(filed(content_type="text/html"))
    assert headers["Content-Disposition"].startswith("attachment")


async def test_a_withdrawn_or_unknown_document_is_not_given_out():
    assert (await saved(filed(version=Version(rank=Rank.ENTERED_IN_ERROR))))[0] == 404
    assert (await saved(filed(unusable=True)))[0] == 404
    assert (await saved(filed(), "/api/patients/p/documents/other"))[0] == 404
    assert (await saved(filed(), "/api/patients/other/documents/d1"))[0] == 404
