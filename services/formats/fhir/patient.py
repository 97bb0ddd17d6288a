"""Patient: demographics, and links to the records of the same person (R4 section 8.1)."""

from datetime import datetime

from msgspec import UNSET, UnsetType

from services.domain.events import Merge, Patient, Rank, Version, digest
from services.domain.reasons import FilterReason, Rejected
from services.formats.fhir import times
from services.formats.fhir.access import numbered, text
from services.formats.fhir.context import Item

PATIENT_ID = "patient"
MERGE_ID = "merge"
"""A record has one patient and a superseded patient one forwarding mark: these identities are constants."""

_GENDERS = frozenset({"male", "female", "other", "unknown"})


def patient(item: Item) -> Patient:
    """Demographics. What the resource leaves out is unsaid, not emptied: servers send parts (`_summary`, profiles)."""
    get = item.resource.get
    gender = text(get("gender")).lower()
    deceased, deceased_at = _death(item)
    return Patient(
        id=PATIENT_ID,
        version=item.version(Rank.FINAL),
        identifiers=item.ctx.subjects.identifiers(item.resource) or UNSET,
        birth_date=_birth_date(item),
        sex=(gender if gender in _GENDERS else "unknown") if gender else UNSET,
        deceased=deceased,
        deceased_at=deceased_at,
    )


def _birth_date(item: Item) -> str | UnsetType:
    said = text(item.resource.get("birthDate"))
    if not said:
        return UNSET
    day = times.date_text(said)
    if day is None:
        item.drop(FilterReason.BAD_ITEM_TIMESTAMP, "birthDate")
    return day or UNSET


def _death(item: Item) -> tuple[bool | UnsetType, datetime | UnsetType]:
    get = item.resource.get
    if get("deceasedDateTime"):
        at = item.moment(get("deceasedDateTime"), "deceasedDateTime")
        return True, at or UNSET
    dead = get("deceasedBoolean")
    return (dead if isinstance(dead, bool) else UNSET), UNSET


def merges(item: Item, key: str) -> list[tuple[str, Merge]] | Rejected:
    """(superseded key, mark) of every link `replaced-by` (this one is superseded) and `replaces` (the other is).

    Rejects UNRESOLVED_REFERENCE: a merge must not be lost.
    """
    found: list[tuple[str, Merge]] = []
    for n, link in numbered(item.resource.get("link")):
        kind, path = text(link.get("type")), f"link[{n}].other"
        if kind not in ("replaced-by", "replaces"):
            continue
        other = item.ctx.subjects.of_reference(link.get("other"), item.entry, item.place(path))
        if isinstance(other, Rejected):
            return other
        if isinstance(other, FilterReason):
            item.drop(other, path)
        elif other != key:
            old, into = (key, other) if kind == "replaced-by" else (other, key)
            found.append((old, mark(item.version(), into)))
    return found


def mark(version: Version, into: str) -> Merge:
    """A forwarding mark to a patient key."""
    named = Version(version.rank, version.issued, version.sequence, digest(into, size=4))
    return Merge(id=MERGE_ID, version=named, into=into)
