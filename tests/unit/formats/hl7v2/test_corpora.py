"""Real-looking traffic that nobody here wrote: every message ends with a right and specific answer."""

import pytest

from services.domain.events import Document, Encounter, Merge, Observation, Patient
from services.formats.hl7v2 import read
from services.formats.hl7v2.control import Routing, routing
from services.formats.hl7v2.files import split_messages
from services.formats.reading import Reading
from tests.support import shared
from tests.unit.formats.hl7v2.corpus_table import DOCUMENT, page
from tests.unit.formats.hl7v2.samples import RECEIVED_MS, SITE

pytestmark = pytest.mark.corpus


@pytest.fixture(scope="module")
def simhospital() -> list[Reading]:
    found = [
        read(raw, SITE, RECEIVED_MS) for raw in split_messages(shared("corpus/simhospital/messages.out").read_bytes())
    ]
    assert all(isinstance(r, Reading) for r in found)
    return found  # type: ignore[return-value]


def test_the_documented_table_is_what_the_code_does() -> None:
    assert DOCUMENT.read_text() == page(shared("corpus"))


def test_all_simhospital_messages_are_accepted_with_events(simhospital: list[Reading]) -> None:
    assert len(simhospital) == 1013
    assert all(r.events for r in simhospital)
    patients = {e.patient for r in simhospital for e in r.events}
    assert len(patients) == 403


def test_simhospitals_traps_are_read_or_named(simhospital: list[Reading]) -> None:
    facts = [f for r in simhospital for e in r.events for f in e.facts]
    observations = [f for f in facts if isinstance(f, Observation)]
    below = [o for o in observations if o.comparator == "<"]
    assert len(below) == 73  # of 76 NM values that are not numbers; the other 3 are empty
    assert {o.value for o in below if o.code.code == "33914-3"} == {15.0}
    parts = [p for r in simhospital for p in r.filtered]
    assert sum(p.reason == "no_value" for p in parts) == 64  # 61 of 183 without a value type, and 3 NM, are empty
    creatinine = [o for o in observations if o.code.code == "2160-0"]
    assert len(creatinine) == 332
    assert {o.unit for o in creatinine} == {"mg/dL"}
    assert {o.original.unit for o in creatinine} == {"UMOLL"}
    assert {o.unit for o in observations if o.original.unit == "x10*9/L"} <= {"10*3/uL", "10*9/L"}
    oxygen = [o for o in observations if o.original.unit == "MDC_DIM_PERCENT" and isinstance(o.value, float)]
    assert len(oxygen) == 122


def test_simhospitals_notes_visits_and_merge(simhospital: list[Reading]) -> None:
    facts = [f for r in simhospital for e in r.events for f in e.facts]
    notes = [f for f in facts if isinstance(f, Document) and f.text.count("\n") > 5]
    assert len(notes) == 2
    assert sum(isinstance(f, Merge) for f in facts) == 1
    admitted = [f for f in facts if isinstance(f, Encounter) and f.status == "in-progress"]
    assert len(admitted) == 400
    assert {f.class_ for f in admitted} == {"IMP"}
    assert all(isinstance(f.birth_date, str) for f in facts if isinstance(f, Patient))


def test_every_message_with_events_is_routed_to_one_of_them() -> None:
    messages = split_messages(shared("corpus/simhospital/messages.out").read_bytes())[::7]
    messages += [path.read_bytes() for path in shared("corpus/hl7v2").glob("*.hl7")]
    for raw in messages:
        routed, found = routing(raw, SITE), read(raw, SITE, RECEIVED_MS)
        assert isinstance(routed, Routing)
        assert isinstance(found, Reading)
        if found.events:
            assert routed.patient == found.events[-1].patient


def test_the_hl7v2_corpus_is_accepted_or_filtered_as_a_whole() -> None:
    for path in shared("corpus/hl7v2").glob("*.hl7"):
        found = read(path.read_bytes(), SITE, RECEIVED_MS)
        assert isinstance(found, Reading), path.name
        family = found.type.split("^")[0]
        if family in ("SIU", "BAR", "DFT") or found.type in ("ADT^A29", "ADT^A41", "ADT^A45"):
            assert len(found.filtered) == 1, path.name
            assert not found.events, path.name
        else:
            assert found.events, path.name
