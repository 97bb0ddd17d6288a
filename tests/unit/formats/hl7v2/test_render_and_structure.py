"""What we send is what we would read, and what hl7apy finds in order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.events import Document, Encounter, Observation
from services.domain.reasons import Rejected, RejectReason
from services.domain.site import Site
from services.formats.hl7v2 import read, structure
from services.formats.hl7v2.render import Envelope, Person, Result, Visit, adt, mdm_t02, oru_r01
from services.formats.hl7v2.risk import risk_oru
from tests.unit.formats.hl7v2.samples import PID, RECEIVED_MS, SENT, SITE, facts, message, msh, prediction, reading

ENVELOPE = Envelope(control_id="1", sent=SENT, sending_application="SIM", sending_facility="HOSP", processing_id="T")
PERSON = Person(number="7", authority="HOSP", family="O^N|eill", birth_date="1960-02-03", sex="F")
VISIT = Visit(unit="ICU", room="1", bed="A", facility="HOSP", number="V1", start=SENT)


def sent() -> dict[str, bytes]:
    numbers = [Result(code="8867-4", display="Heart rate", value=80.5, unit="/min", time=SENT) for _ in range(3)]
    bounded = Result(code="33914-3", display="eGFR", value=15, unit="mL/min", comparator="<")
    word = Result(code="AVPU", display="AVPU", value="Alert ~ & oriented", system="L")
    gone = Visit(unit="ICU", end=SENT, disposition="20")
    return {
        "A01": adt("A01", ENVELOPE, PERSON, VISIT),
        "A02": adt("A02", ENVELOPE, PERSON, VISIT, occurred=SENT),
        "A03": adt("A03", ENVELOPE, PERSON, gone),
        "A08": adt("A08", ENVELOPE, PERSON, VISIT),
        "R01": oru_r01(
            ENVELOPE, PERSON, [*numbers, bounded, word], filler="F1", panel=("1", "x", "L"), observed=SENT, visit=VISIT
        ),
        "T02": mdm_t02(ENVELOPE, PERSON, VISIT, document="D1", kind="PR", written=SENT, text="one\n\n|two|"),
        "risk": risk_oru(ENVELOPE, PERSON, prediction()),
    }


@pytest.mark.parametrize("name", list(sent()))
def test_what_we_send_holds_to_its_structure(name: str) -> None:
    assert structure.check(sent()[name], SITE) is None


def test_what_we_send_is_read_as_it_was_meant() -> None:
    messages = sent()
    values = [(o.value, o.comparator) for o in facts(messages["R01"], Observation)]
    assert values == [(80.5, ""), (80.5, ""), (80.5, ""), (15.0, "<"), ("Alert ~ & oriented", "")]
    (note,) = facts(messages["T02"], Document)
    assert (note.text, note.title) == ("one\n\n|two|", "Progress note")
    (end,) = facts(messages["A03"], Encounter)
    assert (end.status, end.disposition, end.end) == ("finished", "expired", SENT)
    assert len({reading(raw).events[0].patient for name, raw in messages.items() if name != "risk"}) == 1


def test_a_risk_tells_the_hospital_its_value_and_what_was_not_judged_is_no_number() -> None:
    lines = [line.split("|") for line in sent()["risk"].decode().split("\r")]
    sepsis, mortality, fallback = [fields for fields in lines if fields[0] == "OBX"]
    assert sepsis[5:9] == ["12.34", "%^%^UCUM", "<2.5", "H"]
    assert mortality[2:6] == [
        "CWE",
        "mortality^Predicted risk of death in hospital^99WARDSTREAM",
        "",
        "too_little_data^not judged: too little data^99WARDSTREAM",
    ]
    assert mortality[11] == "X"  # cannot be obtained
    assert (fallback[3].split("^")[0], fallback[5], fallback[6].split("^")[0]) == ("news2", "7", "{score}")
    assert sepsis[17] == "risk_fusion:3^risk_fusion 3^99WARDSTREAM"


def test_a_correction_replaces_what_was_sent_under_its_filler_number() -> None:
    raw = risk_oru(ENVELOPE, PERSON, prediction(), filler="first", corrected=True)
    sent_again = [line.split(b"|") for line in raw.split(b"\r")]
    (order,) = [fields for fields in sent_again if fields[0] == b"OBR"]
    assert (order[3], order[25]) == (b"first", b"C")
    assert {fields[11] for fields in sent_again if fields[0] == b"OBX"} == {b"C"}


@pytest.mark.parametrize(
    ("authority", "assigner"),
    [("HOSP", b"HOSP"), ("1.2.3", b"&1.2.3&ISO"), ("https://h.example", b"&https://h.example&URI")],
)
def test_an_identifier_says_which_kind_its_authority_is(authority: str, assigner: bytes) -> None:
    raw = risk_oru(ENVELOPE, Person(number="7", authority=authority, type="PI"), prediction())
    assert b"|7^^^" + assigner + b"^PI||^^^^^^U|" in raw
    assert structure.check(raw, SITE) is None


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), max_size=40))
@settings(max_examples=50)
def test_any_text_survives_the_way_out_and_in(text: str) -> None:
    raw = mdm_t02(ENVELOPE, PERSON, VISIT, document="D1", kind="PR", written=SENT, text=f"<{text}>")
    (note,) = facts(raw, Document)
    assert note.text == f"<{text}>"


def test_values_and_placeholders_must_match() -> None:
    from services.formats.hl7v2.skeleton import fill

    rows = [("MSH", ((3, "{}"), (9, "ACK")))]
    with pytest.raises(ValueError, match="more values"):
        fill("ACK", rows, ["a", "b"])
    with pytest.raises(ValueError, match="fewer values"):
        fill("ACK", rows, [])


@pytest.mark.parametrize(
    ("segments", "where"),
    [
        ((msh("ADT^A01^ADT_A01"), "EVN||20260501", "PID|1||7^^^H^MR", "PV1|1|I"), "PID-5"),
        ((msh("ADT^A01^ADT_A01"), "EVN||20260501", PID), "PV1"),
        ((msh("ADT^A01^ADT_A99"), "EVN||20260501", PID), "MSH-9"),
        ((msh("ADT^A01^ADT_A01", version="9.9"), PID), "MSH-12"),
    ],
)
def test_a_departure_from_the_structure_is_explained_without_its_content(segments: tuple[str, ...], where: str) -> None:
    strict = Site(secret=SITE.secret, check_structure=True)
    found = read(message(*segments), strict, RECEIVED_MS)
    assert isinstance(found, Rejected)
    assert (found.reason, found.where) == (RejectReason.MALFORMED, where)
    assert "DOE" not in found.hint
    assert not isinstance(read(message(*segments), SITE, RECEIVED_MS), Rejected)


def test_a_structure_that_fits_is_read_as_ever() -> None:
    strict = Site(secret=SITE.secret, check_structure=True)
    raw = sent()["R01"]
    assert read(raw, strict, RECEIVED_MS) == read(raw, SITE, RECEIVED_MS)
