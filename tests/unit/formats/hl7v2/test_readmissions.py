"""A readmission under the same visit: without a number in PV1-19 every stay of a patient is the current one."""

from itertools import permutations
from typing import Any

import pytest
from msgspec import UNSET

from services.deliver.rows import present
from services.domain.events import Encounter
from services.domain.features.static import STATIC, static
from services.domain.outcomes import stay_ended
from services.domain.record import PatientRecord, encode_record, epoch_ms, fold
from tests.unit.formats.hl7v2.samples import PID, event, facts, message, msh, segment


def adt(trigger: str, sent: str, **pv1: str) -> bytes:
    """An ADT without a visit number, sent on that day of May 2026 (`031000`: the third, 10:00)."""
    time = f"202605{sent}00"
    fields = {"_1": "1", "_2": "I", "_3": "ICU^1^A", "_45": "", **pv1}
    return message(msh(f"ADT^{trigger}", sent=time), f"EVN|{trigger}|{time}", PID, segment("PV1", **fields))


ADMITTED = adt("A01", "010800")
LEFT = adt("A03", "031000", _36="01", _45="20260503100000")
BACK = adt("A01", "100900", _3="WARD^2^B")
LEFT_AGAIN = adt("A03", "121100", _36="20", _45="20260512110000")


def record(*messages: bytes) -> PatientRecord:
    made = PatientRecord(patient="p")
    for raw in messages:
        fold(made, event(raw))
    return made


def now(made: PatientRecord, day: int = 11) -> dict[str, Any]:
    time = epoch_ms(f"2026-05-{day:02}T09:00:00+00:00")
    assert time is not None
    return made.encounter_at(time) or {}


@pytest.mark.parametrize("stream", list(permutations([ADMITTED, LEFT, BACK])))
def test_a_readmitted_patient_is_here_whatever_the_order(stream: tuple[bytes, ...]) -> None:
    made = record(*stream)
    assert present(made.encounters)
    fields = now(made)
    assert (fields["status"], fields["end"], fields["disposition"], fields["unit"]) == (
        "in-progress",
        None,
        None,
        "WARD",
    )
    assert encode_record(made) == encode_record(record(ADMITTED, LEFT, BACK))


@pytest.mark.parametrize("stream", list(permutations([ADMITTED, LEFT, BACK, LEFT_AGAIN])))
def test_the_second_discharge_wins_whatever_the_order(stream: tuple[bytes, ...]) -> None:
    made = record(*stream)
    assert not present(made.encounters)
    fields = now(made, 13)
    assert (fields["end"], fields["disposition"]) == ("2026-05-12T11:00:00Z", "expired")


@pytest.mark.parametrize("trigger", ["A01", "A04", "A06", "A07"])
def test_what_begins_a_stay_says_that_it_is_open(trigger: str) -> None:
    (visit,) = facts(adt(trigger, "100900"), Encounter)
    assert (visit.end, visit.disposition, stay_ended(visit)) == (None, None, False)
    assert present(record(LEFT, adt(trigger, "100900")).encounters)


def test_an_admission_that_knows_its_end_keeps_it() -> None:
    (visit,) = facts(adt("A01", "100900", _36="01", _45="20260512110000"), Encounter)
    assert (visit.end is not None, visit.disposition) == (True, "01")


@pytest.mark.parametrize("trigger", ["A02", "A05", "A08", "A16"])
def test_other_events_say_nothing_of_the_end(trigger: str) -> None:
    (visit,) = facts(adt(trigger, "100900"), Encounter)
    assert visit.end is visit.disposition is UNSET


def test_the_hours_in_hospital_are_those_of_the_stay_after_the_readmission() -> None:
    made = record(ADMITTED, LEFT, BACK)
    time = epoch_ms("2026-05-11T09:00:00+00:00")
    assert time is not None
    values = dict(zip(STATIC, static(made, time), strict=True))
    assert (values["hours_in_hospital"], values["hours_in_unit"]) == (24.0, 24.0)
