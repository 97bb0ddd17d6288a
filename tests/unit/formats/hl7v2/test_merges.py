"""Merges: a mark for every superseded number, and the survivor's own event."""

import pytest

from services.domain.events import Merge, Patient
from services.domain.identity import patient_key
from services.domain.reasons import RejectReason
from tests.unit.formats.hl7v2.samples import SITE, message, msh, reading, reasons, rejected


def key(value: str, authority: str = "HOSP") -> str:
    return patient_key(authority, value, SITE.secret)


def merge(trigger: str, *segments: str) -> bytes:
    return message(msh(f"ADT^{trigger}"), f"EVN|{trigger}|20260501", *segments)


def marks(raw: bytes) -> dict[str, str]:
    return {e.patient: f.into for e in reading(raw).events for f in e.facts if isinstance(f, Merge)}


@pytest.mark.parametrize("trigger", ["A18", "A30", "A34", "A36", "A39", "A40", "A46", "A47"])
def test_the_superseded_number_is_forwarded_to_the_survivor(trigger: str) -> None:
    raw = merge(trigger, "PID|1||200^^^HOSP^MR||||19700101|M", "MRG|100^^^HOSP^MR")
    assert marks(raw) == {key("100"): key("200")}
    old, new = reading(raw).events
    assert (old.patient, new.patient) == (key("100"), key("200"))
    assert old.event_id != new.event_id
    assert [type(f) for f in new.facts] == [Patient]
    assert [type(f) for f in old.facts] == [Merge]


def test_every_repetition_of_the_old_number_is_forwarded_but_not_one_that_the_survivor_keeps() -> None:
    raw = merge("A40", "PID|1||200^^^HOSP^MR~777^^^SSA^SS", "MRG|100^^^HOSP^MR~101^^^HOSP^MR~777^^^SSA^SS")
    assert marks(raw) == {key("100"): key("200"), key("101"): key("200")}


def test_several_pairs_in_one_message_are_each_forwarded_to_their_own_survivor() -> None:
    raw = merge("A40", "PID|1||2^^^HOSP^MR", "MRG|1^^^HOSP^MR", "PID|2||4^^^HOSP^MR", "PV1|1|I", "MRG|3^^^HOSP^MR")
    assert marks(raw) == {key("1"): key("2"), key("3"): key("4")}
    assert len(reading(raw).events) == 4
    assert len({e.event_id for e in reading(raw).events}) == 4


def test_a_chain_in_one_message_keeps_both_marks() -> None:
    raw = merge("A40", "PID|1||2^^^HOSP^MR", "MRG|1^^^HOSP^MR", "PID|2||3^^^HOSP^MR", "MRG|2^^^HOSP^MR")
    assert marks(raw) == {key("1"): key("2"), key("2"): key("3")}


def test_mrg_4_serves_where_mrg_1_is_empty() -> None:
    assert marks(merge("A39", "PID|1||2^^^HOSP^MR", "MRG||||1^^^HOSP^MR")) == {key("1"): key("2")}


def test_a_merge_without_a_superseded_number_is_rejected() -> None:
    pid = "PID|1||2^^^HOSP^MR"
    for segments in ((pid,), (pid, "MRG|"), (pid, 'MRG|""'), (pid, "MRG|^^^HOSP^MR")):
        assert rejected(merge("A40", *segments)).reason is RejectReason.MISSING_MERGE_PATIENT


@pytest.mark.parametrize("trigger", ["A35", "A41", "A42", "A44", "A45", "A49", "A50"])
def test_merges_of_accounts_and_visits_leave_the_patient_alone(trigger: str) -> None:
    raw = merge(trigger, "PID|1||2^^^HOSP^MR", "MRG|1^^^HOSP^MR||9")
    assert reading(raw).events == ()
    assert reasons(raw) == [("account_not_patient", "MSH-9")]


def test_a_number_merged_into_itself_is_no_merge() -> None:
    raw = merge("A36", "PID|1||2^^^HOSP^MR", "MRG|2^^^HOSP^MR||ACC1")
    assert marks(raw) == {}
    assert reasons(raw) == [("account_not_patient", "MRG-1")]
