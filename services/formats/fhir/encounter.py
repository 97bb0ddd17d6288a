"""Encounter: a visit and where in the hospital it is (R4 section 8.11)."""

from datetime import datetime

from msgspec import UNSET, UnsetType

from services.domain.events import Encounter, EncounterStatus
from services.formats.fhir import datatypes
from services.formats.fhir.access import Object, first, items, obj, text
from services.formats.fhir.context import Item, encounter_id

_STATUS: dict[str, EncounterStatus] = {
    "planned": EncounterStatus.PLANNED,
    "arrived": EncounterStatus.IN_PROGRESS,
    "triaged": EncounterStatus.IN_PROGRESS,
    "in-progress": EncounterStatus.IN_PROGRESS,
    "onleave": EncounterStatus.IN_PROGRESS,
    "on-hold": EncounterStatus.IN_PROGRESS,  # R5
    "discharged": EncounterStatus.FINISHED,  # R5
    "finished": EncounterStatus.FINISHED,
    "completed": EncounterStatus.FINISHED,  # R5
    "cancelled": EncounterStatus.CANCELLED,
    "entered-in-error": EncounterStatus.CANCELLED,
}
_EXPIRED = frozenset({"exp", "20", "40", "41", "42", "419099009"})
"""FHIR discharge-disposition `exp`, UB-04 codes, SNOMED CT 'dead'."""

_PLACES = {"ro": "room", "bd": "bed"}  # location-physical-type; ward, level, wing and no type are the unit


def encounter(item: Item) -> Encounter:
    """The visit's fields; what the resource leaves out is unsaid."""
    resource = item.resource
    period = obj(resource.get("period")) or obj(resource.get("actualPeriod"))
    status = _STATUS.get(text(resource.get("status")))
    planned = status is EncounterStatus.PLANNED
    start = item.moment(period.get("start"), "period.start", future=planned)
    end = item.moment(period.get("end"), "period.end", future=planned)
    places = _places(item)
    number = datatypes.identifier(first(resource.get("identifier")), item.ctx.site.default_authority)
    return Encounter(
        id=encounter_id(item.entry),
        # A visit without meta.lastUpdated is ordered by how far it has come.
        version=item.version(issued=None if item.issued else (end or start)),
        status=status or UNSET,
        class_=_class(resource.get("class")),
        start=start or UNSET,
        end=end or UNSET,
        facility=_name(obj(resource.get("serviceProvider"))) or UNSET,
        unit=places.get("unit") or UNSET,
        room=places.get("room") or UNSET,
        bed=places.get("bed") or UNSET,
        unit_since=_since(item),
        disposition=_disposition(resource),
        number=number or UNSET,
    )


def _class(value: object) -> str | UnsetType:
    """v3 ActCode of a Coding (R4) or of CodeableConcepts (R5)."""
    known = obj(value)
    code = datatypes.coding(known) or datatypes.concept(value)
    return code.code if code is not None else UNSET


def _current(item: Item) -> list[Object]:
    """The places that are not over: active, or without a status and an end."""
    found = items(item.resource.get("location"))
    active = [place for place in found if text(place.get("status")) == "active"]
    if active:
        return active
    return [p for p in found if text(p.get("status")) == "" and not obj(p.get("period")).get("end")] or found[-1:]


def _places(item: Item) -> dict[str, str]:
    places: dict[str, str] = {}
    for place in _current(item):
        reference = obj(place.get("location"))
        literal = text(reference.get("reference"))
        entry = item.ctx.message.find(literal, item.entry) if literal else None
        resource = entry.resource if entry is not None and entry.type == "Location" else {}
        kind = datatypes.concept(place.get("physicalType")) or datatypes.concept(resource.get("physicalType"))
        name = text(resource.get("name")) or _name(reference)
        if name:
            places.setdefault(_PLACES.get(kind.code if kind else "", "unit"), name)
    return places


def _name(reference: Object) -> str:
    return text(reference.get("display")) or text(obj(reference.get("identifier")).get("value"))


def _since(item: Item) -> datetime | UnsetType:
    for place in _current(item):
        start = obj(place.get("period")).get("start")
        if start:
            return item.moment(start, "location.period.start", future=True) or UNSET
    return UNSET


def _disposition(resource: Object) -> str | UnsetType:
    stay = obj(resource.get("hospitalization")) or obj(resource.get("admission"))
    codes = datatypes.codings(stay.get("dischargeDisposition"))
    if any(code.code.lower() in _EXPIRED for code in codes):
        return "expired"
    return codes[0].code if codes else UNSET
