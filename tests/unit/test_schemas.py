"""Code, JSON Schemas, AsyncAPI document and real messages hold together."""

import copy
import json

import jsonschema
import msgspec
import pytest
from hypothesis import given

from services.bus import schemas
from services.bus.messages import DeadLetter, FilteredMessage, Message, MetricEvent, Origin, dead_letter
from services.bus.topics import HL7_RAW, TOPICS
from services.domain.events import encode_event
from services.domain.reasons import Rejected, RejectReason
from services.domain.record import PatientRecord, encode_record, fold
from tests.unit.strategies import events

RELEASES = sorted((schemas.FOLDER / "released").iterdir())


def validate(name: str, value: bytes) -> None:
    schema = json.loads((schemas.FOLDER / schemas.file_name(name)).read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(value))


def test_the_files_are_what_the_code_says(tmp_path):
    for path in schemas.write(tmp_path):
        assert (schemas.FOLDER / path.name).read_text() == path.read_text(), (
            f"schemas/{path.name} is out of date: run `python -m services.bus.schemas`"
        )


@pytest.mark.parametrize("name", schemas.TYPES)
def test_every_schema_is_a_valid_json_schema(name):
    jsonschema.Draft202012Validator.check_schema(schemas.json_schema(name))


def test_every_topic_has_a_channel_whose_schema_exists():
    document = json.loads((schemas.FOLDER / "asyncapi.json").read_text())
    assert set(document["channels"]) == {topic.name for topic in TOPICS}
    for topic in TOPICS:
        (message,) = document["channels"][topic.name]["messages"].values()
        if "$ref" in message["payload"]:
            assert (schemas.FOLDER / message["payload"]["$ref"]).exists()
        else:
            assert topic.value not in schemas.TYPES


def test_topics_keyed_by_patient_are_co_partitioned():
    assert len({topic.partitions for topic in TOPICS if topic.key == "patient key"}) == 1


@given(events())
def test_every_clinical_event_and_its_record_fit_their_schemas(event):
    validate("ClinicalEvent", encode_event(event))
    record = PatientRecord(patient="p")
    fold(record, event)
    validate("PatientRecord", encode_record(record))


def test_dead_letters_filtered_messages_and_metrics_fit_their_schemas():
    message = Message(HL7_RAW.name, 0, 5, b"key", b"\xff\x00", {"h": b"1"}, 17)
    validate("DeadLetter", dead_letter(message, Rejected(RejectReason.NOT_HL7), "normalize").value)
    filtered = FilteredMessage(
        origin=Origin("hl7v2.raw", 0, 1), format="hl7v2", type="SIU^S12", message_id="x", reasons=["r"]
    )
    validate("FilteredMessage", msgspec.json.encode(filtered))
    validate("MetricEvent", msgspec.json.encode(MetricEvent(name="n", value=1.0, at=2)))


def test_a_dead_letter_gives_the_original_bytes_back():
    message = Message(HL7_RAW.name, 0, 5, b"key", b"\xff\x00", {"h": b"1"}, 17)
    letter = dead_letter(message, Rejected(RejectReason.NOT_HL7), "normalize")
    decoded = msgspec.json.decode(letter.value, type=DeadLetter)
    assert (decoded.value, decoded.key, decoded.headers) == (message.value, message.key, message.headers)


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_schemas_change_only_in_a_backward_compatible_way(release):
    for name in schemas.TYPES:
        old = json.loads((release / schemas.file_name(name)).read_text())
        assert schemas.incompatibilities(old, schemas.json_schema(name)) == []


def test_an_incompatible_change_would_be_noticed():
    old = schemas.json_schema("MetricEvent")
    new = copy.deepcopy(old)
    fields = new["$defs"]["MetricEvent"]
    del fields["properties"]["unit"]
    fields["required"].append("labels")
    fields["properties"]["value"] = {"type": "string"}
    assert schemas.incompatibilities(old, new) == [
        "MetricEvent.labels: newly required",
        "MetricEvent.unit: removed",
        "MetricEvent.value: type narrowed",
    ]
