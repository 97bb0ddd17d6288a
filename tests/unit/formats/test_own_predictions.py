"""What we told the hospital and somebody sends back is no finding: predictions do not feed predictions."""

import orjson
import pytest

from services.domain.events import Observation
from services.formats.fhir.render import render
from services.formats.hl7v2.control import Routing, routing
from services.formats.hl7v2.render import Envelope, Person, Visit
from services.formats.hl7v2.risk import risk_oru
from tests.unit.formats.fhir import build
from tests.unit.formats.hl7v2 import samples
from tests.unit.formats.hl7v2.samples import PID, SENT, SITE, facts, message, msh, oru, prediction

OURS = "OBX|2|NM|sepsis-6h^Predicted risk of sepsis within 6 h^99WARDSTREAM||12.34|%|||||F"
THEIRS = "OBX|1|NM|8867-4^Heart rate^LN||80|/min|||||F"


def told(corrected: bool = False) -> bytes:
    envelope = Envelope(control_id="1", sent=SENT, sending_facility="HOSP")
    person = Person(number="100200", authority="HOSP")
    return risk_oru(envelope, person, prediction(), visit=Visit(unit="ICU"), corrected=corrected)


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize(
    ("sender", "where"), [(b"|WARDSTREAM|", "MSH-3"), (b"|ENGINE|", "OBX-3")], ids=["as it was", "by an engine"]
)
def test_an_oru_of_ours_is_acknowledged_and_set_aside_as_a_whole(sender: bytes, where: str, corrected: bool) -> None:
    raw = told(corrected).replace(b"|WARDSTREAM|", sender, 1)
    assert isinstance(routing(raw, SITE), Routing)  # so the edge takes it and answers AA
    found = samples.reading(raw)
    assert (found.events, [(part.reason, part.where) for part in found.filtered]) == ((), [("own_prediction", where)])


def test_an_oru_of_ours_is_known_by_its_sender_though_an_engine_has_translated_its_codes() -> None:
    found = samples.reading(told().replace(b"^99WARDSTREAM", b"^L"))
    assert (found.events, found.filtered[0].reason) == ((), "own_prediction")


@pytest.mark.parametrize(
    "ours", [OURS, OURS.replace("sepsis-6h^", "SEP^Sepsis^L^sepsis-6h^"), OURS.replace("NM", "TX")]
)
def test_within_another_message_our_results_alone_are_set_aside(ours: str) -> None:
    raw = oru(THEIRS, "NTE|1||by hand", ours, "NTE|1||model's comment", THEIRS.replace("8867-4", "9279-1"))
    assert [(one.code.code, one.comment) for one in facts(raw, Observation)] == [("8867-4", "by hand"), ("9279-1", "")]
    assert ("own_prediction", "OBX[2]-3") in samples.reasons(raw)


def test_a_senders_own_name_for_us_is_no_mark() -> None:
    raw = message(msh("ORU^R01", _5="WARDSTREAM"), PID, "OBR|1||F1|1^x^L|||20260501", THEIRS)
    assert facts(raw, Observation)


def test_a_risk_assessment_of_ours_is_told_from_those_of_others() -> None:
    own = orjson.loads(render(prediction()))
    assert build.reasons(own) == [("own_prediction", "RiskAssessment")]
    assert build.reasons(build.bundle(own)) == [("own_prediction", "entry[0]")]
    assert build.reasons(own | {"identifier": []}) == [("unsupported_resource", "RiskAssessment")]


@pytest.mark.parametrize(
    "system",
    [
        "urn:wardstream:outcome",
        "99WARDSTREAM",
        "urn:id:99WARDSTREAM",
        "http://converter.example/CodeSystem/99wardstream",
    ],
)
def test_an_observation_that_was_made_of_ours_is_set_aside(system: str) -> None:
    coding = {"coding": [{"system": "urn:local", "code": "SEP"}, {"system": system, "code": "sepsis-6h"}]}
    assert build.reasons(build.observation(value=12, unit="%") | {"code": coding}) == [("own_prediction", "code")]
    panel = build.observation(component=[{"code": coding, "valueInteger": 12}])
    assert [fact.value for fact in build.facts(panel)] == [72.0]
    assert build.reasons(panel) == [("own_prediction", "component[0].code")]
