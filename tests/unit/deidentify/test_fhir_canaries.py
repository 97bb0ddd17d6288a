import base64
import gzip
import random
import tempfile
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import shared
from tests.unit.deidentify.canaries import KINDS, leaks, word
from tests.unit.deidentify.runs import as_read, assert_same_facts, deidentify, events, said
from tests.unit.formats.fhir.build import observation, patient

pytestmark = pytest.mark.corpus


@cache
def bundles() -> list[Any]:
    """The Synthea bundles, and the converter's bundles beside the HL7 samples."""
    paths = [*shared("corpus/fhir_synthea").glob("*.json.gz"), *shared("corpus/hl7v2").glob("*.json.gz")]
    return [orjson.loads(gzip.decompress(path.read_bytes())) for path in sorted(paths)]


def raw(document: Any) -> tuple[str, bytes]:
    return "fhir", orjson.dumps(document)


def extension() -> dict[str, Any]:
    """An extension of every kind of value, nested, and hidden in base64."""
    return {
        "url": f"http://{word().lower()}.example/{word()}",
        "valueString": word(),
        "extension": [
            {"url": "x", "valueBase64Binary": base64.b64encode(f"<p>{word()}</p>".encode()).decode()},
            {"url": "y", "valueHumanName": {"family": word(), "given": [word()]}},
            {"url": "z", "valueDate": "1947-08-13", "valueReference": {"reference": f"Patient/{word()}"}},
        ],
    }


def crowded(value: Any, top: bool = False) -> Any:
    """The document with narrative, extensions, extensions of primitives, and unknown elements everywhere."""
    if isinstance(value, list):
        return [crowded(part) for part in value]
    if not isinstance(value, dict):
        return value
    full = {key: crowded(part) for key, part in value.items() if not key.startswith("_")}
    full |= {f"_{key}": {"id": word(), "extension": [extension()]} for key, v in value.items() if isinstance(v, str)}
    full["extension"] = [*full.get("extension", []), extension()]
    full[word()] = word()
    if "resourceType" in value and value["resourceType"] != "Bundle":
        full["modifierExtension"] = [extension()]
        full["text"] = {"status": "generated", "div": f"<div>{word()} of {word()} Street, 1947-08-13</div>"}
        full["implicitRules"], full["language"] = f"urn:{word()}", word()
        full["note"] = [{"authorString": word(), "text": word(), "time": "1947-08-13T14:22:33Z"}]
        held = [patient(word(), id=word(), name=[{"family": word()}], telecom=[{"value": KINDS[1]()}])]
        full["contained"] = [*full.get("contained", []), *held, {"resourceType": "Practitioner", "id": word()}]
    if value.get("resourceType") == "Patient":
        full |= {
            "name": [
                {"use": "official", "family": word(), "given": [word()], "text": word(), "period": {"start": "1947"}}
            ],
            "telecom": [
                {"system": "phone", "value": KINDS[1]()},
                {"system": "email", "value": f"{word()}@example.org"},
            ],
            "address": [{"line": [word()], "city": word(), "postalCode": KINDS[1](), "text": word()}],
            "photo": [
                {"contentType": "image/png", "data": base64.b64encode(word().encode() * 9).decode(), "title": word()}
            ],
            "contact": [{"name": {"family": word()}, "telecom": [{"value": KINDS[1]()}]}],
            "generalPractitioner": [{"display": word()}],
            "maritalStatus": {"text": word()},
        }
    return full


def test_resources_full_of_identifiers_say_the_same_and_none_of_them(tmp_path):
    by_size = sorted(bundles(), key=lambda bundle: len(bundle["entry"]))
    chosen = [*by_size[:60:8], *by_size[80:100:7]]
    _, report = deidentify(tmp_path / "out", *(raw(crowded(one)) for one in chosen))
    assert leaks(tmp_path / "out") == []
    deidentify(tmp_path / "plain", *map(raw, chosen))
    one, other = events(tmp_path / "out"), events(tmp_path / "plain")
    assert list(map(said, one)) == list(map(said, other)), "the marks change nothing"
    assert report.formats["fhir"].kept["Observation"] > 50


def test_the_corpora_say_the_same_before_and_after(tmp_path):
    messages = list(map(raw, bundles()[::2]))
    _, report = deidentify(tmp_path / "out", *messages)
    before, after = as_read(*messages), events(tmp_path / "out")
    assert "number_like_identifier" not in report.formats["fhir"].removed
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert_same_facts(old, new, lambda fact: False)


@cache
def resources() -> list[tuple[str, Any]]:
    """A few whole bundles of few entries of every type."""
    rng, found = random.Random(5), []
    for bundle in bundles():
        by_type: dict[str, list[Any]] = {}
        for entry in bundle["entry"]:
            by_type.setdefault(entry["resource"]["resourceType"], []).append(entry)
        entries = [rng.choice(kind) for kind in by_type.values()]
        found.append({**bundle, "entry": entries})
    return found


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all leaves."""
    if isinstance(value, dict):
        return [p for key, part in value.items() for p in places(part, (*path, key))]
    if isinstance(value, list):
        return [p for n, part in enumerate(value) for p in places(part, (*path, n))]
    return [path]


@st.composite
def seeded(draw: st.DrawFn) -> Any:
    """A bundle in which any leaves are marks."""
    document = deepcopy(draw(st.sampled_from(resources())))
    for path in draw(st.lists(st.sampled_from(places(document)), min_size=1, max_size=12, unique=True)):
        if path[-1] in ("resourceType", "type") and len(path) < 5:
            continue
        at = document
        for step in path[:-1]:
            at = at[step]
        mark = draw(st.sampled_from(KINDS))()
        kept = at[path[-1]]
        if isinstance(kept, float | int) and not isinstance(kept, bool):
            at[path[-1]] = 7305519123
        else:
            at[path[-1]] = draw(st.sampled_from([mark, f"{kept}{mark}", f"{mark}/{kept}", {"value": mark}, [mark]]))
    return document


@given(st.lists(seeded(), min_size=1, max_size=10))
def test_no_identifier_survives_wherever_it_stands_in_a_resource(documents):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        deidentify(out, *map(raw, documents))
        assert leaks(out) == []


@pytest.mark.parametrize("base", ["", "https://{m}.example/fhir/"])
def test_references_ids_and_urls_are_replaced_and_still_meet(tmp_path, base):
    m, base = word(), base.replace("{m}", word().lower())
    who = patient(m, id=m)
    result = observation(id=m, subject={"reference": f"{base}Patient/{m}", "display": m})
    bundle = {
        "resourceType": "Bundle",
        "id": m,
        "type": "transaction",
        "identifier": {"system": f"urn:{m}", "value": m},
        "entry": [
            {
                "fullUrl": f"{base or 'https://x.example/'}{r['resourceType']}/{m}",
                "resource": r,
                "request": {"method": "PUT", "url": m},
            }
            for r in (who, result)
        ],
    }
    deidentify(tmp_path / "out", raw(bundle))
    assert leaks(tmp_path / "out") == []
    assert {type(fact).__name__ for event in events(tmp_path / "out") for fact in event.facts} >= {
        "Patient",
        "Observation",
    }


def test_documents_in_attachments_leave_without_their_content(tmp_path):
    data = base64.b64encode(f"Seen by Dr {word()}".encode()).decode()
    reference = {
        "resourceType": "DocumentReference",
        "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": "11506-3", "display": word()}], "text": word()},
        "subject": {"identifier": {"system": "urn:hospital", "value": "m1"}},
        "date": "2026-03-01T10:00:00Z",
        "description": word(),
        "content": [
            {"attachment": {"contentType": kind, "data": data, "title": word(), "url": f"http://{word()}"}}
            for kind in ("text/plain", "application/pdf", f"application/{word().lower()}")
        ],
    }
    deidentify(tmp_path / "out", raw(reference))
    assert leaks(tmp_path / "out") == []
    found = [fact for event in events(tmp_path / "out") for fact in event.facts]
    assert [(f.code.code, f.text, f.text_sha256) for f in found] == [("11506-3", "", "")] * 3
