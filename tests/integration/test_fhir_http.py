"""The FHIR endpoint as clients speak it: singly, in Bundles, as ndjson, packed, broken, with the broker away."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.operationoutcome import OperationOutcome

from services.bus.messages import DeadLetter
from services.bus.topics import DEAD_LETTERS, FHIR_RAW
from services.edge import fhir_http
from services.edge.fhir_http import Limits, fhir_app
from services.edge.publisher import MemoryPublisher
from tests.unit.formats.fhir.build import MRN, SITE, bundle, key, observation, patient, transaction

JSON = {"Content-Type": "application/fhir+json"}
NDJSON = {"Content-Type": "application/fhir+ndjson"}
SECRET = "Featherstonehaugh-4711"
LIMITS = Limits(max_bytes=100_000, max_stream_bytes=2_000_000, read_timeout=0.5, max_lines_in_flight=8)


@pytest.fixture
def publisher() -> MemoryPublisher:
    return MemoryPublisher()


@pytest.fixture
async def http(publisher: MemoryPublisher) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(fhir_app(publisher, SITE, LIMITS))) as client:
        yield client


async def outcome(response: Any) -> list[tuple[str, str, str]]:
    """(severity, reason, place) of each issue of a valid OperationOutcome."""
    document = await response.json(content_type="application/fhir+json")
    assert OperationOutcome.model_validate(document)
    assert SECRET not in json.dumps(document)
    return [
        (i["severity"], i.get("details", {}).get("coding", [{}])[0].get("code", ""), (i.get("expression") or [""])[0])
        for i in document["issue"]
    ]


async def test_a_resource_is_on_the_topic_as_sent_under_its_patients_key_before_201(http, publisher):
    publisher.gate.clear()
    body = b" " + orjson.dumps(observation()) + b"\n"
    asking = asyncio.create_task(http.post("/fhir/Observation", data=body, headers=JSON))
    done, _ = await asyncio.wait({asking}, timeout=0.2)
    assert not done, "answered before the broker acknowledged"
    publisher.gate.set()
    response = await asking
    assert response.status == 201
    (kept,) = publisher.on(FHIR_RAW)
    assert (kept.key, kept.value) == (key(), body)


async def test_a_lone_resource_at_the_root_is_taken_too(http, publisher):
    assert (await http.post("/fhir", json=observation())).status == 201
    assert [m.key for m in publisher.on(FHIR_RAW)] == [key()]


async def test_an_update_is_200_and_its_id_must_be_the_urls(http, publisher):
    assert (await http.put("/fhir/Observation/o1", json=observation(id="o1"))).status == 200
    for wrong in (observation(id="o2"), observation()):
        response = await http.put("/fhir/Observation/o1", json=wrong)
        assert response.status == 400
        assert await outcome(response) == [("error", "wrong_id", "id")]
    assert len(publisher.on(FHIR_RAW)) == 1
    assert [orjson.loads(letter.value)["reason"] for letter in publisher.on(DEAD_LETTERS)] == ["wrong_id"] * 2


async def test_a_transaction_has_a_response_for_each_entry(http, publisher):
    claim = ("urn:uuid:3", {"resourceType": "Claim"})
    document = transaction(("urn:uuid:1", patient()), ("urn:uuid:2", observation()), claim)
    response = await http.post("/fhir", data=orjson.dumps(document), headers=JSON)
    assert response.status == 200
    answer = await response.json(content_type="application/fhir+json")
    assert Bundle.model_validate(answer)
    assert answer["type"] == "transaction-response"
    assert [e["response"]["status"] for e in answer["entry"]] == ["201 Created"] * 3
    assert answer["entry"][2]["response"]["outcome"]["issue"][0]["details"]["coding"][0]["code"] == "administrative"
    assert [m.key for m in publisher.on(FHIR_RAW)] == [key()]


async def test_what_is_set_aside_is_told(http):
    response = await http.post("/fhir/Observation", json=observation(valueQuantity={"value": 1, "unit": SECRET}))
    assert response.status == 201
    assert await outcome(response) == [("information", "unknown_unit", "valueQuantity")]
    response = await http.post("/fhir", json=bundle(observation(), {"resourceType": "Organization"}))
    assert await outcome(response) == [("information", "no_patient_reference", "entry[1]")]


@pytest.mark.parametrize(
    ("path", "body", "status", "reason", "place"),
    [
        ("", b"{" + SECRET.encode(), 400, "not_json", None),
        ("", b"", 400, "empty", ""),
        ("", b'{"resourceType":"Bundle"}', 400, "malformed", "Bundle.type"),
        ("/Patient", orjson.dumps(observation()), 400, "wrong_type", "resourceType"),
        ("/Patient", orjson.dumps({"resourceType": "Patient", "name": [{"family": SECRET}]}), 422,
         "missing_patient", "identifier"),
        ("", orjson.dumps(transaction(("urn:uuid:1", observation(subject={"reference": "urn:uuid:0"})))), 422,
         "unresolved_reference", "entry[0].subject"),
        ("/Observation", b"x" * 200_000, 413, "too_large", ""),
    ],
)  # fmt: skip
async def test_what_is_not_taken_is_answered_with_why_and_where(http, publisher, path, body, status, reason, place):
    response = await http.post(f"/fhir{path}", data=body, headers=JSON)
    assert response.status == status
    ((severity, found, where),) = await outcome(response)
    assert (severity, found) == ("error", reason)
    assert where == place or place is None
    assert publisher.on(FHIR_RAW) == []
    if reason != "too_large":
        (letter,) = publisher.on(DEAD_LETTERS)
        assert orjson.loads(letter.value)["reason"] == reason, "what reached us is kept, though it is refused"


async def test_a_defect_is_a_500_with_the_bytes_kept_and_no_word_of_the_patient(http, publisher, monkeypatch, caplog):
    def broken(*_args: Any) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(fhir_http, "examine", broken)
    body = orjson.dumps(patient(name=[{"family": SECRET}]))
    response = await http.post("/fhir/Patient", data=body, headers=JSON)
    assert response.status == 500
    assert await outcome(response) == [("error", "step_failed", "")]
    response = await http.post("/fhir/$import", data=body + b"\n" + body, headers=NDJSON)
    assert response.status == 422
    assert [one[1] for one in await outcome(response)] == ["summary", "step_failed", "step_failed"]
    kept = [msgspec.json.decode(letter.value, type=DeadLetter) for letter in publisher.on(DEAD_LETTERS)]
    assert [(one.reason, one.value.strip()) for one in kept] == [("step_failed", body)] * 3
    monkeypatch.undo()
    monkeypatch.setattr(fhir_http, "capability_statement", broken)
    assert (await http.get("/fhir/metadata")).status == 500
    assert "ValueError at test_fhir_http.py:" in caplog.text
    assert SECRET not in caplog.text


async def test_while_the_broker_is_away_the_answer_is_503_and_when_to_come_again(http, publisher):
    publisher.away = True
    for body in (orjson.dumps(observation()), b"{"):
        response = await http.post("/fhir/Observation", data=body, headers=JSON)
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        assert (await outcome(response))[0][:2] == ("error", "unavailable")
    publisher.away = False
    assert (await http.post("/fhir/Observation", json=observation())).status == 201


@pytest.mark.parametrize("path", ["/fhir/$import", "/fhir", "/fhir/Observation"])
async def test_ndjson_is_a_message_a_line_in_order_with_the_bad_lines_named(http, publisher, path):
    lines = [
        orjson.dumps(patient(id="1")),
        b"",
        b"{ " + SECRET.encode(),
        *(orjson.dumps(observation(id=str(n))) for n in range(40)),
        orjson.dumps({"resourceType": "Patient"}),
    ]
    response = await http.post(path, data=b"\n".join(lines), headers=NDJSON)
    assert response.status == 200
    issues = await outcome(response)
    assert [i[:2] for i in issues] == [("information", "summary"), ("error", "not_json"), ("error", "missing_patient")]
    assert issues[1][2].startswith("line 3")
    assert issues[2][2] == "line 44 identifier"
    assert [m.value for m in publisher.on(FHIR_RAW)] == [lines[0], *lines[3:43]]
    assert len(publisher.on(DEAD_LETTERS)) == 2


async def test_ndjson_of_which_nothing_can_be_read_is_422(http):
    response = await http.post("/fhir/$import", data=b"a\nb\n", headers=NDJSON)
    assert response.status == 422


async def test_ndjson_stops_when_the_broker_goes_away_and_says_what_is_kept(http, publisher):
    publisher.away = True
    body = b"\n".join(orjson.dumps(observation(id=str(n))) for n in range(500))
    response = await http.post("/fhir/$import", data=body, headers=NDJSON)
    assert response.status == 503
    assert "Retry-After" in response.headers
    assert publisher.attempts < 500


async def test_an_ndjson_line_without_end_is_413(http, publisher):
    response = await http.post("/fhir/$import", data=b"{}\n" + b" x" * 100_000, headers=NDJSON)
    assert response.status == 413
    assert await outcome(response) == [("error", "too_large", "line 2")]


async def test_packed_bodies_are_taken_and_packed_bombs_are_not(http, publisher):
    headers = JSON | {"Content-Encoding": "gzip"}
    plain = orjson.dumps(observation())
    assert (await http.post("/fhir/Observation", data=gzip.compress(plain), headers=headers)).status == 201
    assert publisher.messages[0].value == plain
    bomb = gzip.compress(b" " * 60_000_000, 9)
    assert len(bomb) < 100_000, "small enough to pass for a body within the cap"
    response = await http.post("/fhir/Observation", data=bomb, headers=headers)
    assert response.status == 413
    response = await http.post("/fhir/Observation", data=b"\x1f\x8bnot gzip at all", headers=headers)
    assert response.status == 400


async def test_other_media_types_and_charsets_are_415(http):
    for headers in (
        {"Content-Type": "application/fhir+xml"},
        {"Content-Type": "application/json; charset=iso-8859-1"},
        JSON | {"Content-Encoding": "compress"},
    ):
        response = await http.post("/fhir/Observation", data=b"{}", headers=headers)
        assert response.status == 415
        assert (await outcome(response))[0][2] in ("Content-Type", "Content-Encoding")


async def test_a_body_that_stops_coming_is_408(http):
    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    response = await http.post("/fhir/Observation", data=slowly(), headers=JSON)
    assert response.status == 408
    assert await outcome(response) == [("error", "timeout", "")]


NOT_OFFERED = [
    ("GET", "/fhir/Patient/1", 405),
    ("GET", "/fhir/Patient", 405),
    ("DELETE", "/fhir/Patient/1", 405),
    ("POST", "/fhir/a/b/c", 404),
    ("POST", "/fhir/$everything", 404),
]


@pytest.mark.parametrize(("method", "path", "status"), NOT_OFFERED)
async def test_what_is_not_offered_is_said_so(http, method, path, status):
    response = await http.request(method, path)
    assert response.status == status
    assert (await outcome(response))[0][1] == "not_supported"


async def test_metadata_says_what_is_offered(http):
    response = await http.get("/fhir/metadata")
    document = await response.json(content_type="application/fhir+json")
    assert CapabilityStatement.model_validate(document)
    assert {"Patient", "Observation", "Encounter"} <= {r["type"] for r in document["rest"][0]["resource"]}


async def test_many_at_once_are_each_answered_for_themselves(http, publisher):
    async def one(n: int) -> int:
        value = {"system": "urn:hospital", "value": f"m{n % 5}", **MRN}
        document = observation(id=str(n), subject={"identifier": value})
        return (await http.post("/fhir/Observation", json=document)).status

    assert await asyncio.gather(*map(one, range(100))) == [201] * 100
    assert {m.key for m in publisher.messages} == {key(f"m{n}") for n in range(5)}
