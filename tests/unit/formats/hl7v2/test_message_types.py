"""Every message type that a hospital's engine may route here is read, or set aside as a whole for what it is."""

import pytest

from services.domain.events import Allergy, Document, Medication, Merge, Observation, Order, Patient, Procedure
from services.domain.reasons import Rejected
from services.formats.hl7v2 import read
from services.formats.hl7v2.control import Routing, routing
from tests.unit.formats.hl7v2.samples import PID, PV1, RECEIVED_MS, SITE, message, msh, reading, reasons

MRG = "MRG|300400^^^HOSP^MR"
ORDER = ("ORC|NW|P1|F1", "OBR|1|P1|F1|24323-8^CMP^LN|||20260501100000")
RESULT = (*ORDER, "OBX|1|NM|8867-4^Heart rate^LN||80|/min|||||F")
DRUG = "ORC|NW|P1|F1|||||||20260501100000"
TXA = "TXA|1|DS|TX|20260501093000||||||||D1^H|D0^H||||AU||AV"
LINE = "OBX|1|TX|11506-3^Note^LN||well||||||F"


def kinds(raw: bytes) -> set[type]:
    return {type(fact) for event in reading(raw).events for fact in event.facts}


def told(kind: str, *segments: str) -> bytes:
    return message(msh(kind), f"EVN|{kind[4:7]}|20260501", PID, *segments)


@pytest.mark.parametrize("event", ["A18", "A30", "A34", "A36", "A39", "A40", "A46", "A47"])
def test_what_makes_one_patient_of_two_leaves_a_forwarding_mark(event: str) -> None:
    superseded, survivor = reading(told(f"ADT^{event}", MRG)).events
    assert [type(fact) for fact in superseded.facts] == [Merge]
    assert superseded.facts[0].into == survivor.patient
    assert [type(fact) for fact in survivor.facts] == [Patient]


@pytest.mark.parametrize("event", ["A35", "A41", "A42", "A44", "A45", "A48", "A49", "A50", "A51"])
def test_what_moves_accounts_visits_and_alternate_numbers_is_no_merge_of_patients(event: str) -> None:
    assert reasons(told(f"ADT^{event}", MRG)) == [("account_not_patient", "MSH-9")]


@pytest.mark.parametrize(
    ("kind", "segments", "expected"),
    [
        ("ORU^R01", RESULT, Observation),
        ("ORU^R30", RESULT, Observation),
        ("ORU^R31", RESULT, Observation),
        ("ORU^R32", RESULT, Observation),
        ("ORU^R40", RESULT, Observation),
        ("OUL^R21", RESULT, Observation),
        ("OUL^R22", RESULT, Observation),
        ("ORM^O01", ORDER, Order),
        ("OMG^O19", ORDER, Order),
        ("OML^O21", ORDER, Order),
        ("OML^O33", ORDER, Order),
        ("OML^O35", ORDER, Order),
        ("OMI^O23", ORDER, Order),
        ("REF^I12", RESULT, Observation),
        ("ORM^O01", (DRUG, "RXO|161^Paracetamol^L|500||mg"), Medication),
        ("OMP^O09", (DRUG, "RXO|161^Paracetamol^L|500||mg"), Medication),
        ("RDE^O11", (DRUG, "RXE||161^Paracetamol^L|500||mg"), Medication),
        ("RDE^O25", (DRUG, "RXE||161^Paracetamol^L|500||mg"), Medication),
        ("RDS^O13", (DRUG, "RXD|1|161^Paracetamol^L|20260501|500|mg"), Medication),
        ("RGV^O15", (DRUG, "RXG|1|||161^Paracetamol^L|500||mg"), Medication),
        ("RAS^O17", (DRUG, "RXA|0|1|20260501|20260501|161^Paracetamol^L|500|mg"), Medication),
        ("VXU^V04", ("ORC|RE||F1", "RXA|0|1|20260501|20260501|08^Hep B^CVX|1|mL"), Procedure),
        ("ADT^A60", ("IAM|1|DA|7980^Penicillin^RXNORM|SV||A^Add^HL70323",), Allergy),
        ("MDM^T02", (TXA, LINE), Document),
        ("MDM^T04", (TXA, LINE), Document),
        ("MDM^T06", (TXA, LINE), Document),
        ("MDM^T08", (TXA, LINE), Document),
        ("MDM^T10", (TXA, LINE), Document),
        ("MDM^T11", (TXA,), Document),
    ],
)
def test_clinical_messages_become_facts(kind: str, segments: tuple[str, ...], expected: type) -> None:
    raw = told(kind, *segments)
    assert expected in kinds(raw)
    assert reasons(raw) == []


@pytest.mark.parametrize("event", ["T01", "T03", "T05", "T07", "T09"])
def test_a_notification_of_a_document_has_none(event: str) -> None:
    assert ("no_clinical_content", "TXA") in reasons(told(f"MDM^{event}", TXA))


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        ("BAR^P01 BAR^P12 DFT^P03 DFT^P11 SIU^S12 SIU^S26 SRM^S01 EHC^E01 RQA^I08 PIN^I07", "administrative"),
        ("ACK^R01 ORR^O02 ORL^O22 ORG^O20 RRE^O12 RRD^O14 RRG^O16 RRA^O18 MFK^M02 SRR^S01 RRI^I12", "acknowledgement"),
        ("QBP^Q11 QBP^Q22 QRY^A19 ADT^A19 RSP^K11 RSP^K22 VXQ^V01 VXR^V03 OSQ^Q06 RQC^I05 DSR^Q01 SQM^S25", "query"),
        ("MFN^M02 MFN^M05 PMU^B01 ADT^A20 EAC^U07 ESU^U01 INU^U05 SSU^U03", "no_patient_reference"),
        ("ADT^A24 ADT^A29 ADT^A37 ADT^A43 OMD^O03 OMN^O07 PGL^PC6 CSU^C09 PEX^P07 ZZZ^Z01", "unsupported_message_type"),
    ],
)
def test_other_messages_are_set_aside_whole_for_what_they_are(kinds: str, reason: str) -> None:
    for kind in kinds.split():
        assert reasons(told(kind, PV1)) == [(reason, "MSH-9")], kind
        without_patient = message(msh(kind))
        assert not isinstance(read(without_patient, SITE, RECEIVED_MS), Rejected), f"{kind} needs no patient"
        assert isinstance(routing(without_patient, SITE), Routing), f"{kind} is taken at the edge without one"


def test_an_instruction_to_give_a_dose_is_not_the_order_itself() -> None:
    order = told("RDE^O11", DRUG, "RXE||161^Paracetamol^L|500||mg")
    give = told("RGV^O15", DRUG, "RXG|1|||161^Paracetamol^L|250||mg")
    found = [fact for raw in (order, give) for e in reading(raw).events for fact in e.facts]
    drugs = [fact for fact in found if isinstance(fact, Medication)]
    assert [(drug.action, drug.dose, drug.unit) for drug in drugs] == [("ordered", 500, "mg"), ("ordered", 250, "mg")]
    assert drugs[0].id != drugs[1].id
