"""The main job, end to end, on real parts."""

import asyncio
import base64
import json
import re
import urllib.request
from contextlib import suppress
from urllib.error import HTTPError

import msgspec
import pytest
from kafka import KafkaProducer

from services.bus.admin import partitions
from services.bus.connect import kafka_python_producer
from services.bus.messages import DeadLetter
from services.bus.topics import CLINICAL_EVENTS, DEAD_LETTERS, HL7_RAW, PATIENT_RECORDS, RISK_PREDICTIONS, STEP_INPUTS
from services.domain.prediction import Prediction, Status
from services.domain.record import decode_record
from services.edge.mllp_client import MllpClient
from services.local.replay.channels import split_address

pytestmark = [pytest.mark.kafka, pytest.mark.triton, pytest.mark.timeout(180)]

VITALS = (
    ("8867-4", "Heart rate", "/min", 112),
    ("8480-6", "Systolic blood pressure", "mm[Hg]", 92),
    ("9279-1", "Respiratory rate", "/min", 26),
    ("8310-5", "Body temperature", "Cel", 38.7),
    ("59408-5", "Oxygen saturation", "%", 91),
    ("2524-7", "Lactate", "mmol/L", 4.1),
)


def oru(number: str, control: str, *, status: str = "F", lactate: float = 4.1, at: str = "20260301080000") -> bytes:
    lines = [
        f"MSH|^~\\&|LAB|E2E|WARDSTREAM|W|{at}||ORU^R01^ORU_R01|{control}|P|2.5.1",
        f"PID|1||{number}^^^E2E^MR||DOE^JANE||19510203|F",
        f"PV1|1|I|ICU^1^2^E2E||||||||||||||||V{number}|||||||||||||||||||||||||20260228220000",
        f"OBR|1|P{number}|F{number}|PANEL^Vitals^L|||{at}|||||||||||||||{at}|||{status}",
    ]
    for n, (code, name, unit, value) in enumerate(VITALS, 1):
        shown = lactate if name == "Lactate" else value
        lines.append(f"OBX|{n}|NM|{code}^{name}^LN||{shown}|{unit}|||||{status}|||{at}")
    return ("\r".join(lines) + "\r").encode()


async def send(system, *messages: bytes) -> list[str]:
    """The MSA-1 of each message's acknowledgement."""
    client = MllpClient(*split_address(system.edge.mllp))
    try:
        return [(await client.send(message))[0] for message in messages]
    finally:
        await client.close()


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read()


def predictions(system, number: str, model: str = "risk_fusion") -> list[Prediction]:
    found = [
        msgspec.json.decode(m.value, type=Prediction) for m in system.of_patient(RISK_PREDICTIONS, system.key(number))
    ]
    return [p for p in found if p.model == model]


async def test_one_oru_over_mllp_becomes_one_prediction(system):
    assert await send(system, oru("1001", "C1001")) == ["AA"]
    (prediction,) = system.eventually(lambda: predictions(system, "1001"), "a prediction for the patient")
    (message,) = system.of_patient(PATIENT_RECORDS, system.key("1001"))
    record = decode_record(message.value)
    assert prediction.record_version == record.record_version
    assert [row.value for row in record.values("2524-7")] == [4.1]
    assert all(0 <= risk.probability <= 1 for risk in prediction.risks if risk.status is Status.SCORED)
    assert any(risk.status is Status.SCORED for risk in prediction.risks)
    assert prediction.weights_sha256
    assert prediction.input_sha256
    assert prediction.feature_version


async def test_a_correction_changes_the_record_and_a_repeat_changes_nothing(system):
    first, corrected = oru("1002", "C1"), oru("1002", "C2", status="C", lactate=1.2)
    assert await send(system, first, corrected, first) == ["AA", "AA", "AA"]  # the third is the earlier ACK again
    found = system.eventually(
        lambda: len(predictions(system, "1002")) >= 2 and predictions(system, "1002"), "2 predictions"
    )
    assert len({p.prediction_id for p in found}) == 2
    last = decode_record(system.of_patient(PATIENT_RECORDS, system.key("1002"))[-1].value)
    assert [row.value for row in last.values("2524-7")] == [1.2]


async def test_publishing_straight_to_the_raw_topic_gives_the_same_event(system):
    message = oru("1003", "C1003")
    assert await send(system, message) == ["AA"]
    key = system.key("1003")
    (through,) = system.eventually(lambda: system.of_patient(CLINICAL_EVENTS, key), "the event that came by the edge")
    producer = KafkaProducer(**kafka_python_producer(system.settings))
    producer.send(HL7_RAW.name, message).get(10)
    producer.close()
    events = system.eventually(
        lambda: len(system.of_patient(CLINICAL_EVENTS, key)) == 2 and system.of_patient(CLINICAL_EVENTS, key),
        "the direct event",
    )
    assert events[1].value == through.value


async def test_a_merge_moves_the_record_and_supersedes_the_old_scores(system):
    merge = (
        b"MSH|^~\\&|ADT|E2E|WARDSTREAM|W|20260301090000||ADT^A40^ADT_A39|M1|P|2.5.1\r"
        b"EVN|A40|20260301090000\rPID|1||1005^^^E2E^MR||DOE^JANE||19510203|F\rMRG|1004^^^E2E^MR\r"
    )
    assert await send(system, oru("1004", "C1004"), merge, oru("1004", "C1004b", at="20260301100000")) == ["AA"] * 3

    def survivor():
        records = [decode_record(m.value) for m in system.of_patient(PATIENT_RECORDS, system.key("1005"))]
        return records and len(list(records[-1].values("2524-7"))) == 2 and records[-1]

    assert system.eventually(survivor, "both results in the surviving record")
    superseded = system.eventually(
        lambda: [p for p in predictions(system, "1004") if p.superseded_by], "the old number's scores marked superseded"
    )
    assert superseded[0].superseded_by == system.key("1005")


async def test_what_is_not_hl7_is_refused_with_a_reason_and_kept(system):
    before = len(system.messages(DEAD_LETTERS))
    reader, writer = await asyncio.open_connection(*split_address(system.edge.mllp))
    writer.write(b"\x0bGARBAGE ABOUT SMITH^JOHN\x1c\r")
    await writer.drain()
    answer = await reader.readuntil(b"\x1c\r")
    writer.close()
    assert b"MSA|AR" in answer
    assert b"SMITH" not in answer
    letters = system.eventually(lambda: system.messages(DEAD_LETTERS)[before:], "a dead letter")
    letter = msgspec.json.decode(letters[0].value, type=DeadLetter)
    assert letter.value == b"GARBAGE ABOUT SMITH^JOHN"
    assert "SMITH" not in letter.where + letter.hint + letter.reason


async def test_the_page_s_api_shows_the_patient_without_identifiers(system):
    assert await send(system, oru("1006", "C1006")) == ["AA"]
    key = system.key("1006")

    def row():
        rows = json.loads(fetch(f"{system.page}/api/ward"))["patients"]
        return next((r for r in rows if r["patient"] == key and r["risks"]), None)

    assert system.eventually(row, "the patient's row with risks")["unit"] == "ICU"
    view = fetch(f"{system.page}/api/patients/{key}").decode()
    assert "1006^" not in view
    assert '"1006"' not in view
    assert "DOE" not in view
    assert "Heart rate" in view


async def test_a_pdf_within_a_message_can_be_saved_from_the_page_whichever_way_the_message_came(system):
    pdf = base64.b64encode(b"%PDF-1.7 of the e2e test").decode()
    report = f"OBX|9|ED|18748-4^Radiology report^LN||RAD^AP^PDF^Base64^{pdf}||||||F\r".encode()
    through, direct = oru("1007", "C1007") + report, oru("1008", "C1008") + report
    assert await send(system, through) == ["AA"]
    producer = KafkaProducer(**kafka_python_producer(system.settings))
    producer.send(HL7_RAW.name, direct).get(10)
    producer.close()
    for number in ("1007", "1008"):
        address = f"{system.page}/api/patients/{system.key(number)}"

        def notes(address=address):
            with suppress(HTTPError):  # the patient is not on the board yet
                return json.loads(fetch(address))["notes"]

        (note,) = system.eventually(notes, "the report among the patient's notes")
        assert (note["title"], note["content_type"]) == ("Radiology report", "application/pdf")
        assert fetch(f"{address}/documents/{note['file']}") == b"%PDF-1.7 of the e2e test"


def test_every_service_is_alive_and_serves_metrics(system):
    for name, port in system.services.ports.items():
        for path in ("healthz", "readyz", "metrics"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as answer:
                assert answer.status == 200, name


def test_every_step_says_how_many_partitions_it_reads(system):
    for step in ("normalize", "assemble", "encode", "score"):
        text = fetch(f"http://127.0.0.1:{system.services.ports[step]}/metrics").decode()
        (assigned,) = re.findall(rf'^wardstream_assigned_partitions{{service="{step}"}} (\S+)$', text, re.MULTILINE)
        assert float(assigned) == sum(partitions(topic, system.settings) for topic in STEP_INPUTS[step]), step


def test_nothing_is_logged_about_a_patient(system):
    for path in (system.folder / "logs").glob("*.log"):
        text = path.read_text()
        for word in ("DOE", "JANE", "SMITH", "19510203", "C1006"):
            assert word not in text, path.name
