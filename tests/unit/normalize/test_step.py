"""Attachments: in the object store before the event that names them goes out."""

import asyncio
import base64
import json

import pytest

from services.bus.messages import Message
from services.bus.objects import FolderObjects, StoreUnavailable, open_store
from services.bus.topics import CLINICAL_EVENTS, FHIR_RAW, HL7_RAW
from services.domain.events import Document, decode_event
from services.domain.references import reference_of
from services.domain.site import Site
from services.normalize.step import Normalize

SITE = Site(secret=b"test" * 8, default_authority="HOSP")
PDF = b"%PDF-1.7 a report"
CODED = base64.b64encode(PDF).decode()
ORU = (
    "MSH|^~\\&|RAD|HOSP|||20260301090000||ORU^R01|C1|P|2.5.1\rPID|1||77^^^HOSP^MR\r"
    f"OBR|1||F1|18748-4^Report^LN|||20260301083000\rOBX|1|ED|18748-4^Report^LN||RAD^AP^PDF^Base64^{CODED}||||||F\r"
).encode()
REPORT = json.dumps(
    {
        "resourceType": "DiagnosticReport",
        "id": "r1",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "18748-4"}]},
        "subject": {"identifier": {"system": "HOSP", "value": "77"}},
        "effectiveDateTime": "2026-03-01T08:30:00Z",
        "presentedForm": [{"contentType": "application/pdf", "data": CODED}],
    }
).encode()
RAW = [(HL7_RAW, ORU), (FHIR_RAW, REPORT)]


def message(topic, raw, offset=0):
    return Message(topic.name, 0, offset, b"key", raw, {}, 1_790_000_000_000)


def documents(outputs):
    events = [decode_event(one.value) for one in outputs if one.topic is CLINICAL_EVENTS]
    return [fact for event in events for fact in event.facts if isinstance(fact, Document)]


@pytest.mark.parametrize(("topic", "raw"), RAW, ids=["hl7v2", "fhir"])
def test_a_payload_is_in_the_store_under_the_name_that_the_event_gives(topic, raw, tmp_path):
    store = FolderObjects(tmp_path)
    (outputs,) = asyncio.run(Normalize(SITE, store)([message(topic, raw)]))
    (document,) = documents(outputs)
    assert document.encapsulated == reference_of(PDF)
    assert asyncio.run(store.get(document.encapsulated)) == PDF


def test_the_same_bytes_give_the_same_events_and_one_object(tmp_path):
    step = Normalize(SITE, FolderObjects(tmp_path))
    once, again = asyncio.run(step([message(HL7_RAW, ORU), message(HL7_RAW, ORU, 1)]))
    assert [one.value for one in once] == [one.value for one in again]
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 1


class Away:
    """A store that is away for its first `times` calls, and notes what was asked of it."""

    def __init__(self, times):
        self.store, self.times, self.log = open_store("memory:"), times, []

    async def put(self, data, content_type="application/octet-stream"):
        self.log.append("put")
        if self.times:
            self.times -= 1
            raise StoreUnavailable("away")
        return await self.store.put(data, content_type)

    async def sleep(self, _seconds):
        self.log.append("sleep")


def test_while_the_store_is_away_no_event_goes_out_and_the_step_says_that_it_waits():
    away = Away(2)
    step = Normalize(SITE, away, on_wait=lambda: away.log.append("waiting"), sleep=away.sleep)
    (outputs,) = asyncio.run(step([message(HL7_RAW, ORU)]))
    assert away.log == ["put", "waiting", "sleep", "put", "waiting", "sleep", "put"]
    assert len(documents(outputs)) == 1


def test_what_holds_no_payload_does_not_touch_the_store():
    away = Away(0)
    asyncio.run(Normalize(SITE, away)([message(HL7_RAW, ORU.replace(b"|ED|", b"|NM|"))]))
    assert away.log == []
