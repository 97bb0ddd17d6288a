"""ADT: who the patient is, where, and what the trigger events do to the visit."""

from datetime import UTC, datetime

import pytest
from msgspec import UNSET

from services.domain.events import Condition, Encounter, Patient, Procedure, Rank
from services.domain.identity import patient_key
from services.domain.reasons import RejectReason
from services.domain.site import Site
from tests.unit.formats.hl7v2.samples import (
    PID,
    PV1,
    RECEIVED_MS,
    SITE,
    event,
    facts,
    message,
    msh,
    reasons,
    rejected,
    segment,
)


def adt(trigger: str, pv1: str = PV1, pid: str = PID, evn: str = "", *more: str, **fields: str) -> bytes:
    evn = evn or f"EVN|{trigger}|20260501115500"
    return message(msh(f"ADT^{trigger}", **fields), evn, pid, pv1, *more)


def visit(raw: bytes) -> Encounter:
    (only,) = facts(raw, Encounter)
    return only  # type: ignore[no-any-return]


def person(pid: str, site: Site = SITE) -> Patient:
    (only,) = facts(adt("A08", pid=pid), Patient, site)
    return only  # type: ignore[no-any-return]


def test_an_admission_opens_the_visit_in_its_bed() -> None:
    found = visit(adt("A01"))
    assert (found.status, found.class_, found.unit, found.room, found.bed, found.facility) == (
        "in-progress",
        "IMP",
        "ICU",
        "12",
        "B",
        "HOSP",
    )
    assert found.start == found.unit_since == datetime(2026, 5, 1, 8, tzinfo=UTC)
    assert found.number is not UNSET
    assert found.number.value == "V77"


def test_a_transfer_says_when_the_unit_was_entered() -> None:
    evn = segment("EVN", _1="A02", _2="20260502090000", _6="20260502083000")
    moved = visit(adt("A02", PV1.replace("ICU^12^B", "WARD^3^A"), evn=evn))
    assert (moved.unit, moved.unit_since) == ("WARD", datetime(2026, 5, 2, 8, 30, tzinfo=UTC))
    assert moved.status == "in-progress"


@pytest.mark.parametrize("code", ["20", "40", "41", "42", "20^Expired", "EX^Patient expired"])
def test_a_discharge_by_death_says_expired(code: str) -> None:
    fields = PV1.split("|") + [""] * 60
    fields[36], fields[45] = code, "20260503101500"
    found = visit(adt("A03", "|".join(fields)))
    assert (found.status, found.disposition) == ("finished", "expired")
    assert found.end == datetime(2026, 5, 3, 10, 15, tzinfo=UTC)


def test_a_discharge_without_a_time_ended_when_it_happened() -> None:
    assert visit(adt("A03")).end == datetime(2026, 5, 1, 11, 55, tzinfo=UTC)


def test_cancelled_admissions_transfers_and_discharges_are_facts_of_their_own() -> None:
    assert visit(adt("A11")).status == "cancelled"
    undone = visit(adt("A12"))
    assert (undone.unit, undone.unit_since) == ("ICU", None)
    reopened = visit(adt("A13"))
    assert (reopened.status, reopened.end, reopened.disposition) == ("in-progress", None, None)


def test_an_empty_field_says_nothing_and_a_null_says_there_is_none() -> None:
    found = visit(adt("A08", 'PV1|1|""|""|||||||||||||||||'))
    assert (found.class_, found.unit, found.bed) == (None, None, None)
    silent = visit(adt("A08", "PV1|1|||||"))
    assert silent.class_ is silent.unit is silent.start is silent.end is silent.status is UNSET


def test_planned_visits_do_not_move_the_patient() -> None:
    planned = visit(adt("A05"))
    assert (planned.status, planned.unit) == ("planned", UNSET)
    assert visit(adt("A09")).unit is UNSET


def test_a_visit_without_a_number_is_the_current_one() -> None:
    bare = visit(adt("A08", "PV1|1|E|ED"))
    assert bare.id == visit(adt("A01", "PV1|1|O|OPD")).id != visit(adt("A01")).id


def test_registration_outweighs_what_other_systems_repeat() -> None:
    oru = message(
        msh("ORU^R01", sent="20260502120000"), PID, PV1, "OBR|1||F1|1^x^L|||20260501", "OBX|1|NM|1^x^L||5||||||F"
    )
    assert visit(adt("A01")).version.rank == Rank.FINAL > visit(oru).version.rank
    assert visit(oru).status is UNSET


def test_identifiers_keep_their_authority_and_type() -> None:
    found = person("PID|1||7^^^H&1.2.3&ISO^MR~8^^^&1.9&ISO^PI~9||DOE")
    assert [(i.authority, i.value, i.type) for i in found.identifiers] == [  # type: ignore[union-attr]
        ("H", "7", "MR"),
        ("1.9", "8", "PI"),
        ("HOSP", "9", ""),
    ]


@pytest.mark.parametrize("pid", ["PID|1||100200^^^HOSP^MR", "PID|1|100200|", "PID|1|||100200^^^hosp ", "PID|1||100200"])
def test_pid_3_then_2_then_4_key_the_patient_and_the_facility_stands_in_for_the_authority(pid: str) -> None:
    assert event(adt("A08", pid=pid)).patient == patient_key("HOSP", "100200", SITE.secret)


def test_the_sites_order_of_identifier_types_decides_the_key() -> None:
    pid = "PID|1||1^^^H^SS~2^^^H^PI~3^^^H^MR"
    assert event(adt("A08", pid=pid)).patient == patient_key("H", "3", SITE.secret)
    other = Site(secret=SITE.secret, preferred_identifier_types=("PI", "MR"))
    assert event(adt("A08", pid=pid), other).patient == patient_key("H", "2", SITE.secret)


def test_without_facility_the_sites_own_authority_is_taken() -> None:
    site = Site(secret=SITE.secret, default_authority="OURS")
    assert event(adt("A08", pid="PID|1||5", _4=""), site).patient == patient_key("OURS", "5", SITE.secret)


def test_demographics_are_read_and_names_are_not_carried() -> None:
    found = person(
        segment("PID", _3="5", _5="DOE^JANE", _7="196308", _8="f", _11="1 MAIN ST", _29="20260502101112", _30="Y")
    )
    assert (found.birth_date, found.sex, found.deceased) == ("1963-08", "female", True)
    assert found.deceased_at == datetime(2026, 5, 2, 10, 11, 12, tzinfo=UTC)
    assert "DOE" not in repr(found)
    assert "MAIN" not in repr(found)


def test_a_bad_birth_date_is_set_aside_and_the_rest_is_kept() -> None:
    raw = adt("A08", pid="PID|1||5||||19631301|M")
    assert ("bad_item_timestamp", "PID-7") in reasons(raw)
    assert facts(raw, Patient)[0].sex == "male"


def test_diagnoses_and_procedures_come_with_the_visit() -> None:
    raw = adt(
        "A01",
        PV1,
        PID,
        "",
        "DG1|1|I9|I21^Infarction^I10|heart|20260430|A",
        "PR1|1||76164006^Biopsy^SCT||20260501",
        "DG1|2||^sepsis",
        "DG1|3",
    )
    first, second = facts(raw, Condition)
    assert (first.code.system, first.code.code, first.time.day) == ("http://hl7.org/fhir/sid/icd-10", "I21", 30)
    assert second.code.code == "sepsis"
    (biopsy,) = facts(raw, Procedure)
    assert biopsy.code.system == "http://snomed.info/sct"
    assert ("no_code", "DG1[3]-3") in reasons(raw)


def test_what_is_not_read_is_named() -> None:
    assert reasons(message(msh("SIU^S12"), PID)) == [("administrative", "MSH-9")]
    assert reasons(message(msh("ADT^A24"), PID, PID)) == [("unsupported_message_type", "MSH-9")]
    assert ("unsupported_segment", "ZZ1") in reasons(adt("A08", PV1, PID, "", "ZZ1|secret"))
    test_site = Site(secret=SITE.secret, refuse_test_messages=True)
    assert reasons(adt("A08", _11="T"), test_site) == [("test_or_training", "MSH-11")]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (message(msh("", control="1"), PID), RejectReason.MISSING_MESSAGE_TYPE),
        (message(msh("adt^a01"), PID), RejectReason.MISSING_MESSAGE_TYPE),
        (message(msh("ADT^A01", control=""), PID), RejectReason.MISSING_CONTROL_ID),
        (message(msh("ADT^A01"), PV1), RejectReason.MISSING_PATIENT),
        (message(msh("ADT^A01"), "PID|1||^^^H^MR||DOE"), RejectReason.MISSING_PATIENT),
        (message(msh("ADT^A01", sent="yesterday"), PID), RejectReason.BAD_TIMESTAMP),
        (message(msh("ADT^A01", sent=""), PID), RejectReason.BAD_TIMESTAMP),
        (message(msh("ADT^A01", sent="20260603000000"), PID), RejectReason.FUTURE_TIMESTAMP),
    ],
)
def test_a_message_that_cannot_be_kept_says_why(raw: bytes, reason: RejectReason) -> None:
    assert rejected(raw).reason is reason


def test_without_msh_7_the_event_tells_the_time() -> None:
    assert event(adt("A08", sent="")).occurred == datetime(2026, 5, 1, 11, 55, tzinfo=UTC)


def test_the_same_bytes_are_the_same_event_whenever_they_are_read() -> None:
    raw = adt("A01")
    assert event(raw) == event(raw)
    from services.formats.hl7v2 import read

    assert read(raw, SITE, RECEIVED_MS) == read(raw, SITE, RECEIVED_MS + 10**9)
    assert event(adt("A01", control="C2")).event_id != event(raw).event_id


def test_times_without_offset_take_that_of_msh_7_else_the_sites_zone() -> None:
    assert visit(adt("A01", sent="20260501120000-0500")).start == datetime(2026, 5, 1, 13, tzinfo=UTC)
    berlin = Site(secret=SITE.secret, time_zone="Europe/Berlin")
    (found,) = facts(adt("A01"), Encounter, berlin)
    assert found.start == datetime(2026, 5, 1, 6, tzinfo=UTC)
    (dated,) = facts(adt("A01", PV1 + "+0900", sent="20260501120000-0500"), Encounter)
    assert dated.start == datetime(2026, 4, 30, 23, tzinfo=UTC)
