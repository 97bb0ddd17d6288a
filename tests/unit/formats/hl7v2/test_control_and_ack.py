"""Routing at the edge, and the answers it gives."""

from datetime import UTC, datetime

import pytest
from hl7apy.parser import parse_message

from services.domain.reasons import Rejected, RejectReason
from services.formats.hl7v2 import ack, er7
from services.formats.hl7v2.ack import Outcome
from services.formats.hl7v2.control import Routing, read_header, routing
from services.formats.hl7v2.header import Header
from tests.unit.formats.hl7v2.samples import PID, SITE, event, message, msh

NOW = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)


def routed(raw: bytes) -> Routing:
    found = routing(raw, SITE)
    assert isinstance(found, Routing), found
    return found


def headed(**fields: str) -> Header:
    return routed(message(msh("ADT^A01", **fields), PID)).header


def answer(code: str, fault: ack.Fault | None = None, **fields: str) -> er7.Message:
    parsed = er7.parse(ack.acknowledge(headed(**fields), code, "W9", NOW, fault=fault))
    assert isinstance(parsed, er7.Message)
    return parsed


def test_the_edge_routes_by_the_key_that_the_mapping_uses() -> None:
    raw = message(msh("ADT^A01"), "EVN|A01", PID)
    assert routed(raw).patient == event(raw).patient
    merge = message(msh("ADT^A40"), "PID|1||2^^^HOSP^MR", "MRG|1^^^HOSP^MR")
    assert routed(merge).patient == routed(message(msh("ADT^A01"), "PID|1||2^^^HOSP^MR")).patient


def test_a_message_about_nobody_is_routed_without_a_key() -> None:
    assert routed(message(msh("MFN^M02"), "MFI|1")).patient is None
    assert isinstance(routing(message(msh("ADT^A01"), "EVN|A01"), SITE), Rejected)


def test_routing_tells_what_the_sender_asked_for() -> None:
    found = routed(message(msh("ORU^R01^ORU_R01", control="X7", _15="AL", _16="NE", _18="8859/1"), PID))
    assert (found.control_id, found.type, found.version, found.processing_id) == ("X7", "ORU^R01", "2.5.1", "P")
    assert (found.accept_ack, found.application_ack, found.charset) == ("AL", "NE", "8859/1")
    assert "X7" not in repr(found.header)


@pytest.mark.parametrize(
    ("accept", "application", "outcome", "expected"),
    [
        ("", "", Outcome.ACCEPTED, ("AA",)),
        ("", "", Outcome.ERROR, ("AE",)),
        ("", "", Outcome.REJECTED, ("AR",)),
        ("AL", "NE", Outcome.ACCEPTED, ("CA",)),
        ("AL", "NE", Outcome.ERROR, ("CE",)),
        ("AL", "", Outcome.REJECTED, ("CR",)),
        ("NE", "AL", Outcome.ACCEPTED, ("AA",)),
        ("AL", "AL", Outcome.ACCEPTED, ("CA", "AA")),
        ("AL", "AL", Outcome.ERROR, ("CE",)),
        ("ER", "NE", Outcome.ACCEPTED, ()),
        ("ER", "NE", Outcome.ERROR, ("CE",)),
        ("SU", "NE", Outcome.ACCEPTED, ("CA",)),
        ("SU", "NE", Outcome.ERROR, ()),
        ("NE", "NE", Outcome.ACCEPTED, ()),
        ("NE", "ER", Outcome.REJECTED, ("AR",)),
    ],
)
def test_msh_15_and_16_decide_which_answers_are_sent(
    accept: str, application: str, outcome: Outcome, expected: tuple[str, ...]
) -> None:
    assert ack.codes(headed(_15=accept, _16=application), outcome) == expected


def test_an_answer_goes_back_to_the_sender_and_names_the_message() -> None:
    found = answer("AA", _3="LAB^1.2^ISO", _5="WS", _6="US", _11="T")
    value = found.value
    assert [found.msh[n] for n in (3, 4, 5, 6)] == ["WS", "US", "LAB^1.2^ISO", "HOSP"]
    assert (found.msh[9], found.msh[10], found.msh[12]) == ("ACK^A01^ACK", "W9", "2.5.1")
    assert value(found.msh, 11) == "T"
    assert found.segments[1] == ["MSA", "AA", "C1"]
    assert len(found.segments) == 2


@pytest.mark.parametrize(("version", "kind"), [("2.2", "ACK^A01"), ("2.3", "ACK^A01"), ("2.4", "ACK^A01^ACK")])
def test_the_acknowledgements_type_follows_the_version(version: str, kind: str) -> None:
    assert answer("AA", version=version).msh[9] == kind


def test_an_error_says_where_and_why_in_the_form_of_its_version() -> None:
    rejected = routing(message(msh("ADT^A01"), "PID|1|"), SITE)
    assert isinstance(rejected, Rejected)
    modern = answer("AE", ack.fault(rejected)).segments[2]
    assert modern[2] == "PID^1^3"
    assert modern[3] == "101^Required field missing^HL70357"
    assert modern[4:6] == ["E", "missing_patient^^L"]
    old = answer("AE", ack.fault(rejected), version="2.3.1")
    assert old.segments[1] == ["MSA", "AE", "C1", "missing_patient"]
    assert old.segments[2] == ["ERR", "PID^1^3^101&Required field missing&HL70357"]


def test_the_answer_speaks_the_senders_delimiters_and_character_set() -> None:
    raw = "MSH$%*/+$LÄB%X$H$$$20260501$$ADT%A01$1$P$2.5$$$$$$8859/1\rPID$1$$7\r".encode("latin-1")
    head = routed(raw).header
    sent = ack.acknowledge(head, "AE", "W1", NOW, fault=ack.UNAVAILABLE)
    assert sent.startswith(b"MSH$%*/+$")
    found = er7.parse(sent)
    assert isinstance(found, er7.Message)
    assert found.value(found.msh, 5) == "LÄB"
    assert found.msh[18] == "8859/1"


def test_what_is_no_message_is_refused_without_naming_anybody() -> None:
    rejected = routing(b"GET / HTTP/1.1", SITE)
    assert isinstance(rejected, Rejected)
    assert ack.codes(None, Outcome.REJECTED) == ("AR",)
    sent = ack.acknowledge(None, "AR", "W1", NOW, fault=ack.fault(rejected))
    assert b"MSA|AR" in sent
    assert b"GET" not in sent


def test_a_bad_header_is_still_answered_by_name() -> None:
    raw = message(msh("ADT^A01", control=""), PID)
    rejected, head = routing(raw, SITE), read_header(raw, SITE)
    assert isinstance(rejected, Rejected)
    assert rejected.reason is RejectReason.MISSING_CONTROL_ID
    assert isinstance(head, Header)
    assert head.code == "ADT"


def test_no_answer_carries_anything_of_the_patient() -> None:
    raw = message(msh("ADT^A01", sent="tomorrow"), PID)
    sent = ack.acknowledge(routed(raw).header, "AE", "W1", NOW, fault=ack.CONTROL_ID_REUSED)
    assert not any(word in sent for word in (b"DOE", b"JANE", b"100200", b"1963"))


@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5", "2.5.1"])
def test_acknowledgements_hold_to_hl7apys_structure(version: str) -> None:
    for fault in (None, ack.UNAVAILABLE, ack.CONTROL_ID_REUSED):
        if fault and version in ("2.3.1", "2.4"):
            continue  # hl7apy's ELD of these versions has no table for its condition
        text = ack.acknowledge(headed(version=version), "AE", "W9", NOW, fault=fault).decode()
        assert parse_message(text).validate()
