"""One result told in several ways: "pending", a number, a report or a file, each taking the place of the one before."""

import base64
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.events import ClinicalEvent, Document, Observation
from services.domain.record import PatientRecord, encode_record, fold
from tests.unit.formats.hl7v2.samples import PID, RECEIVED, event, message, msh

CODE = "18748-4^Diagnostic imaging study^LN"
TIMED = "OBR|1|P1|F1|18748-4^Report^LN|||20260501100000"
UNTIMED = "OBR|1|P1|F1|18748-4^Report^LN|||"
PDF = base64.b64encode(b"%PDF-1.7").decode()
FORMS = {
    "number": ["OBX|1|NM|{code}||4{n}||||||{status}"],
    "coded": ["OBX|1|CWE|{code}||A{n}^Pending^L||||||{status}"],
    "short": ["OBX|1|TX|{code}||Pending {n}||||||{status}"],
    "report": ["OBX|1|TX|{code}|1|Line one {n}||||||{status}", "OBX|2|TX|{code}|2|Line two||||||{status}"],
    "formatted": ["OBX|1|FT|{code}||Formatted {n}||||||{status}"],
    "note": ["OBX|1|ED|{code}|1|^TEXT^^A^Note {n}||||||{status}"],
    "file": ["OBX|1|ED|{code}||^AP^PDF^Base64^" + PDF + "||||||{status}"],
}


def said(form: str, status: str, n: int, obr: str = TIMED) -> ClinicalEvent:
    """The n-th message about the result, as its sender's clock has it."""
    sent = (RECEIVED - timedelta(days=20) + timedelta(minutes=n)).strftime("%Y%m%d%H%M%S")
    obx = [line.format(code=CODE, n=n, status=status) for line in FORMS[form]]
    return event(message(msh("ORU^R01", sent=sent, control=str(n)), PID, obr, *obx))


def shown(*events: ClinicalEvent) -> list[tuple[str, str]]:
    """What of the result a record shows, by identity and digest of its version."""
    record = PatientRecord(patient="p")
    for one in events:
        fold(record, one)
    rows = [(row.id, row.version.digest) for row in record.values("18748-4")]
    return rows + [(d.id, d.version.digest) for d in record.documents.values() if record.stands(d)]


@pytest.mark.parametrize("obr", [TIMED, UNTIMED], ids=["timed", "untimed"])
@pytest.mark.parametrize("final", sorted(FORMS))
def test_a_report_takes_the_place_of_its_pending_in_either_order(final: str, obr: str) -> None:
    pending, report = said("short", "P", 1, obr), said(final, "F", 2, obr)
    for order in ([pending, report], [report, pending]):
        assert len(shown(*order)) == 1
        assert shown(*order) == shown(report)


def test_a_short_answer_takes_the_place_of_a_preliminary_report() -> None:
    draft, answer = said("report", "P", 1), said("short", "F", 2)
    assert shown(draft, answer) == shown(answer, draft) == shown(answer)


def test_a_withdrawal_withdraws_whatever_was_said_before() -> None:
    for form in FORMS:
        assert shown(said("short", "P", 1), said("report", "F", 2), said(form, "D", 3)) == []


def test_results_of_one_order_at_different_times_both_stand() -> None:
    first, second = (TIMED[:-4] + hour for hour in ("1100", "1200"))
    assert len(shown(said("short", "F", 1, first), said("short", "F", 2, second))) == 2


STATUSES = st.sampled_from("PFCDX")
SAYINGS = st.lists(st.tuples(st.sampled_from(sorted(FORMS)), STATUSES), min_size=1, max_size=5)


@given(SAYINGS, st.sampled_from([TIMED, UNTIMED]), st.data())
def test_whatever_the_order_the_highest_version_alone_is_shown(
    sayings: list[tuple[str, str]], obr: str, data: st.DataObject
) -> None:
    events = [said(form, status, n, obr) for n, (form, status) in enumerate(sayings)]
    shuffled = data.draw(st.permutations(events + events[:2]))
    facts = [f for one in events for f in one.facts if isinstance(f, Observation | Document)]
    newest = max(facts, key=lambda fact: fact.version)
    expected = [] if newest.version.rank >= 5 else [(newest.id, newest.version.digest)]
    assert shown(*shuffled) == expected
    assert {fact.id for fact in facts} == {newest.id}
    one, other = PatientRecord(patient="p"), PatientRecord(patient="p")
    for told in shuffled:
        fold(one, told)
    for told in events:
        fold(other, told)
    assert encode_record(one) == encode_record(other)
