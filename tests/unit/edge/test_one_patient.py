"""One patient, sent in three formats by three systems that name the hospital each in its own way, is one patient."""

from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from services.bus.objects import FolderObjects
from services.bus.topics import DICOM_RAW, FHIR_RAW, HL7_RAW
from services.domain.identity import patient_key
from services.domain.site import Site
from services.edge.acceptance import Acceptance
from services.edge.dicom_intake import DicomIntake
from services.edge.fhir_http import fhir_app
from services.edge.ledger import Ledger
from services.edge.publisher import MemoryPublisher
from services.formats import dicom, fhir, hl7v2
from services.formats.reading import Reading
from tests.unit.formats.dicom.files import radiograph
from tests.unit.formats.fhir.build import MRN, observation, patient

NOW = 1_790_000_000_000  # 2026-09-21
ALIASES = {"1.2.3": "Hosp", " https://hosp.example/mrn": "Hosp", "PACS": "HOSP"}


def adt(authority: str, event: str = "A08", more: str = "") -> bytes:
    return (
        f"MSH|^~\\&|ADT|NORTH|WS|WS|20250101120000||ADT^{event}|1|P|2.5.1\r"
        f"EVN|{event}|20250101120000\rPID|1||100^^^{authority}^MR||DOE^JANE||19500101|F\r{more}PV1|1|I|W^1^1\r"
    ).encode()


def system(value: str) -> dict[str, Any]:
    return {"system": value} if value else {}


async def keys_of(
    tmp_path: Any, site: Site, hl7_authority: str, fhir_system: str, dicom_issuer: str
) -> list[tuple[str, str | None, str]]:
    """Topic, its message's key, and the patient of the event that is read of it."""
    publisher = MemoryPublisher()
    await Acceptance(publisher, Ledger(None), site).message(adt(hl7_authority))
    async with TestClient(TestServer(fhir_app(publisher, site))) as http:
        number = {"value": "100", **system(fhir_system)}
        sent = [patient(identifier=[number | MRN]), observation(subject={"identifier": number})]
        for resource in sent:
            assert (await http.post("/fhir", data=orjson.dumps(resource))).status == 201
    image = radiograph(patient_id="100", issuer=dicom_issuer)
    header = dicom.read_header(image)
    assert isinstance(header, dicom.DicomObject)
    await DicomIntake(FolderObjects(tmp_path), publisher, site).keep(header, image)
    read = {HL7_RAW.name: hl7v2.read, FHIR_RAW.name: fhir.read, DICOM_RAW.name: dicom.read}
    found = []
    for message in publisher.messages:
        reading = read[message.topic](message.value, site, NOW)
        assert isinstance(reading, Reading), reading
        found += [(message.topic, message.key, event.patient) for event in reading.events]
    assert [topic for topic, *_ in found] == [HL7_RAW.name, FHIR_RAW.name, FHIR_RAW.name, DICOM_RAW.name]
    return found


@pytest.mark.parametrize(
    ("hl7_authority", "fhir_system", "dicom_issuer"),
    [
        ("HOSP&1.2.3&ISO", "urn:oid:1.2.3", "PACS"),
        ("&1.2.3&ISO", "https://hosp.example/mrn", "hosp"),
        ("", "", ""),  # nobody names one: the site's default, in every format
        ("HOSP", "", "1.2.3"),
    ],
)
async def test_one_patient_in_three_formats_has_one_key(tmp_path, hl7_authority, fhir_system, dicom_issuer):
    site = Site(secret=b"s", default_authority="1.2.3", authority_aliases=ALIASES)
    wanted = patient_key("HOSP", "100", site.secret)
    for _, key, of_event in await keys_of(tmp_path, site, hl7_authority, fhir_system, dicom_issuer):
        assert (key, of_event) == (wanted, wanted)


async def test_without_aliases_each_name_is_an_authority_of_its_own(tmp_path):
    found = await keys_of(tmp_path, Site(secret=b"s"), "HOSP&1.2.3&ISO", "urn:oid:1.2.3", "")
    wanted = [patient_key(authority, "100", b"s") for authority in ("HOSP", "1.2.3", "1.2.3", "")]
    assert [of_event for *_, of_event in found] == wanted


def test_a_merge_under_another_name_of_the_authority_reaches_the_same_records():
    site = Site(secret=b"s", authority_aliases=ALIASES)
    reading = hl7v2.read(adt("1.2.3", "A40", "MRG|200^^^PACS^MR\r"), site, NOW)
    assert isinstance(reading, Reading), reading
    assert {event.patient for event in reading.events} == {patient_key("HOSP", n, b"s") for n in ("100", "200")}
    same = hl7v2.read(adt("1.2.3", "A40", "MRG|100^^^PACS^MR\r"), site, NOW)
    assert isinstance(same, Reading), same
    assert {event.patient for event in same.events} <= {patient_key("HOSP", "100", b"s")}, "no merge into oneself"
