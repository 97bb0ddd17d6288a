"""MDM, orders, drugs, vaccinations, problems."""

import base64
from datetime import UTC, datetime

import pytest

from services.domain.events import Condition, Document, Medication, Observation, Order, Procedure, Rank
from services.domain.record import PatientRecord, fold
from tests.unit.formats.hl7v2.samples import PID, PV1, event, facts, message, msh, reasons, segment, withdrawn

LINE = "OBX|{0}|TX|11506-3^Note^LN||{1}||||||F"


def mdm(
    event: str, *obx: str, completion: str = "AU", number: str = "D1^H", parent: str = "", state: str = "AV"
) -> bytes:
    txa = segment("TXA", _1="1", _2="DS", _3="TX", _4="20260430", _6="20260501093000", _12=number, _13=parent)
    txa += "||||" + f"{completion}||{state}"
    return message(msh(f"MDM^{event}"), f"EVN|{event}|20260501", PID, PV1, txa, *obx)


def docs(raw: bytes) -> list[Document]:
    return facts(raw, Document)


def test_a_note_is_one_document_of_all_its_lines() -> None:
    (note,) = docs(mdm("T02", LINE.format(1, "seen \\T\\ examined"), LINE.format(2, ""), LINE.format(3, "well")))
    assert note.text == "seen & examined\n\nwell"
    assert (note.title, note.code.code if note.code else "") == ("Discharge summary", "18842-5")
    assert note.time == datetime(2026, 5, 1, 9, 30, tzinfo=UTC)
    assert note.version.rank == Rank.FINAL


def test_a_draft_gives_way_to_the_authenticated_note_whatever_the_order() -> None:
    (draft,) = docs(mdm("T02", LINE.format(1, "a"), completion="DI"))
    (final,) = docs(mdm("T08", LINE.format(1, "b"), completion="LA"))
    assert draft.id == final.id
    assert draft.version < final.version


def test_a_cancelled_document_is_withdrawn() -> None:
    (gone,) = docs(mdm("T11"))
    (note,) = docs(mdm("T02", LINE.format(1, "a")))
    assert gone.id == note.id
    assert withdrawn(gone)
    assert withdrawn(docs(mdm("T02", LINE.format(1, "a"), state="CA"))[0])


def test_a_replacement_withdraws_what_it_replaces() -> None:
    new, old = docs(mdm("T10", LINE.format(1, "b"), number="D2^H", parent="D1^H"))
    assert (new.text, withdrawn(old)) == ("b", True)
    assert old.id == docs(mdm("T02", LINE.format(1, "a")))[0].id


SCAN = f"OBX|2|ED|SCAN^Scan^L||RAD^AP^PDF^Base64^{base64.b64encode(b'%PDF-1.7').decode()}||||||F"


@pytest.mark.parametrize("obx", [(SCAN,), (LINE.format(1, "seen"), SCAN), (SCAN, SCAN)])
def test_a_cancelled_document_takes_its_files_with_it_in_either_order(obx: tuple[str, ...]) -> None:
    sent, gone = mdm("T02", *obx), mdm("T11", number="D1^H")
    documents = docs(sent)
    assert [bool(document.part_of) for document in documents] == [False, True][: len(documents)]
    for order in ((sent, gone), (gone, sent)):
        record = PatientRecord(patient="p")
        for raw in order:
            fold(record, event(raw))
        assert not [document for document in record.documents.values() if record.stands(document)]
    record = PatientRecord(patient="p")
    fold(record, event(sent))
    assert all(map(record.stands, record.documents.values()))


@pytest.mark.parametrize("trigger", ["T01", "T03", "T05", "T07"])
def test_a_notification_without_content_never_empties_a_document(trigger: str) -> None:
    assert docs(mdm(trigger)) == []
    assert ("no_clinical_content", "TXA") in reasons(mdm(trigger))


def test_other_values_in_a_note_are_results() -> None:
    raw = mdm("T02", LINE.format(1, "a"), "OBX|2|NM|8867-4^HR^LN||80|/min|||||F", "OBX|3|HD|x^y||1.2||||||F")
    assert [o.value for o in facts(raw, Observation)] == [80.0, None]
    assert ("unsupported_value_type", "OBX[3]-2") in reasons(raw)


def order(control: str, state: str = "", kind: str = "OML^O21", *more: str) -> bytes:
    orc = f"ORC|{control}|P1^EHR|||{state}||||20260501081500"
    return message(msh(kind), PID, PV1, orc, "OBR|1|P1^EHR||24323-8^CMP^LN|||20260501090000", *more)


@pytest.mark.parametrize("kind", ["ORM^O01", "OMG^O19", "OML^O21"])
def test_a_request_is_an_order_and_its_cancellation_outranks_it(kind: str) -> None:
    (new,) = facts(order("NW", kind=kind), Order)
    (cancelled,) = facts(order("CA", kind=kind), Order)
    assert (new.status, new.code.code, new.time.hour) == ("active", "24323-8", 8)
    assert new.id == cancelled.id
    assert cancelled.status == "revoked"
    assert withdrawn(cancelled)
    assert new.version < cancelled.version


def test_results_inside_an_order_are_read_and_a_later_visit_is_not_taken_for_this_one() -> None:
    raw = order("NW", "SC", "OML^O21", "OBX|1|NM|8867-4^HR^LN||80|/min|||||F", "PV1|1|O|OLD")
    assert [o.value for o in facts(raw, Observation)] == [80.0]
    assert ("unsupported_segment", "PV1[2]") in reasons(raw)


def drug(kind: str, *segments: str) -> Medication:
    (only,) = facts(message(msh(kind), PID, PV1, "ORC|NW|M1|||||||20260501070000", *segments), Medication)
    return only  # type: ignore[no-any-return]


def test_drugs_ordered_dispensed_and_given() -> None:
    rxe = "RXE||0143963401^nicardipine^NDC|5||mg/h^mg/h"
    ordered = drug("RDE^O11", rxe, "TQ1|1||||||20260501080000|20260502080000", "RXR|IV^Intravenous")
    assert (ordered.action, ordered.dose, ordered.unit, ordered.route) == ("ordered", 5.0, "mg/h", "Intravenous")
    assert ordered.end == datetime(2026, 5, 2, 8, tzinfo=UTC)
    assert ordered.code.system == "http://hl7.org/fhir/sid/ndc"
    dispensed = drug("RDS^O13", "RXD|1|01^doxycycline^NDC|20260501|10|tab||RX1")
    assert (dispensed.action, dispensed.dose) == ("dispensed", 10.0)
    given = drug("RAS^O17", "RXA|0|1|20260501083000|20260501084500|161^paracetamol^RXNORM|1|g||||||||||||CP", "RXR|PO")
    assert (given.action, given.status, given.route, given.time.minute) == ("administered", "completed", "PO", 30)


def test_a_deleted_administration_is_withdrawn() -> None:
    rxa = segment("RXA", _1="0", _2="1", _3="20260501", _5="1^x^L", _6="999", _20="CP", _21="D")
    assert withdrawn(drug("RAS^O17", rxa))
    assert drug("RAS^O17", rxa).dose is None


def test_a_vaccination_is_a_procedure_with_its_observations() -> None:
    rxa = segment("RXA", _1="0", _2="1", _3="20210818", _5="88^influenza^CVX", _6="0.5", _20="RE")
    raw = message(msh("VXU^V04"), PID, "ORC|RE||V1", rxa, "OBX|1|CE|30963-3^Funding^LN||P^Private^L||||||F")
    (shot,) = facts(raw, Procedure)
    assert (shot.code.system, shot.status) == ("http://hl7.org/fhir/sid/cvx", "refused")
    (funding,) = facts(raw, Observation)
    assert (funding.value, funding.time.date()) == ("Private", shot.time.date())


def test_a_problem_is_a_condition_and_its_deletion_withdraws_it() -> None:
    prb = "PRB|{}|20260501|596.5^Bladder dysfunction^I9|26744|||20260401||||||ACTIVE"
    (added,) = facts(message(msh("PPR^PC1"), PID, prb.format("AD")), Condition)
    (deleted,) = facts(message(msh("PPR^PC3"), PID, prb.format("DE")), Condition)
    assert (added.status, added.time.month, added.id) == ("active", 4, deleted.id)
    assert withdrawn(deleted)
