"""Held against the FHIR bundles that another converter's authors expect of the same messages.

Compared are the clinical fields: patient identity, visit, observations (code, value, unit, time), documents. Where we
differ, DISAGREEMENTS names the field, the files or codes, and why; a difference that is not in it fails, and so does
an entry that no longer occurs.
"""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from services.domain.events import Document, Encounter, Observation, Patient
from services.formats.hl7v2 import read
from services.formats.reading import Reading
from tests.support import shared
from tests.unit.formats.hl7v2.samples import RECEIVED_MS, SITE

pytestmark = pytest.mark.corpus

DISAGREEMENTS: dict[str, tuple[str, str]] = {
    # kind: (pattern of "file item", why)
    "encounter count": (
        "OMG-O19-0[12]|OML-O21-03",
        "a PV1 below an order belongs to a prior result's visit: taken for this visit it would move the patient",
    ),
    "encounter status": (
        "ADT-A(08|28|31)-0[12] .*|(MDM|OMG|OML|ORM|OUL|ORU|RDE|RDS|REF|VXU|SIU|ADT-A60|LAB)[-_].*",
        "these events do not change a visit's status; the converter derives one from PV1-2 or PV1-45 all the same",
    ),
    "encounter start": (
        "ADT-A05-01|ADT-A14-01|ADT-A27-01|ADT01-28",
        "the converter takes PV2-8 (expected) for a start; ADT01-28 has none but the admission's own EVN-2",
    ),
    "encounter end": (
        "ADT-A(05|11|14|27)-01|ADT-A16-0[12]",
        "PV2-9 is when a discharge is expected: not an end",
    ),
    "observation missing": (
        r".* (death-certificate|autopsy|coroner|AJRI|ADI|PNI)"
        r"|MDM-T(02-03|06-02|10-02) obs-id|MDM-T(02-01|10-01) 113014",
        "made of PDA and ACC, which we do not read; a note's lines, which are one document here; an HD identifier",
    ),
    "observation extra": (
        r"VXU-V04-0[12] (30963-3|64994-7)|MDHHS-OML-O21-1 AOE15",
        "the converter folds these into the immunization or leaves the question at order entry out",
    ),
    "observation time": (
        ".* none",
        "the converter gives no time where OBX-14 is empty; ours is OBR-7, the specimen's",
    ),
    "observation value": (
        r"VXU-V04-0[12] 29769-7|LAB-ORU-2 20509-6|LRI_2.0-NG_CBC_\w+ 718-7",
        "the converter leaves out a value that is a date (DT); ours is none of haemoglobin in g/l-1 (gram times litre) "
        "and of 12.5 g/mL, which nobody has",
    ),
    "observation unit": (
        r"(OML-O21-0[12]|ORU-R01-01) 8867-4",
        "a heart rate without a unit can only be per minute",
    ),
    "document count": (
        r"MDM-T(01-02|02-01|05-0[12]|09-01|10-01)|ORU-R01-01|OUL-R2[23]-02|VXU-V04-01",
        "a notification or a document without content is no note; a TXA inside a result has no text of its own; "
        "VXU's is the leaflet's number",
    ),
    "document time": (
        "MDM-T02-03",
        "TXA-6 lies after the message that tells of it; the activity's time (TXA-4) is taken",
    ),
}


def _pairs() -> Iterator[tuple[str, Reading, list[dict[str, Any]]]]:
    folder = shared("corpus/hl7v2")
    for path in sorted(folder.glob("*.expected.json.gz")):
        name = path.name.removesuffix(".expected.json.gz")
        found = read(Path(folder / f"{name}.hl7").read_bytes(), SITE, RECEIVED_MS)
        assert isinstance(found, Reading), name
        if found.events:
            bundle = json.loads(gzip.decompress(path.read_bytes()))
            yield name, found, [entry["resource"] for entry in bundle["entry"]]


def _facts(found: Reading, kind: type[Any]) -> list[Any]:
    return [fact for event in found.events for fact in event.facts if isinstance(fact, kind)]


def _same_time(expected: str, ours: object) -> bool:
    """The converter turns every offset into its own; a date alone is compared as it was sent."""
    if not isinstance(ours, datetime):
        return False
    return ours.isoformat().startswith(expected) if len(expected) <= 10 else datetime.fromisoformat(expected) == ours


Difference = tuple[str, str, object, object]


def _patients(name: str, found: Reading, resources: list[dict[str, Any]]) -> Iterator[Difference]:
    theirs = [r for r in resources if r["resourceType"] == "Patient"]
    ours = _facts(found, Patient)
    if len(theirs) != len(ours):
        yield "patient count", name, len(theirs), len(ours)
    for expected, patient in zip(theirs, ours, strict=False):
        known = {i.get("value") for i in expected.get("identifier", [])}
        missing = [i.value for i in patient.identifiers if i.value not in known]
        if missing:
            yield "patient identifiers", name, known, missing
        if expected.get("birthDate") != (patient.birth_date or None):
            yield "patient birth date", name, expected.get("birthDate"), patient.birth_date
        if expected.get("gender") != (patient.sex or None):
            yield "patient sex", name, expected.get("gender"), patient.sex
        if expected.get("deceasedBoolean") != (None if patient.deceased is UNSET else patient.deceased) and not (
            "deceasedDateTime" in expected and patient.deceased
        ):
            yield "patient deceased", name, expected.get("deceasedBoolean"), patient.deceased


def _encounters(name: str, found: Reading, resources: list[dict[str, Any]]) -> Iterator[Difference]:
    theirs = [r for r in resources if r["resourceType"] == "Encounter"]
    ours = _facts(found, Encounter)
    if len(theirs) != len(ours):
        yield "encounter count", name, len(theirs), len(ours)
    for expected, visit in zip(theirs, ours, strict=False):
        if expected.get("status") != visit.status:
            yield "encounter status", f"{name} {expected.get('status')}", expected.get("status"), visit.status
        kind = expected.get("class", {}).get("code")
        if kind != visit.class_:
            yield "encounter class", name, kind, visit.class_
        for side, moment in (("start", visit.start), ("end", visit.end)):
            told = expected.get("period", {}).get(side)
            if (told or moment) and not (told and _same_time(told, moment)):
                yield f"encounter {side}", name, told, moment
        numbers = {i.get("value") for i in expected.get("identifier", [])}
        if visit.number and visit.number.value not in numbers:
            yield "encounter number", name, numbers, visit.number


def _expected_observations(resources: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Observations, their components taken apart as repetitions of OBX-5 are."""
    for resource in resources:
        if resource["resourceType"] == "Observation":
            for part in resource.get("component") or [resource]:
                yield {**part, "effectiveDateTime": resource.get("effectiveDateTime")}


def _observations(name: str, found: Reading, resources: list[dict[str, Any]]) -> Iterator[Difference]:
    left: list[Observation] = _facts(found, Observation)
    for expected in _expected_observations(resources):
        code = (expected.get("code", {}).get("coding") or [{}])[0].get("code", "")
        alike = [o for o in left if (o.original.code or o.code).code == code]
        if not alike:
            yield "observation missing", f"{name} {code}", expected, None
            continue
        ours = next((o for o in alike if _value(o) == _told(expected)), alike[0])
        left.remove(ours)
        if _value(ours) != _told(expected):
            yield "observation value", f"{name} {code}", _told(expected), _value(ours)
        quantity = expected.get("valueQuantity")
        unit = (quantity.get("code") or quantity.get("unit") or "") if quantity else ""
        if quantity and unit != (ours.original.unit or ours.unit):
            yield "observation unit", f"{name} {code}", unit, ours.original.unit or ours.unit
        time = expected.get("effectiveDateTime")
        if time is None or not _same_time(time, ours.time):
            yield "observation time", f"{name} {code} {(time and 'other') or 'none'}", time, ours.time
    for extra in left:
        yield "observation extra", f"{name} {(extra.original.code or extra.code).code}", None, extra.value


def _told(expected: dict[str, Any]) -> object:
    if "valueQuantity" in expected:
        return float(expected["valueQuantity"]["value"])
    coding = (expected.get("valueCodeableConcept", {}).get("coding") or [{}])[0]
    return expected.get("valueString") or coding.get("display") or coding.get("code")


def _value(ours: Observation) -> object:
    """The number as it was sent, since the bundle has it so; a text as it is."""
    sent = ours.original.value.strip("^<>=")
    return float(sent) if sent and isinstance(ours.value, float) else ours.value


def _documents(name: str, found: Reading, resources: list[dict[str, Any]]) -> Iterator[Difference]:
    theirs = [r for r in resources if r["resourceType"] == "DocumentReference"]
    if not theirs:
        return
    ours = [d for d in _facts(found, Document) if d.text]
    if len(theirs) != len(ours):
        yield "document count", name, len(theirs), len(ours)
        return
    for expected, document in zip(theirs, ours, strict=True):
        created = expected["content"][0]["attachment"].get("creation")
        if created and not _same_time(created, document.time):
            yield "document time", name, created, document.time


def test_we_agree_with_the_expected_bundles_or_say_why_not() -> None:
    unexplained: list[Difference] = []
    used: dict[str, int] = defaultdict(int)
    compared = 0
    for name, found, resources in _pairs():
        compared += 1
        for compare in (_patients, _encounters, _observations, _documents):
            for difference in compare(name, found, resources):
                pattern, _ = DISAGREEMENTS.get(difference[0], ("(?!)", ""))
                if re.fullmatch(pattern, difference[1]):
                    used[difference[0]] += 1
                else:
                    unexplained.append(difference)
    assert not unexplained, "\n".join(map(str, unexplained))
    assert compared > 60
    assert set(used) == set(DISAGREEMENTS), "an entry of DISAGREEMENTS no longer occurs"
