"""A message of `dicom.raw` to its clinical event: who the patient is, and that there is an image."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from services.domain.events import ClinicalEvent, Identifier, Imaging, Patient, Rank, Version, digest
from services.domain.identity import key_of
from services.domain.reasons import Filtered, FilterReason, Rejected, RejectReason
from services.domain.site import Site
from services.formats.dicom.model import DicomObject, Header, decode_object, integer, item, text
from services.formats.dicom.times import created_ms, image_time, parse_date
from services.formats.reading import Reading

MODALITIES = frozenset({"CR", "DX", "CT", "MR"})
"""(0008,0060) that reach the record; every other is filtered by name."""

SEX = {"M": "male", "F": "female", "O": "other"}
"""PS3.3 C.7.1.1 Patient's Sex to FHIR administrative-gender."""

PART10_HINT = "dicom.raw carries DicomObject JSON: send files by C-STORE or STOW-RS, or keep them and publish this"


def read(raw: bytes, site: Site, received_ms: int) -> Reading | Rejected:
    """Read one `DicomObject` message.

    Rejected: NOT_JSON (Part 10 bytes too, with a hint), MALFORMED (the message does not fit its schema),
    MISSING_PATIENT, BAD_TIMESTAMP, FUTURE_TIMESTAMP. Filtered: UNSUPPORTED_MODALITY, NO_PIXELS, NO_TIME.
    """
    found = _decoded(raw)
    if isinstance(found, Rejected):
        return found
    header = found.header
    instance = text(header, "00080018")
    if not instance or not found.object:
        return Rejected(RejectReason.MALFORMED, "$.object" if instance else "(0008,0018)", "it is required")
    message_id = digest("dicom", instance, found.sha256)
    modality = text(header, "00080060").upper()
    reading = Reading("dicom", modality or "unknown", message_id)
    if modality not in MODALITIES:
        return _set_aside(reading, FilterReason.UNSUPPORTED_MODALITY, "(0008,0060)")
    if not found.pixels:
        return _set_aside(reading, FilterReason.NO_PIXELS, "(7FE0,0010)")
    patient = patient_identifier(header, site)
    if patient is None:
        return Rejected(RejectReason.MISSING_PATIENT, "(0010,0020)", "Patient ID is needed to find the record")
    when = image_time(header, site.zone)
    if when is None:
        return _set_aside(reading, FilterReason.NO_TIME, "(0008,0020)")
    if isinstance(when, str):
        return Rejected(RejectReason.BAD_TIMESTAMP, when, "dates are YYYYMMDD, times HHMMSS.FFFFFF (PS3.5 6.2)")
    if when > datetime.fromtimestamp(received_ms / 1000, UTC) + site.max_future:
        return Rejected(RejectReason.FUTURE_TIMESTAMP, "(0008,0022)", "check the modality's clock and time zone")
    event, filtered = _event(found, site, patient, when, message_id)
    return msgspec.structs.replace(reading, events=(event,), filtered=filtered)


def patient_identifier(header: Header, site: Site) -> Identifier | None:
    """Patient ID within its issuer (PS3.3 C.7.1.1, Issuer of Patient ID macro); None where there is no Patient ID.

    The issuer is (0010,0021), which is HL7's CX.4.1, else the universal id of (0010,0024), else the site's default.
    """
    value = text(header, "00100020")
    if not value:
        return None
    universal = text(item(header, "00100024"), "00400032")
    return Identifier(text(header, "00100021") or universal or site.default_authority, value, "MR")


def _decoded(raw: bytes) -> DicomObject | Rejected:
    if raw[128:132] == b"DICM":
        return Rejected(RejectReason.NOT_JSON, hint=PART10_HINT)
    try:
        return decode_object(raw)
    except msgspec.ValidationError as error:
        # msgspec's texts hold the schema's words and the place, never the value.
        return Rejected(RejectReason.MALFORMED, _place(str(error)), "it does not fit DicomObject's schema")
    except (msgspec.DecodeError, RecursionError):
        return Rejected(RejectReason.NOT_JSON, hint=PART10_HINT)


def _place(message: str) -> str:
    _, _, path = message.rpartition(" - at ")
    return path.strip("`") if path.startswith("`$") else "$"


def _set_aside(reading: Reading, reason: FilterReason, where: str) -> Reading:
    return msgspec.structs.replace(reading, filtered=(Filtered(reason, where),))


def _event(
    found: DicomObject, site: Site, patient: Identifier, when: datetime, message_id: str
) -> tuple[ClinicalEvent, tuple[Filtered, ...]]:
    key = key_of(patient, site)
    demographics, filtered = _demographics(found.header, key, patient, when, found.sha256)
    event = ClinicalEvent(
        event_id=message_id,
        patient=key,
        format="dicom",
        type=text(found.header, "00080060").upper(),
        occurred=when,
        facts=[demographics, _imaging(found, site, when)],
    )
    return event, filtered


def _demographics(
    header: Header, key: str, patient: Identifier, when: datetime, sha256: str
) -> tuple[Patient, tuple[Filtered, ...]]:
    """The patient as the modality knew them: copied from a worklist, so never ranked above what ADT or FHIR says."""
    said: dict[str, Any] = {"identifiers": [patient]}
    filtered: tuple[Filtered, ...] = ()
    born = text(header, "00100030")
    if born:
        day = parse_date(born)
        if day:
            said["birth_date"] = day.isoformat()
        else:
            filtered = (Filtered(FilterReason.BAD_ITEM_TIMESTAMP, "(0010,0030)"),)
    sex = text(header, "00100040").upper()
    if sex:
        said["sex"] = SEX.get(sex, "unknown")
    version = Version(Rank.PRELIMINARY, _ms(when), 0, digest(sha256))
    return Patient(id=digest("patient", key), version=version, **said), filtered


def _imaging(found: DicomObject, site: Site, when: datetime) -> Imaging:
    header = found.header
    accession = text(header, "00080050")
    issuer = item(header, "00080051")
    return Imaging(
        id=digest("dicom", text(header, "00080018")),
        # The same instance sent again with other bytes (a corrected header): the one made later wins.
        version=Version(Rank.FINAL, created_ms(header, site.zone), 0, digest(found.sha256)),
        time=when,
        modality=text(header, "00080060").upper(),
        object=found.object,
        object_sha256=found.sha256,
        study=_named(header, "0020000D"),
        series=_named(header, "0020000E"),
        body_part=text(header, "00180015").upper(),
        view_position=text(header, "00185101").upper(),
        rows=integer(header, "00280010"),
        columns=integer(header, "00280011"),
        transfer_syntax=found.transfer_syntax,
        accession=Identifier(text(issuer, "00400031") or text(issuer, "00400032"), accession, "ACSN")
        if accession
        else None,
    )


def _named(header: Header, tag: str) -> str:
    uid = text(header, tag)
    return digest("dicom", uid) if uid else ""


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
