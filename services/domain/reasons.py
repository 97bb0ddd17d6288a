"""Every reason for which something is refused or set aside, in one place.

A reason is a stable machine-readable code: it appears on topics, in metrics and in documents, never with
any content of the message (no PHI).
"""

from enum import StrEnum

import msgspec

from services.domain.events import Rank


class RejectReason(StrEnum):
    """Why a whole message became a dead letter."""

    EMPTY = "empty"  # no bytes, or white space alone
    TOO_LARGE = "too_large"
    UNDECODABLE_TEXT = "undecodable_text"  # bytes do not fit the declared character set
    UNKNOWN_CHARSET = "unknown_charset"  # MSH-18 names a set we do not have
    NOT_HL7 = "not_hl7"  # does not begin with MSH and its delimiters
    NOT_JSON = "not_json"
    NOT_FHIR = "not_fhir"  # JSON, but no resourceType that we can read
    WRONG_TYPE = "wrong_type"  # FHIR: another resource than the URL names
    WRONG_ID = "wrong_id"  # FHIR: another id than the URL names
    NOT_DICOM = "not_dicom"
    MALFORMED = "malformed"  # a structure that its standard forbids and that we cannot read around
    MISSING_CONTROL_ID = "missing_control_id"  # MSH-10
    CONTROL_ID_REUSED = "control_id_reused"  # an earlier message of the sender had this MSH-10 and other bytes
    MISSING_MESSAGE_TYPE = "missing_message_type"  # MSH-9
    MISSING_PATIENT = "missing_patient"  # no identifier to key the record by
    MISSING_MERGE_PATIENT = "missing_merge_patient"  # MRG-1 / the superseded identifier
    UNRESOLVED_REFERENCE = "unresolved_reference"  # a FHIR reference that leads nowhere in its bundle
    BAD_TIMESTAMP = "bad_timestamp"
    FUTURE_TIMESTAMP = "future_timestamp"  # more than a day after it was received
    NOT_AS_ANNOUNCED = "not_as_announced"  # DICOM: another instance, class or study than the request named
    OBJECT_MISSING = "object_missing"  # the DICOM object is not in the object store
    OBJECT_CORRUPT = "object_corrupt"  # its SHA-256 differs from the event's
    UNREADABLE_PIXELS = "unreadable_pixels"
    SCHEMA_VIOLATION = "schema_violation"  # an event on an internal topic does not fit its schema
    REFUSED_BY_RECEIVER = "refused_by_receiver"  # the hospital's system did not take what we sent: AR, or AE for good
    STEP_FAILED = "step_failed"  # a defect of ours: the step raised


class FilterReason(StrEnum):
    """Why an understood message, or a part of one, does not reach the record."""

    UNSUPPORTED_MESSAGE_TYPE = "unsupported_message_type"  # the record has no place for it, e.g. OMD (diets)
    UNSUPPORTED_RESOURCE = "unsupported_resource"  # the record has no place for it, e.g. FHIR CarePlan
    ADMINISTRATIVE = "administrative"  # billing, insurance, schedules, staff, relatives, consent
    ACKNOWLEDGEMENT = "acknowledgement"  # an answer to a message of ours
    OWN_PREDICTION = "own_prediction"  # what we sent ourselves and somebody sent back: no finding about the patient
    QUERY = "query"  # a question, or the answer to one, which nobody here asked
    UNSUPPORTED_SEGMENT = "unsupported_segment"
    UNSUPPORTED_VALUE_TYPE = "unsupported_value_type"  # OBX-2 that carries nothing we can use
    UNSUPPORTED_MODALITY = "unsupported_modality"  # e.g. DICOM SR, US
    ACCOUNT_NOT_PATIENT = "account_not_patient"  # A35, A36, A41...: merges of accounts or visits alone
    NO_CLINICAL_CONTENT = "no_clinical_content"
    NO_VALUE = "no_value"
    CONTENT_ELSEWHERE = "content_elsewhere"  # a pointer or URL to content, which is not fetched
    NO_CODE = "no_code"
    NO_TIME = "no_time"
    NOT_A_NUMBER = "not_a_number"  # NM that is not one
    UNKNOWN_UNIT = "unknown_unit"
    INCOMPATIBLE_UNIT = "incompatible_unit"
    IMPLAUSIBLE_VALUE = "implausible_value"  # outside what is physically possible for the code
    BAD_ITEM_TIMESTAMP = "bad_item_timestamp"
    FUTURE_ITEM_TIMESTAMP = "future_item_timestamp"
    OTHER_PATIENT = "other_patient"  # part of the message is about somebody else (e.g. a specimen donor)
    NO_PATIENT_REFERENCE = "no_patient_reference"  # a resource or message about nobody: Practitioner, MFN
    NO_PIXELS = "no_pixels"
    TEST_OR_TRAINING = "test_or_training"  # MSH-11 D or T where the site refuses them


def replaces(unusable: FilterReason, rank: int) -> bool:
    """Whether a result or document that cannot be used takes the place of what its sender said of it before.

    What is there and cannot be used does. One without content, or with a pointer to it, says nothing new (HL7 v2.8
    chapter 2, an empty field; U in table 0085), save in a correction or a withdrawal, which replace it as a whole.
    """
    silent = unusable in (FilterReason.NO_VALUE, FilterReason.CONTENT_ELSEWHERE)
    return not silent or rank >= Rank.AMENDED


class Filtered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a message that was set aside: why, and where (`OBX[3]-5`, `entry[7]`), never what it said."""

    reason: FilterReason
    where: str = ""


class Rejected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message that cannot be read: why, where, and how the sender can mend it. Never any of its content."""

    reason: RejectReason
    where: str = ""
    hint: str = ""
