"""Anything may come in: the reader never raises, and what it says of a message holds nothing of the message."""

import copy
import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.events import decode_event, encode_event
from services.domain.reasons import Rejected
from services.domain.site import Site
from services.formats import fhir
from tests.unit.formats.fhir.build import NOW, SITE, bundle, observation, patient, raw, transaction

SECRET = "Featherstonehaugh-4711"
CHECKED = Site(secret=b"test", check_fhir=True)


def whole() -> dict[str, Any]:
    """A Bundle with something of everything."""
    who = {"reference": "urn:uuid:p"}
    coded = {"coding": [{"system": "http://snomed.info/sct", "code": "1", "display": "x"}]}
    when = "2026-03-01T10:00:00Z"
    made = [
        patient(id="1", gender="male", birthDate="1950",
                link=[{"type": "replaces", "other": {"reference": "Patient/2"}}]),
        observation(subject=who, component=[{"code": coded, "valueInteger": 3}],
                    referenceRange=[{"low": {"value": 1}}]),
        {"resourceType": "Encounter", "subject": who, "status": "finished", "class": {"code": "IMP"},
         "period": {"start": when}, "location": [{"location": {"display": "W"}}], "identifier": [{"value": "v"}]},
        {"resourceType": "Condition", "subject": who, "code": coded, "onsetDateTime": when},
        {"resourceType": "DiagnosticReport", "subject": who, "code": coded, "status": "final", "issued": when,
         "presentedForm": [{"contentType": "text/plain", "data": "aGVsbG8="}], "contained": [observation(id="c")],
         "result": [{"reference": "#c"}]},
        {"resourceType": "MedicationRequest", "subject": who, "medicationCodeableConcept": coded, "authoredOn": when,
         "dosageInstruction": [{"doseAndRate": [{"doseQuantity": {"value": 1}}]}]},
        {"resourceType": "ImagingStudy", "subject": who, "started": when, "series": [{"modality": {"code": "CT"}}]},
        {"resourceType": "DocumentReference", "subject": who, "date": when, "type": coded,
         "content": [{"attachment": {"data": "aGVsbG8=", "contentType": "text/plain"}}]},
        {"resourceType": "ServiceRequest", "subject": who, "code": coded, "authoredOn": when},
        {"resourceType": "Immunization", "patient": who, "vaccineCode": coded, "occurrenceDateTime": when},
    ]  # fmt: skip
    return transaction(*((f"urn:uuid:{'p' if n == 0 else n}", r) for n, r in enumerate(made)))


JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    1.5,
    "",
    SECRET,
    "2026-02-30",
    [],
    {},
    [[]],
    [None],
    {"value": []},
    "#",
    "|?",
]


def mutated(document: Any, seed: int) -> Any:
    """The document with some of its nodes replaced by junk, dropped or moved."""
    rng = random.Random(seed)
    found = copy.deepcopy(document)
    for _ in range(rng.randint(1, 6)):
        node = found
        for _ in range(rng.randint(1, 9)):
            if not isinstance(node, dict | list) or not node:
                break
            at = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            if rng.random() < 0.3 or not isinstance(node[at], dict | list):
                if rng.random() < 0.2:
                    del node[at]
                else:
                    node[at] = copy.deepcopy(rng.choice(JUNK))
                break
            node = node[at]
    return found


def read_all(data: bytes, site: Site = SITE) -> None:
    """Read it, and hold what comes out to what must always be so."""
    found = fhir.read(data, site, NOW)
    key = fhir.routing(data, site)
    said = (
        repr(found) if isinstance(found, Rejected) else repr(found.filtered) + repr([e.filtered for e in found.events])
    )
    assert SECRET not in said
    if isinstance(found, Rejected):
        return
    assert found.events or found.filtered
    for event in found.events:
        assert event.facts
        assert decode_event(encode_event(event)) == event
    if found.events:
        assert key in {event.patient for event in found.events} or key is not None


@settings(max_examples=300)
@given(st.integers(0, 2**32))
def test_a_mutated_bundle_is_read_or_refused_and_nothing_of_it_is_told(seed: int):
    document = mutated(whole(), seed)
    read_all(json.dumps(document).encode())


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_the_r4_check_never_raises_and_tells_nothing_either(seed: int):
    read_all(json.dumps(mutated(whole(), seed)).encode(), CHECKED)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["resourceType", "entry", "resource", "subject", "code", "coding", "value", "valueQuantity"])
        | st.text(max_size=4), inner, max_size=5),
    max_leaves=20,
))  # fmt: skip
def test_any_json_is_read_or_refused(document: Any):
    for kind in ("Observation", "Bundle", "Patient", "DiagnosticReport"):
        shaped = {**document, "resourceType": kind, "type": "batch"} if isinstance(document, dict) else document
        try:
            data = orjson.dumps(shaped)
        except TypeError:
            return
        read_all(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes):
    read_all(data)


@pytest.mark.parametrize(
    ("data", "reason", "where"),
    [
        (b"", "empty", ""),
        (b" \n", "empty", ""),
        (b"{", "not_json", "line 1 column 2"),
        (b"MSH|^~\\&|", "not_json", "line 1 column 1"),
        (b'{"a": "\xff"}', "not_json", "line 1 column 8"),
        (b"[1]", "not_fhir", "resourceType"),
        (b"{}", "not_fhir", "resourceType"),
        (b'{"resourceType": "../../etc"}', "not_fhir", "resourceType"),
        (b'{"resourceType": "Bundle"}', "malformed", "Bundle.type"),
        (b'{"resourceType": "Bundle", "type": "batch", "entry": 3}', "malformed", "Bundle.entry"),
        (b'{"resourceType": "Bundle", "type": "batch", "entry": [3]}', "malformed", "entry[0]"),
        (b'{"resourceType": "Bundle", "type": "batch", "entry": [{"resource": {}}]}', "not_fhir",
         "entry[0].resource.resourceType"),
        (b'{"resourceType": "Featherstonehaugh"}', "not_fhir", "resourceType"),
    ],
)  # fmt: skip
def test_what_is_no_fhir_is_refused_with_the_place(data: bytes, reason: str, where: str):
    found = fhir.read(data, SITE, NOW)
    assert isinstance(found, Rejected)
    assert found.reason == reason
    assert found.where == where or reason == "not_json"
    assert found.where or reason == "empty"


def test_json_nested_without_end_is_refused():
    assert isinstance(fhir.read(b'{"resourceType":' * 5000, SITE, NOW), Rejected)
    deep = b'{"resourceType":"Observation","x":' + b"[" * 900 + b"]" * 900 + b"}"
    read_all(deep)


def test_a_byte_order_mark_does_no_harm():
    assert fhir.read(b"\xef\xbb\xbf" + raw(observation()), SITE, NOW).events


def test_an_empty_bundle_and_a_delete_have_their_reason():
    empty = fhir.read(raw(bundle()), SITE, NOW)
    assert [(p.reason, p.where) for p in empty.filtered] == [("no_clinical_content", "entry")]
    delete = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"request": {"method": "DELETE", "url": "Observation/1"}}],
    }
    assert [p.where for p in fhir.read(raw(delete), SITE, NOW).filtered] == ["entry[0]"]
