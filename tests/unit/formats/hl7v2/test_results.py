"""ORU: values of every type, their identity and their version."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.events import Document, Observation, Rank, encode_event
from services.domain.features.series import timeline
from services.domain.record import PatientRecord, fold
from services.domain.references import reference_of
from tests.unit.formats.hl7v2.samples import (
    PID,
    RECEIVED_MS,
    SITE,
    event,
    facts,
    message,
    msh,
    oru,
    reading,
    reasons,
    segment,
    withdrawn,
)


def obx(kind: str, value: str, code: str = "8867-4^Heart rate^LN", unit: str = "/min", **fields: str) -> str:
    values: dict[str, str] = {"_1": "1", "_2": kind, "_3": code, "_5": value, "_6": unit, "_11": "F"}
    return segment("OBX", **(values | fields))


def observed(*lines: str, **fields: str) -> list[Observation]:
    return facts(oru(*lines, **fields), Observation)


def one(*lines: str, **fields: str) -> Observation:
    (only,) = observed(*lines, **fields)
    return only


def test_a_number_comes_in_canonical_unit_and_code_with_the_original_beside_it() -> None:
    found = one(obx("NM", "98.00", "tt-0003-01^Creatinine^WinPath", "UMOLL"))
    assert (found.code.system, found.code.code, found.unit) == ("http://loinc.org", "2160-0", "mg/dL")
    assert found.value == pytest.approx(98 * 113.118 / 10000, rel=1e-3)
    assert (found.original.value, found.original.unit) == ("98.00", "UMOLL")
    assert found.original.code is not None
    assert found.original.code.display == "Creatinine"


def test_what_is_canonical_already_is_not_said_twice() -> None:
    found = one(obx("NM", "72"))
    assert (found.value, found.unit, found.original.value, found.original.unit) == (72.0, "/min", "", "")


@pytest.mark.parametrize(
    ("kind", "value", "unit", "expected"),
    [
        ("NM", "<15", "mL/min", ("<", 15.0)),
        ("NM", ">= 90", "mL/min", (">=", 90.0)),
        ("NM", "+1.5e1", "mg", ("", 15.0)),
        ("SN", "^182", "mg", ("", 182.0)),
        ("SN", "<^0.5", "mg", ("<", 0.5)),
        ("SN", "=^5", "mg", ("", 5.0)),
        ("SN", "^1^:^128", "", ("", "1:128")),
        ("SN", "^10^-^20", "mg", ("", "10-20")),
        ("SN", "^2^+", "", ("", "2+")),
        ("CE", "A^Alert^L", "", ("", "Alert")),
        ("CWE", "260415000^not detected^SCT^^^^^^None seen", "", ("", "not detected")),
        ("CWE", "^^^^^^^^free words", "", ("", "free words")),
        ("CWE", "B^^L", "", ("", "B")),
        ("ST", "Positive", "", ("", "Positive")),
        ("ST", "5.4", "mmol/L", ("", 5.4)),
        ("ST", "5.4", "", ("", "5.4")),
        ("TX", "Venturi \\T\\ mask", "", ("", "Venturi & mask")),
        ("", "28", "%", ("", 28.0)),
        ("DT", "20210818", "", ("", "2021-08-18")),
        ("TS", "20150818060605-0500", "", ("", "2015-08-18T06:06:05-05:00")),
        ("TM", "0815", "", ("", "08:15:00+00:00")),
    ],
)
def test_every_value_type_is_read(kind: str, value: str, unit: str, expected: tuple[str, Any]) -> None:
    found = one(obx(kind, value, "X1^thing^L", unit))
    assert (found.comparator, found.value) == expected


@pytest.mark.parametrize(
    ("line", "reason", "where"),
    [
        (obx("NM", "n/a"), "not_a_number", "OBX[1]-5"),
        (obx("NM", "1e999"), "not_a_number", "OBX[1]-5"),
        (obx("NM", "5,4"), "not_a_number", "OBX[1]-5"),
        (obx("NM", ""), "no_value", "OBX[1]-5"),
        (obx("SN", "<^"), "no_value", "OBX[1]-5"),
        (obx("", ""), "no_value", "OBX[1]-5"),
        (obx("NM", "80", "^^LN"), "no_code", "OBX[1]-3"),
        (obx("NM", "80", unit="furlong"), "unknown_unit", "OBX[1]-6"),
        (obx("NM", "80", unit="mg/dL"), "incompatible_unit", "OBX[1]-6"),
        (obx("NM", "8000"), "implausible_value", "OBX[1]-5"),
        (obx("RP", "https://x^^image^PICT"), "content_elsewhere", "OBX[1]-5"),
        (obx("NM", "80", _14="2026-05"), "bad_item_timestamp", "OBX[1]-14"),
        (obx("NM", "80", _14="20270101"), "future_item_timestamp", "OBX[1]-14"),
        (obx("ED", "^AP^PDF^Base64^"), "no_value", "OBX[1]-5"),
        (obx("ED", "^AP^PDF^Base64^%%%"), "unsupported_value_type", "OBX[1]-5"),
    ],
)
def test_a_result_that_cannot_be_used_is_set_aside_by_name(line: str, reason: str, where: str) -> None:
    raw = oru(line, obx("NM", "81"))
    assert (reason, where) in reasons(raw)
    assert [o.value for o in facts(raw, Observation) if o.value is not None] == [81.0]


def test_each_repetition_is_a_result_of_its_own() -> None:
    first, second = observed(obx("NM", "60~120"))
    assert (first.value, second.value) == (60.0, 120.0)
    assert first.id != second.id


def test_time_is_the_results_own_else_the_orders_else_the_reports() -> None:
    assert one(obx("NM", "80", _14="20260501105500+0100")).time.isoformat() == "2026-05-01T10:55:00+01:00"
    assert one(obx("NM", "80")).time == datetime(2026, 5, 1, 10, tzinfo=UTC)
    bare = message(msh("ORU^R01"), PID, "OBR|1||F1|1^x^L", obx("NM", "80"))
    assert facts(bare, Observation)[0].time == datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_flags_range_and_visit_are_kept() -> None:
    found = one(obx("NM", "130", _7="50 - 90", _8="HH~A"))
    assert (found.interpretation, found.reference_range) == ("HH", "50 - 90")
    assert found.encounter == next(f for f in event(oru(obx("NM", "1"))).facts if hasattr(f, "status")).id


@pytest.mark.parametrize(
    ("state", "rank"),
    [("I", 1), ("P", 2), ("S", 2), ("F", 3), ("C", 4), ("X", 5), ("D", 6), ("W", 6), ("", 3)],
)
def test_status_ranks_the_result_and_the_orders_status_stands_in(state: str, rank: int) -> None:
    assert one(obx("NM", "80", _11=state)).version.rank == rank


def test_a_correction_a_repeat_and_a_late_result_fall_together_and_a_new_measurement_does_not() -> None:
    first = one(obx("NM", "80"))
    corrected = one(obx("NM", "82", _11="C"), control="C2", sent="20260501150000")
    repeated = one(obx("NM", "80"), control="C3", sent="20260501160000")
    other_time = one(obx("NM", "80", _14="20260501111500"))
    other_sub = one(obx("NM", "80", _4="2"))
    assert first.id == corrected.id == repeated.id
    assert len({first.id, other_time.id, other_sub.id}) == 3
    assert first.version < repeated.version < corrected.version


OBR = "OBR|1|P1|F1|24323-8^CMP^LN|||{7}|||||||{14}||||||||{22}|||F"


@pytest.mark.parametrize(
    ("said", "hour", "assumed"),
    [
        ({7: "20260501100000"}, 10, False),
        ({14: "20260501103000", 22: "20260501110000"}, 10, False),
        ({22: "20260501110000"}, 11, True),
        ({}, 12, True),
    ],
)
def test_a_result_without_a_time_takes_when_it_was_reported_or_sent_and_says_so(
    said: dict[int, str], hour: int, assumed: bool
) -> None:
    obr = OBR.format(*(said.get(n, "") for n in range(23)))
    (found,) = facts(oru(obx("NM", "80"), obr=obr), Observation)
    assert (found.time.hour, found.time_assumed) == (hour, assumed)
    (own,) = facts(oru(obx("NM", "80", _14="20260501094500"), obr=obr), Observation)
    assert (own.time.hour, own.time_assumed) == (9, False)


def test_a_result_without_a_time_is_withdrawn_by_a_later_message() -> None:
    record, obr = PatientRecord(patient="p"), OBR.format(*[""] * 23)
    gone = oru(obx("NM", "", _11="D"), obr=obr, control="C2", sent="20260501150000")
    for raw in (gone, oru(obx("NM", "80"), obr=obr)):
        fold(record, event(raw))
    assert len(record.observations["8867-4"].rows) == 2
    assert list(record.values("8867-4")) == []
    assert not len(timeline(record, RECEIVED_MS).value)


def test_the_later_of_two_sendings_of_one_report_wins() -> None:
    early = one(obx("NM", "80"), sent="20260501120000")
    late = one(obx("NM", "81"), sent="20260501120500")
    assert early.version.issued == late.version.issued == 1777635000000  # OBR-22
    assert early.version < late.version


def test_the_sequence_number_orders_what_was_issued_together() -> None:
    assert one(obx("NM", "80"), _13="7").version < one(obx("NM", "80"), _13="8").version


def test_a_withdrawn_result_is_a_tombstone_even_without_a_value() -> None:
    found = one(obx("NM", "", _11="D"))
    assert (found.value, withdrawn(found)) == (None, True)
    assert found.id == one(obx("NM", "80")).id


def test_a_null_value_says_that_there_is_none() -> None:
    assert one(obx("NM", '""')).value is None


def test_another_source_is_another_result() -> None:
    assert one(obx("NM", "80"), _3="POCT").id != one(obx("NM", "80")).id


def test_lines_under_one_code_are_one_report() -> None:
    lines = [
        obx("TX", text, "18748-4^Imaging report^LN", "", _1=str(n)) for n, text in enumerate(["a", "", "b\\.br\\c"], 1)
    ]
    (report,) = facts(oru(*lines), Document)
    assert report.text == "a\n\nb\nc"
    assert report.title == "Imaging report"
    assert (report.version.rank, report.content_type) == (Rank.FINAL, "text/plain")


def test_formatted_text_and_long_text_are_reports_and_a_corrected_one_has_the_same_identity() -> None:
    (first,) = facts(oru(obx("FT", "fine", "R^Report^L", "")), Document)
    (second,) = facts(oru(obx("FT", "not so fine", "R^Report^L", "", _11="C"), control="2"), Document)
    assert first.id == second.id
    assert first.version < second.version
    lines = [obx("TX", "line", "R^Report^L", "", _4=str(n), _11="C") for n in range(3)]
    (third,) = facts(oru(*lines, control="3"), Document)
    assert third.id == first.id
    assert facts(oru(obx("TX", "word " * 40, "R^Report^L", "")), Document)


def ed(content: bytes, kind: str, encoding: str = "Base64") -> bytes:
    data = {"Base64": base64.b64encode(content).decode(), "Hex": content.hex(), "A": content.decode()}[encoding]
    return oru(obx("ED", f"RAD^{kind}^{encoding}^{data}", "R^R^L", ""))


@pytest.mark.parametrize("encoding", ["Base64", "Hex", "A"])
def test_encapsulated_text_is_read(encoding: str) -> None:
    raw = ed("Befund: ü".encode(), "TEXT^plain", encoding)
    (note,) = facts(raw, Document)
    assert (note.text, note.content_type, note.encapsulated) == ("Befund: ü", "text/plain", "")
    assert reading(raw).attachments == ()


@pytest.mark.parametrize("kind", ["AP^PDF", "application^pdf", "^application/pdf", "PDF^", "AP^Octet-stream"])
def test_an_encapsulated_pdf_is_an_attachment_that_the_document_names(kind: str) -> None:
    raw = ed(b"%PDF-1.4", kind)
    (scan,) = facts(raw, Document)
    assert (scan.text, scan.content_type, scan.encapsulated) == ("", "application/pdf", reference_of(b"%PDF-1.4"))
    assert [one.data for one in reading(raw).attachments] == [b"%PDF-1.4"]


def test_of_an_encapsulated_html_page_the_text_is_a_note_and_the_page_is_kept() -> None:
    raw = ed(b"<p>Lungs <b>clear</b>.", "TEXT^HTML")
    (page,) = facts(raw, Document)
    assert (page.text, page.content_type) == ("Lungs clear.", "text/html")
    assert page.encapsulated == reference_of(b"<p>Lungs <b>clear</b>.")


def test_nothing_is_kept_of_what_a_withdrawn_document_said() -> None:
    pdf = base64.b64encode(b"%PDF-1.4").decode()
    raw = oru(obx("ED", f"RAD^AP^PDF^Base64^{pdf}", "R^R^L", "", _11="D"))
    (gone,) = facts(raw, Document)
    assert (withdrawn(gone), gone.encapsulated, reading(raw).attachments) == (True, "", ())


def test_two_patients_in_one_message_are_two_events() -> None:
    raw = message(msh("ORU^R01"), PID, "OBR|1||F1|1^x^L|||20260501", obx("NM", "80"))
    raw += message("PID|2||9^^^HOSP^MR", "OBR|1||F2|1^x^L|||20260501", obx("NM", "90"), "PID|3||")
    first, second = reading(raw).events
    values = [[f.value for f in e.facts if isinstance(f, Observation)] for e in (first, second)]
    assert values == [[80.0], [90.0]]
    assert first.patient != second.patient
    assert ("other_patient", "PID[3]") in reasons(raw)


def test_an_event_is_the_same_bytes_each_time_and_carries_no_name() -> None:
    raw = oru(obx("NM", "80"), "NTE|1||haemolysed", "ZOB|x")
    encoded = encode_event(event(raw))
    assert encoded == encode_event(event(raw))
    assert b"DOE" not in encoded
    assert reasons(raw) == [("unsupported_segment", "ZOB")]


@given(st.permutations([obx("NM", str(n), f"C{n}^c^L", "mg") for n in range(5)]))
def test_identities_do_not_depend_on_the_order_of_segments(lines: list[str]) -> None:
    assert {o.id for o in observed(*lines)} == {o.id for o in observed(*sorted(lines))}


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6))
def test_a_number_arrives_as_it_was_sent(value: float) -> None:
    assert one(obx("NM", repr(value), "X^x^L", "mg")).value == value
    assert SITE.secret not in encode_event(event(oru(obx("NM", repr(value)))))
