"""A clinical event without anything that names a person: every field of every fact, and what becomes of it.

`FIELDS` is the allow-list. A field that it does not name cannot leave: facts are built anew from it, and a field that
the domain gains later has no place here until somebody has decided what becomes of it (a test holds them together).
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from msgspec import UNSET, UnsetType
from pydicom.uid import ExplicitVRLittleEndian

from services.deidentify import words
from services.deidentify.people import People
from services.deidentify.pseudonyms import Pseudonyms
from services.domain.codes import BY_LOINC, LOINC
from services.domain.events import (
    Allergy,
    AnyFact,
    ClinicalEvent,
    Condition,
    Document,
    Encounter,
    Imaging,
    Medication,
    Merge,
    Observation,
    Order,
    Patient,
    Procedure,
    Version,
)
from services.domain.features.static import unit_kind
from services.formats.dicom.event import MODALITIES

KINDS = (Patient, Encounter, Observation, Document, Imaging, Medication, Condition, Allergy, Procedure, Order, Merge)
"""Facts that recorded traffic gives. Embeddings and transfers are Wardstream's own and are made again in training."""

Dropped = Callable[[str], None]
Rule = Callable[["Scope", Any], Any]


class Refused(Exception):
    """This fact must not leave; the text is the reason's code. Caught where facts are gone through."""


class Scope:
    """One event: whose it is, by how much its times move, what is kept of texts and images."""

    def __init__(self, people: People, names: Pseudonyms, event: ClinicalEvent, keep_text: bool) -> None:
        self.people = people
        self.names = names
        self.patient = event.patient
        self.shift: timedelta = people.shift(event.patient)
        self.occurred = event.occurred
        self.keep_text = keep_text

    def moved(self, moment: datetime) -> datetime:
        """The moment some whole days away, with the same offset and time of day."""
        try:
            return moment + self.shift
        except OverflowError:
            raise Refused("impossible_time") from None


def _kept(_: Scope, value: Any) -> Any:
    """For numbers, flags and enumerations that the domain's types bound themselves."""
    return value


def _never(_: Scope, value: Any) -> Any:
    """Left out: the field's own empty value."""
    return UNSET if isinstance(value, UnsetType) else _EMPTY.get(type(value), UNSET)


_EMPTY: dict[type, Any] = {str: ""}


def _unsaid(_: Scope, _value: Any) -> UnsetType:
    return UNSET


def _nothing(_: Scope, _value: Any) -> None:
    return None


def _name(purpose: str) -> Rule:
    """A keyed name, the same for the same value wherever it stands."""
    return lambda scope, value: scope.names.token(purpose, value)


def _word(allowed: frozenset[str], instead: str = "") -> Rule:
    return lambda _, value: words.one_of(value, allowed, instead)


def _time(scope: Scope, value: Any) -> Any:
    return scope.moved(value) if isinstance(value, datetime) else value


def _born(scope: Scope, value: Any) -> Any:
    return scope.people.birth_date(scope.patient, value) or UNSET if isinstance(value, str) else value


def _version(scope: Scope, version: Version) -> Version:
    """Its order is kept: rank, when it was issued (moved), and the delay by which two sendings are told apart.

    A sequence that is not that delay is the sender's own number and is left out; the digest hashes content.
    """
    day = round(scope.shift.total_seconds() * 1000)
    sent = round(scope.occurred.timestamp() * 1000)
    sequence = version.sequence if version.sequence == sent - version.issued else 0
    issued = version.issued + day if version.issued else 0
    return Version(version.rank, issued, sequence, scope.names.token("version", version.digest, 4))


def _code(scope: Scope, value: Any) -> Any:
    return words.code(value, scope.names) if value is not None else None


def _diagnosis(scope: Scope, value: Any) -> Any:
    return words.diagnosis(value, scope.names)


def _ward(scope: Scope, value: Any) -> Any:
    """A token behind the ward's kind, which the models read (MICU, SICU...)."""
    if not isinstance(value, str):
        return value
    kind = unit_kind(value)
    return (_KIND_NAMES[kind] + " " if kind else "") + "w-" + scope.names.token("ward", value.casefold(), 4)


_KIND_NAMES = {"unit_medical": "MICU", "unit_surgical": "SICU", "unit_cardiac": "CCU", "unit_cardiac_surgery": "CSRU"}


def _disposition(_: Scope, value: Any) -> Any:
    return value if value is None or value in words.DISPOSITIONS else UNSET


def _class(_: Scope, value: Any) -> Any:
    return value if value is None or value in words.CLASSES else UNSET


def _text(scope: Scope, value: str) -> str:
    return value if scope.keep_text else ""


def _dose(_: Scope, value: Any) -> Any:
    return words.number(value, bounded=False) if isinstance(value, float) else value


def _unit(_: Scope, value: str) -> str:
    return words.unit(value)


def _range(_: Scope, value: str) -> str:
    return words.reference_range(value)


def _size(_: Scope, value: int) -> int:
    """Rows and columns: 16 bits, as DICOM has them."""
    return value if 0 <= value < 1 << 16 else 0


_FACT: dict[str, Rule] = {"id": _name("fact"), "version": _version}
_VISIT: dict[str, Rule] = {"encounter": _name("fact")}

FIELDS: dict[type, dict[str, Rule]] = {
    Patient: {
        **_FACT,
        "identifiers": _unsaid,
        "birth_date": _born,
        "sex": _kept,
        "deceased": _kept,
        "deceased_at": _time,
    },
    Encounter: {
        **_FACT,
        "status": _kept,
        "class_": _class,
        "start": _time,
        "end": _time,
        "facility": _unsaid,
        "unit": _ward,
        "room": _unsaid,
        "bed": _unsaid,
        "unit_since": _time,
        "disposition": _disposition,
        "number": _unsaid,
    },
    Observation: {
        **_FACT,
        **_VISIT,
        "code": _code,
        "time": _time,
        "value": _kept,  # `_observed` has been over it
        "unit": _unit,
        "comparator": _word(frozenset({"", "<", "<=", ">", ">="})),
        "interpretation": _word(words.INTERPRETATIONS),
        "reference_range": _range,
        "original": _unsaid,
        "time_assumed": _kept,
        "comment": _text,
        "movable": _kept,
    },
    Document: {
        **_FACT,
        **_VISIT,
        "time": _time,
        "title": _never,
        "code": _code,
        "text": _text,
        "text_sha256": _never,
        "encapsulated": _never,
        "content_type": _word(words.CONTENT_TYPES, "application/octet-stream"),
        "part_of": _name("fact"),
        "time_assumed": _kept,
        "comment": _text,
        "unusable": _kept,
    },
    Imaging: {
        **_FACT,
        "time": _time,
        "modality": _word(frozenset(MODALITIES)),
        "object": _kept,  # of the de-identified object: `replaced` has set it, or emptied it
        "object_sha256": _kept,
        "study": _name("study"),
        "series": _name("series"),
        "body_part": _word(words.BODY_PARTS),
        "view_position": _word(words.VIEWS),
        "rows": _size,
        "columns": _size,
        "transfer_syntax": _word(frozenset({"", ExplicitVRLittleEndian})),
        "accession": _nothing,
    },
    Medication: {
        **_FACT,
        **_VISIT,
        "action": _kept,
        "code": _code,
        "time": _time,
        "end": _time,
        "dose": _dose,
        "unit": _unit,
        "route": _word(words.ROUTES),
        "status": _word(words.STATUSES),
    },
    Condition: {
        **_FACT,
        **_VISIT,
        "code": _diagnosis,
        "time": _time,
        "end": _time,
        "status": _word(words.STATUSES),
    },
    Allergy: {
        **_FACT,
        "code": _code,
        "time": _time,
        "category": _word(words.ALLERGY_CATEGORIES),
        "severity": _word(words.SEVERITIES),
        "criticality": _word(words.CRITICALITIES),
        "status": _word(words.STATUSES),
    },
    Procedure: {**_FACT, **_VISIT, "code": _code, "time": _time, "status": _word(words.STATUSES)},
    Order: {**_FACT, **_VISIT, "code": _code, "time": _time, "status": _word(words.STATUSES)},
    Merge: {**_FACT, "into": _kept},  # a patient key, under this secret
}


def deidentified(
    event: ClinicalEvent, people: People, names: Pseudonyms, keep_text: bool, drop: Dropped
) -> ClinicalEvent:
    """The event without identifiers. `drop` is told the reason of each fact that is left out."""
    scope = Scope(people, names, event, keep_text)
    return ClinicalEvent(
        event_id=names.token("event", event.event_id),
        patient=event.patient,
        format=event.format,
        type=_type(event.type),
        occurred=scope.moved(event.occurred),
        facts=list(_facts(scope, event.facts, drop)),
    )


def _facts(scope: Scope, facts: list[AnyFact], drop: Dropped) -> Iterator[AnyFact]:
    for fact in facts:
        try:
            yield _fact(scope, fact)
        except Refused as reason:
            drop(str(reason))


def _fact(scope: Scope, fact: AnyFact) -> AnyFact:
    rules = FIELDS.get(type(fact))
    if rules is None:
        raise Refused("not_recorded_traffic")
    given = {name: rule(scope, getattr(fact, name)) for name, rule in rules.items()}
    if isinstance(fact, Observation):
        given["value"] = _observed(scope, fact)
    made: AnyFact = type(fact)(**{name: value for name, value in given.items() if value is not UNSET})
    return made


def _observed(scope: Scope, fact: Observation) -> float | str | None:
    """A result's value: Refused when a number may be somebody's."""
    if isinstance(fact.value, str):
        return _moment(scope, fact.value) or words.answer(fact.value, scope.names)
    if fact.value is None:
        return None
    bounded = fact.code.system == LOINC and fact.code.code in BY_LOINC
    kept = words.number(float(fact.value), bounded=bounded)
    if kept is None:
        raise Refused("number_like_identifier")
    return kept


def _moment(scope: Scope, value: str) -> str:
    """A result that is a date or a time stamp (ISO 8601), moved like every other; '' for anything else."""
    if len(value) < 10 or value[4:5] != "-":
        return ""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return ""
    moved = scope.moved(moment)
    return moved.isoformat() if len(value) > 10 else moved.date().isoformat()


def _type(sent: str) -> str:
    """The message's type where it has the form of one: ADT^A01, Observation, CR."""
    code, mark, trigger = sent.partition("^")
    if mark:
        known = len(trigger) == 3 and trigger[0].isupper() and trigger[1:].isdigit()
        return sent if known else code
    return sent
