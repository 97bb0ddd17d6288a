"""The raw topics of real Kafka to a training set: everything that they hold, objects from the store included."""

import asyncio

import msgspec
import pytest
from kafka import KafkaProducer

from services.bus import connect
from services.bus.admin import create_topics
from services.bus.objects import open_store
from services.bus.topics import DICOM_RAW, FHIR_RAW, HL7_RAW
from services.deidentify.manifest import verify
from services.deidentify.recording import RawTopics
from services.deidentify.run import Deidentifier, Options
from services.domain.events import Imaging, Observation, Patient
from services.domain.identity import patient_key
from services.formats import dicom
from tests.unit.deidentify.canaries import leaks, word
from tests.unit.deidentify.runs import NOW, SITE, events
from tests.unit.formats.dicom.files import edited, radiograph
from tests.unit.formats.fhir.build import MRN, observation, raw
from tests.unit.formats.hl7v2.samples import message, msh

pytestmark = pytest.mark.kafka


def test_what_the_raw_topics_hold_leaves_without_identifiers(bus_settings, tmp_path):
    create_topics(bus_settings, [HL7_RAW, FHIR_RAW, DICOM_RAW])
    number = word()
    image = edited(radiograph(patient_id=number, issuer="HOSP"), BurnedInAnnotation="NO", InstitutionName=word())
    reference = asyncio.run(open_store(bus_settings.objects_address).put(image))
    header = dicom.read_header(image)
    assert isinstance(header, dicom.DicomObject)
    pid = f"PID|1||{number}^^^HOSP^MR||{word()}^{word()}||19630815|F|||{word()}"
    about = {"identifier": {"system": "HOSP", "value": number, **MRN}, "display": word()}
    messages = [
        (HL7_RAW, message(msh("ORU^R01"), pid, "OBX|1|NM|8867-4^HR^LN||72|/min|||||F|||20260501100000")),
        (FHIR_RAW, raw(observation(subject=about))),
        (DICOM_RAW, dicom.encode_object(msgspec.structs.replace(header, object=reference))),
    ]
    producer = KafkaProducer(**connect.kafka_python_producer(bus_settings, "test"))
    for topic, value in messages:
        producer.send(topic.name, value=value, key=b"k").get(30)
    producer.close()

    out = tmp_path / "out"
    out.mkdir()
    report = Deidentifier(SITE, Options(), NOW)(RawTopics(bus_settings), out)
    verify(out)
    assert leaks(out) == []
    key = patient_key("HOSP", number, SITE.secret)
    mine = [event for event in events(out) if event.patient == key]
    assert [event.format for event in mine] == ["hl7v2", "fhir", "dicom"]
    kinds = {type(fact) for event in mine for fact in event.facts}
    assert kinds >= {Patient, Observation, Imaging}
    assert set(report.formats) == {"hl7v2", "fhir", "dicom"}
