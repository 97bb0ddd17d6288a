"""DICOM headers to clinical events: identity, times, versions, and what is refused or set aside."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import msgspec
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.events import ClinicalEvent, Imaging, Patient, encode_event
from services.domain.identity import patient_key
from services.domain.reasons import FilterReason, Rejected, RejectReason
from services.domain.site import Site
from services.formats.dicom import DicomObject, decode_object, encode_object, read, read_header
from services.formats.dicom.model import HEADER_TAGS, Element
from services.formats.reading import Reading
from tests.unit.formats.dicom.files import RECEIVED_MS, SITE, edited, picture, radiograph

REFERENCE = "sha256/ab/" + "ab" * 32


def message(data: bytes, **header: Any) -> bytes:
    """What the edge publishes for a file; `header` sets elements by keyword (None removes one)."""
    found = read_header(data)
    assert isinstance(found, DicomObject), found
    elements = dict(found.header)
    for name, value in header.items():
        tag = f"{pydicom.datadict.tag_for_keyword(name):08X}"
        elements.pop(tag, None)
        if value is not None:
            elements[tag] = Element("LO", value if isinstance(value, list) else [value])
    return encode_object(msgspec.structs.replace(found, object=REFERENCE, header=elements))


def event_of(raw: bytes, site: Site = SITE, received_ms: int = RECEIVED_MS) -> ClinicalEvent:
    reading = read(raw, site, received_ms)
    assert isinstance(reading, Reading), reading
    (event,) = reading.events
    return event


def imaging(event: ClinicalEvent) -> Imaging:
    (fact,) = [fact for fact in event.facts if isinstance(fact, Imaging)]
    return fact


def patient(event: ClinicalEvent) -> Patient:
    (fact,) = [fact for fact in event.facts if isinstance(fact, Patient)]
    return fact


def test_a_radiograph_says_who_when_and_where_its_pixels_are() -> None:
    data = radiograph(picture(48, 40))
    event = event_of(message(data))
    assert event.patient == patient_key("WARDS", "MRN-77", SITE.secret)
    assert (event.format, event.type, event.occurred) == ("dicom", "CR", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC))
    image = imaging(event)
    assert (image.modality, image.body_part, image.view_position) == ("CR", "CHEST", "PA")
    assert (image.rows, image.columns, image.object) == (48, 40, REFERENCE)
    assert image.accession is not None
    assert (image.accession.value, image.accession.type) == ("ACC-1", "ACSN")
    assert (patient(event).sex, patient(event).birth_date) == ("female", "1950-05-06")


def test_no_uid_and_no_patient_number_names_a_fact() -> None:
    data = radiograph()
    dataset = pydicom.dcmread(BytesIO(data))
    event = event_of(message(data))
    named = msgspec.json.encode([event.event_id, event.patient, imaging(event).study, imaging(event).id])
    for secret in (dataset.SOPInstanceUID, dataset.StudyInstanceUID, "MRN-77", "ACC-1"):
        assert secret.encode() not in named


def test_the_header_that_is_published_holds_no_name() -> None:
    data = edited(radiograph(), PatientName="Doe^Jane", PatientAddress="1 Street", PatientComments="free text")
    raw = message(data)
    for secret in (b"Doe", b"Street", b"free text"):
        assert secret not in raw
    assert {int(tag, 16) for tag in decode_object(raw).header} <= set(HEADER_TAGS)


def test_the_same_message_always_gives_the_same_bytes_whenever_it_is_received() -> None:
    raw = message(radiograph())
    assert encode_event(event_of(raw)) == encode_event(event_of(raw, received_ms=RECEIVED_MS + 999_999))


def test_the_same_instance_sent_again_corrected_has_the_same_identity_and_a_higher_version() -> None:
    first = radiograph()
    corrected = edited(first, InstanceCreationDate="20200105", BodyPartExamined="RIB")
    before, after = imaging(event_of(message(first))), imaging(event_of(message(corrected)))
    assert before.id == after.id
    assert before.version < after.version


def test_what_a_modality_knew_of_the_patient_never_overrules_adt() -> None:
    from services.domain.events import Rank

    assert patient(event_of(message(radiograph()))).version.rank < Rank.FINAL


@pytest.mark.parametrize(
    ("header", "authority"),
    [
        ({}, "WARDS"),
        ({"IssuerOfPatientID": None}, "HERE"),
        (
            {
                "IssuerOfPatientID": None,
                "IssuerOfPatientIDQualifiersSequence": [{"00400032": {"vr": "UT", "Value": ["1.2.3"]}}],
            },
            "1.2.3",
        ),
    ],
)
def test_the_issuer_is_the_identifiers_authority(header: dict[str, Any], authority: str) -> None:
    site = Site(secret=b"s", default_authority="HERE")
    assert event_of(message(radiograph(), **header), site).patient == patient_key(authority, "MRN-77", b"s")


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"AcquisitionDateTime": "20210101120000+0500"}, "2021-01-01T12:00:00+05:00"),
        ({"AcquisitionDateTime": "20210101120000"}, "2021-01-01T12:00:00+01:00"),
        ({"AcquisitionDateTime": "20210101120000", "TimezoneOffsetFromUTC": "-0330"}, "2021-01-01T12:00:00-03:30"),
        ({"AcquisitionDate": "20210102", "AcquisitionTime": "0304"}, "2021-01-02T03:04:00+01:00"),
        ({"AcquisitionDate": "20210102", "StudyDate": "20210101", "StudyTime": "10"}, "2021-01-01T10:00:00+01:00"),
        ({"StudyDate": "20210701"}, "2021-07-01T00:00:00+02:00"),
        ({"StudyDate": "2021.07.01", "StudyTime": "10:11:12.5"}, "2021-07-01T10:11:12.500000+02:00"),
        ({"ContentDate": "2021xx01", "StudyDate": "20210101", "StudyTime": "235960"}, "2021-01-01T23:59:59+01:00"),
    ],
)
def test_the_image_has_the_time_nearest_to_its_making_in_the_zone_it_names(
    times: dict[str, str], expected: str
) -> None:
    none = dict.fromkeys(
        f"{part}{kind}" for part in ("Acquisition", "Content", "Study") for kind in ("Date", "Time")
    ) | {"TimezoneOffsetFromUTC": None}
    site = Site(secret=b"s", time_zone="Europe/Berlin")
    assert event_of(message(radiograph(), **(none | times)), site).occurred.isoformat() == expected


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"Modality": "US"}, FilterReason.UNSUPPORTED_MODALITY),
        ({"Modality": None}, FilterReason.UNSUPPORTED_MODALITY),
        ({"AcquisitionDate": None, "ContentDate": None, "StudyDate": None}, FilterReason.NO_TIME),
    ],
)
def test_what_is_not_for_the_record_is_set_aside_by_name(header: dict[str, Any], reason: FilterReason) -> None:
    reading = read(message(radiograph(), **header), SITE, RECEIVED_MS)
    assert isinstance(reading, Reading)
    assert [part.reason for part in reading.filtered] == [reason]
    assert reading.events == ()


def test_an_object_without_pixels_is_set_aside() -> None:
    dataset = pydicom.dcmread(BytesIO(radiograph()))
    del dataset.PixelData
    out = BytesIO()
    dataset.save_as(out)
    reading = read(message(out.getvalue()), SITE, RECEIVED_MS)
    assert isinstance(reading, Reading)
    assert [part.reason for part in reading.filtered] == [FilterReason.NO_PIXELS]


BAD_DATES = {"AcquisitionDate": "2021", "ContentDate": "tomorrow", "StudyDate": "20211301"}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"PatientID": None}, RejectReason.MISSING_PATIENT),
        ({"PatientID": "  "}, RejectReason.MISSING_PATIENT),
        (BAD_DATES, RejectReason.BAD_TIMESTAMP),
        ({"AcquisitionDate": "20990101"}, RejectReason.FUTURE_TIMESTAMP),
        ({"SOPInstanceUID": None}, RejectReason.MALFORMED),
    ],
)
def test_what_cannot_be_filed_is_rejected_with_its_reason(header: dict[str, Any], reason: RejectReason) -> None:
    answer = read(message(radiograph(), **header), SITE, RECEIVED_MS)
    assert isinstance(answer, Rejected)
    assert answer.reason == reason


def test_an_image_within_the_clock_tolerance_is_taken() -> None:
    when = datetime.fromtimestamp(RECEIVED_MS / 1000, UTC) + timedelta(hours=23)
    assert event_of(message(radiograph(study_time=when))).occurred == when


def test_a_birth_date_that_is_none_is_set_aside_and_the_rest_kept() -> None:
    reading = read(message(radiograph(), PatientBirthDate="unknown"), SITE, RECEIVED_MS)
    assert isinstance(reading, Reading)
    assert [(part.reason, part.where) for part in reading.filtered] == [
        (FilterReason.BAD_ITEM_TIMESTAMP, "(0010,0030)")
    ]
    assert len(reading.events) == 1


def test_part_10_bytes_on_the_topic_are_told_where_to_go() -> None:
    answer = read(radiograph(), SITE, RECEIVED_MS)
    assert isinstance(answer, Rejected)
    assert answer.reason == RejectReason.NOT_JSON
    assert "C-STORE" in answer.hint


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"sha256": "MRN-SECRET"}, "$.sha256"),
        ({"size": "MRN-SECRET"}, "$.size"),
        ({"header": {"00100020": "MRN-SECRET"}}, "$.header[...]"),
        ({"object": ""}, "$.object"),
    ],
)
def test_a_message_that_does_not_fit_its_schema_is_rejected_at_its_place_without_its_values(
    change: dict[str, Any], where: str
) -> None:
    raw = msgspec.json.encode(msgspec.json.decode(message(radiograph())) | change)
    answer = read(raw, SITE, RECEIVED_MS)
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.where) == (RejectReason.MALFORMED, where)
    assert "SECRET" not in repr(answer)


def test_a_hospital_may_publish_more_of_the_header_than_we_read() -> None:
    """As WADO-RS metadata gives it: names, bulk data references, sequences, inline binaries."""
    content = msgspec.json.decode(message(radiograph()))
    content["header"] |= {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "https://pacs/bulk/1"},
        "00091010": {"vr": "UN", "InlineBinary": "AAAA"},
    }
    assert event_of(msgspec.json.encode(content)) == event_of(message(radiograph()))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TAGS = st.sampled_from([f"{tag:08X}" for tag in HEADER_TAGS])
ELEMENTS = st.fixed_dictionaries({"vr": st.just("LO") | st.text(max_size=3)}, optional={"Value": st.lists(VALUES)})
MESSAGE = msgspec.json.decode(message(radiograph()))


@given(header=st.dictionaries(TAGS, ELEMENTS, max_size=6))
def test_whatever_the_header_holds_there_is_an_answer(header: dict[str, Any]) -> None:
    raw = msgspec.json.encode(MESSAGE | {"header": MESSAGE["header"] | header})
    answer = read(raw, SITE, RECEIVED_MS)
    assert isinstance(answer, Rejected) or answer.events or answer.filtered


@given(raw=st.binary(max_size=300))
def test_whatever_the_bytes_are_there_is_an_answer(raw: bytes) -> None:
    assert isinstance(read(raw, SITE, RECEIVED_MS), Rejected)
