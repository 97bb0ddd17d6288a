"""Resources for the tests, as small as they can be."""

from typing import Any

import orjson

from services.domain.events import AnyFact
from services.domain.identity import patient_key
from services.domain.reasons import Rejected
from services.domain.site import Site
from services.formats import fhir
from services.formats.reading import Reading

SITE = Site(secret=b"test", name="general")
NOW = 1_790_000_000_000  # 2026-09-21
MRN = {"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}}


def patient(value: str = "m1", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": "urn:hospital", "value": value, **MRN}], **more}


def observation(code: str = "8867-4", value: float = 72, unit: str = "/min", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"identifier": {"system": "urn:hospital", "value": "m1"}},
        "effectiveDateTime": "2026-03-01T10:00:00+01:00",
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
        **more,
    }


def bundle(*resources: dict[str, Any], type: str = "collection") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": type, "entry": [{"resource": resource} for resource in resources]}


def transaction(*entries: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": url, "resource": r, "request": {"method": "POST", "url": r["resourceType"]}}
            for url, r in entries
        ],
    }


def key(value: str = "m1", authority: str = "urn:hospital") -> str:
    return patient_key(authority, value, SITE.secret)


def raw(document: Any) -> bytes:
    return orjson.dumps(document)


def understood(document: Any, site: Site = SITE) -> Reading:
    found = fhir.read(raw(document), site, NOW)
    assert isinstance(found, Reading), found
    return found


def refused(document: Any, site: Site = SITE) -> Rejected:
    found = fhir.read(raw(document), site, NOW)
    assert isinstance(found, Rejected), found
    return found


def facts(document: Any, site: Site = SITE) -> list[Any]:
    """All facts of the message, in order."""
    return [fact for event in understood(document, site).events for fact in event.facts]


def only(document: Any, site: Site = SITE) -> Any:
    """The one fact of the message."""
    found: list[AnyFact] = facts(document, site)
    assert len(found) == 1, found
    return found[0]


def reasons(document: Any, site: Site = SITE) -> list[tuple[str, str]]:
    """(reason, place) of what was set aside."""
    return [(part.reason.value, part.where) for part in understood(document, site).filtered]
