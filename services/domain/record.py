"""The patient record: a function of the set of clinical events, whatever their order and number of repeats.

Every part of the record is a register that keeps the highest `Version` it has seen, so folding is associative,
commutative and idempotent (a join-semilattice), and so is joining two records. Corrections, cancellations and
late results need no code of their own; a withdrawn result, or one corrected to what cannot be used, stays without
being shown or scored.

What is old is dropped: observations older than `HORIZON_MS` before the patient's newest one, of each series all but
the `MAX_ROWS` newest by (time, id), and of all series together all but the `MAX_ALL_ROWS` newest by (time, code, id).
These are an observation's identity, the newest time only grows, and what has so many newer rows above it always will
have, so what is dropped does not depend on the order either.

So a record's observations take at most some 13 MB of JSON, at 80 bytes a number, of the topics' 16 MiB. Notes, images,
orders, drugs and diagnoses are not capped: people write them, at 0.2 to 0.5 kB each.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from heapq import merge
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from services.domain.codes import BY_LOINC
from services.domain.events import (
    Allergy,
    AnyFact,
    ClinicalEvent,
    Code,
    Condition,
    Document,
    Embedding,
    Encounter,
    Identifier,
    Imaging,
    Medication,
    Merge,
    Observation,
    Order,
    Patient,
    Procedure,
    Rank,
    Transfer,
    Version,
)

HORIZON_MS = 90 * 24 * 3600 * 1000
"""How far back observations are kept, in milliseconds before the patient's newest one: 90 days."""

MAX_ROWS = 4_800
"""How many observations of a series are kept, the newest: 80 hours of one a minute, and the features read 72."""

MAX_ALL_ROWS = 160_000
"""How many observations of all series together are kept, the newest: 33 series that are full."""

LOINC = "http://loinc.org"


class Row(msgspec.Struct, array_like=True, gc=False):
    """One observation in its series: epoch milliseconds, value, identity, version.

    `flag` joins comparator and interpretation (`<|L`), behind `~` where the time is only that of the message and `@`
    where a correction may be of another time; it is empty for an ordinary value. `unit` is empty where it is the
    series' own, `label` is the sender's name of a code that has no LOINC.
    """

    time: int
    value: float | str | None
    id: str
    version: Version
    flag: str = ""
    unit: str = ""
    label: str = ""

    @property
    def retracted(self) -> bool:
        """Withdrawn (cancelled, entered in error): kept for its identity alone."""
        return self.version.rank >= Rank.CANCELLED

    @property
    def has_value(self) -> bool:
        """Whether the result stands and says something."""
        return self.value is not None and not self.retracted

    @property
    def time_assumed(self) -> bool:
        """Whether no message says when it was: `time` is when it was reported or sent."""
        return self.flag.startswith(_ASSUMED)


_ASSUMED, _MOVABLE = "~", "@"


class Series(msgspec.Struct):
    """All results of one code, by time, then identity; `unit` is the code's canonical one, empty where it has none."""

    unit: str
    rows: list[Row]


class Cell(msgspec.Struct, array_like=True):
    """One field's value (plain JSON) and the version that set it."""

    value: Any
    version: Version


class StoredEmbedding(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An encoder's output as the record keeps it; `vector` is float32, little-endian."""

    id: str
    version: Version
    of: str
    modality: str
    time: int
    model: str
    model_version: str
    vector: bytes
    thumbnail: str = ""
    findings: dict[str, float] = {}


class PatientRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Everything known of one patient. Treat it as read-only; `fold` and `join` make new states in place on a copy."""

    patient: str
    record_version: str = ""  # hash of the content below; filled by `encode_record`
    as_of: int = 0  # newest event time, epoch ms; filled by `encode_record`
    merged_into: str = ""  # this record is superseded by that patient's
    identifiers: list[Identifier] = []
    demographics: dict[str, Cell] = {}
    encounters: dict[str, dict[str, Cell]] = {}
    observations: dict[str, Series] = {}  # by LOINC, else "system|code"
    documents: dict[str, Document] = {}
    imaging: dict[str, Imaging] = {}
    medications: dict[str, Medication] = {}
    conditions: dict[str, Condition] = {}
    allergies: dict[str, Allergy] = {}
    procedures: dict[str, Procedure] = {}
    orders: dict[str, Order] = {}
    embeddings: dict[str, StoredEmbedding] = {}

    def __repr__(self) -> str:
        return f"PatientRecord({self.patient!r}, version={self.record_version!r})"

    def field(self, name: str) -> Any:
        """A demographic field's value: birth_date, sex, deceased, deceased_at; None when unknown."""
        cell = self.demographics.get(name)
        return cell.value if cell else None

    def values(self, loinc: str, until: int | None = None) -> Iterator[Row]:
        """The series' usable rows in time order, up to and including `until` (epoch ms)."""
        rows = series.rows if (series := self.observations.get(loinc)) else []
        outvoted = Outvoted(self, rows)
        for row in rows:
            if until is not None and row.time > until:
                return
            if row.has_value and not outvoted(row):
                yield row

    def stands(self, document: Document) -> bool:
        """Whether a document can be used and is neither withdrawn, by itself or as a part of another, nor replaced by a
        short answer to the same request."""
        if document.unusable:
            return False
        whole = self.documents.get(document.part_of, document)
        if max(document.version.rank, whole.version.rank) >= Rank.CANCELLED:
            return False
        series = self.observations.get(_series_key(document.code)) if document.code else None
        rows = series.rows if series else []
        return not any(row.id == document.id and row.version > document.version for row in rows)

    def encounter_at(self, time: int) -> dict[str, Any] | None:
        """The fields of the encounter that was open at `time`, else of the last that had begun; None if none has."""
        begun = []
        for name, cells in self.encounters.items():
            fields = {key: cell.value for key, cell in cells.items()}
            start = epoch_ms(fields.get("start")) or epoch_ms(fields.get("unit_since"))
            if start is not None and start > time:
                continue
            if fields.get("status") == "cancelled":
                continue
            end = epoch_ms(fields.get("end"))
            still_open = end is None or end >= time
            begun.append(((still_open, start or 0, name), fields))
        return max(begun, key=lambda pair: pair[0])[1] if begun else None


class Outvoted:
    """Tells of a series' rows whether their result has a higher version elsewhere: as a document, or as another row
    where no message says its time, or where a correction or withdrawal says another one.

    That is found when a record is read, not when it is folded: so a record stays a function of its set of events though
    the oldest rows are dropped.
    """

    __slots__ = ("_documents", "_latest", "_rows")

    def __init__(self, record: PatientRecord, rows: list[Row]) -> None:
        self._documents = record.documents
        self._rows = rows
        self._latest: dict[str, Version] = {}

    def __call__(self, row: Row) -> bool:
        document = self._documents.get(row.id)
        if document is not None and document.version > row.version:
            return True
        if not row.flag.startswith((_ASSUMED, _MOVABLE)):
            return False
        newest = self._newest()[row.id]
        return newest > row.version and (row.time_assumed or newest.rank >= Rank.AMENDED)

    def _newest(self) -> dict[str, Version]:
        """The highest version of each result whose identity says no time."""
        if not self._latest:
            for row in self._rows:
                if row.flag.startswith((_ASSUMED, _MOVABLE)):
                    self._latest[row.id] = max(row.version, self._latest.get(row.id, row.version))
        return self._latest


def epoch_ms(value: Any) -> int | None:
    """Epoch milliseconds of a stored time (ISO 8601 text or datetime); None stays None."""
    if value is None:
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


class _Tally:
    """Counts what folding did with the parts of an event."""

    __slots__ = ("applied", "expired", "repeated", "superseded")

    def __init__(self) -> None:
        self.applied = self.superseded = self.repeated = self.expired = 0

    def note(self, new: Version, old: Version | None) -> bool:
        """True when `new` is to be stored over `old`."""
        if old is None or new > old:
            self.applied += 1
            return True
        if new == old:
            self.repeated += 1
        else:
            self.superseded += 1
        return False

    @property
    def outcome(self) -> str:
        """The one word for the whole event: applied if any part was, else superseded, expired or repeated."""
        if self.applied > self.expired:
            return "applied"
        if self.superseded:
            return "superseded"
        return "expired" if self.expired else "repeated"


def fold(record: PatientRecord, event: ClinicalEvent) -> str:
    """Apply an event's facts to the record, in place. Merge facts are the caller's (they concern two records).

    Returns the event's outcome: `applied`, `superseded` (a higher version was there), `expired` (older than what is
    kept) or `repeated` (all of it was known already).
    """
    tally = _Tally()
    for fact in event.facts:
        _apply(record, fact, tally)
    _expire(record)
    tally.expired = sum(isinstance(fact, Observation) and _dropped(record, fact) for fact in event.facts)
    return tally.outcome


def join(record: PatientRecord, other: PatientRecord) -> None:
    """Add everything of `other` to the record, in place: the same as folding all events of both."""
    tally = _Tally()
    _add_identifiers(record, other.identifiers)
    _join_cells(record.demographics, other.demographics, tally)
    for name, cells in other.encounters.items():
        _join_cells(record.encounters.setdefault(name, {}), cells, tally)
    for key, series in other.observations.items():
        for row in series.rows:
            _put_row(record, key, series.unit, row, tally)
    for kind in _ITEMS.values():
        mine, theirs = getattr(record, kind), getattr(other, kind)
        for item in theirs.values():
            _put_item(mine, item, tally)
    _expire(record)


def _join_cells(mine: dict[str, Cell], theirs: dict[str, Cell], tally: _Tally) -> None:
    for name, cell in theirs.items():
        _put_cell(mine, name, cell.value, cell.version, tally)


_ITEMS: dict[type, str] = {
    Document: "documents",
    Imaging: "imaging",
    Medication: "medications",
    Condition: "conditions",
    Allergy: "allergies",
    Procedure: "procedures",
    Order: "orders",
    StoredEmbedding: "embeddings",
}


def _apply(record: PatientRecord, fact: AnyFact, tally: _Tally) -> None:
    match fact:
        case Observation():
            _put_observation(record, fact, tally)
        case Patient():
            if isinstance(fact.identifiers, list):
                _add_identifiers(record, fact.identifiers)
            _put_fields(record.demographics, fact, tally)
        case Encounter():
            _put_fields(record.encounters.setdefault(fact.id, {}), fact, tally)
        case Embedding():
            _put_item(record.embeddings, _stored(fact), tally)
        case Document():
            _put_item(record.documents, msgspec.structs.replace(fact, text="", comment=""), tally)
        case Transfer():
            join(record, decode_record(bytes(fact.record)))
            tally.applied += 1
        case Merge():
            pass
        case _:
            _put_item(getattr(record, _ITEMS[type(fact)]), fact, tally)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _flag(fact: Observation) -> str:
    mark = _ASSUMED if fact.time_assumed else _MOVABLE if fact.movable else ""
    return f"{mark}{fact.comparator}|{fact.interpretation}" if mark or fact.comparator or fact.interpretation else ""


def _stored(fact: Embedding) -> StoredEmbedding:
    return StoredEmbedding(
        id=fact.id,
        version=fact.version,
        of=fact.of,
        modality=fact.modality,
        time=_ms(fact.time),
        model=fact.model,
        model_version=fact.model_version,
        vector=np.asarray(fact.vector, "<f4").tobytes(),
        thumbnail=fact.thumbnail,
        findings=fact.findings,
    )


def _put_item(items: dict[str, Any], item: Any, tally: _Tally) -> None:
    old = items.get(item.id)
    if tally.note(item.version, old.version if old else None):
        items[item.id] = item


_OWN_FIELDS = frozenset({"kind", "id", "version", "identifiers"})


def _put_fields(cells: dict[str, Cell], fact: Patient | Encounter, tally: _Tally) -> None:
    for name, value in msgspec.to_builtins(fact).items():
        if name not in _OWN_FIELDS:
            _put_cell(cells, name, value, fact.version, tally)


def _put_cell(cells: dict[str, Cell], name: str, value: Any, version: Version, tally: _Tally) -> None:
    old = cells.get(name)
    if tally.note(version, old.version if old else None):
        cells[name] = Cell(value, version)


def _add_identifiers(record: PatientRecord, identifiers: list[Identifier]) -> None:
    known = set(record.identifiers)
    if not known.issuperset(identifiers):
        record.identifiers = sorted(known.union(identifiers))


def _put_observation(record: PatientRecord, fact: Observation, tally: _Tally) -> None:
    code = fact.code
    key = _series_key(code)
    if code.system == LOINC:
        variable = BY_LOINC.get(code.code)
        label, canonical = "", variable.unit if variable else ""
    else:
        label, canonical = code.display, ""
    unit = "" if fact.unit == canonical else fact.unit
    row = Row(_ms(fact.time), fact.value, fact.id, fact.version, _flag(fact), unit, label)
    _put_row(record, key, canonical, row, tally)


def _series_key(code: Code) -> str:
    return code.code if code.system == LOINC else f"{code.system}|{code.code}"


def _put_row(record: PatientRecord, key: str, unit: str, row: Row, tally: _Tally) -> None:
    series = record.observations.get(key)
    if series is None:
        record.observations[key] = Series(unit, [row])
        tally.applied += 1
        return
    rows = series.rows
    at = _place(rows, row)
    if at < len(rows) and rows[at].id == row.id and rows[at].time == row.time:
        if tally.note(row.version, rows[at].version):
            rows[at] = row
    else:
        rows.insert(at, row)
        tally.applied += 1
        if len(rows) > MAX_ROWS:
            del rows[:-MAX_ROWS]


def _place(rows: list[Row], row: Row) -> int:
    """Where `row` belongs by (time, id); most results are the newest, so look from the end."""
    if not rows or (rows[-1].time, rows[-1].id) < (row.time, row.id):
        return len(rows)
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        if (rows[middle].time, rows[middle].id) < (row.time, row.id):
            low = middle + 1
        else:
            high = middle
    return low


def _dropped(record: PatientRecord, fact: Observation) -> bool:
    """Whether an observation just folded is older than what the record keeps of its series."""
    series = record.observations.get(_series_key(fact.code))
    return series is None or (_ms(fact.time), fact.id) < (series.rows[0].time, series.rows[0].id)


def _expire(record: PatientRecord) -> None:
    """Drop what lies beyond the horizon or is too much for the record."""
    oldest = max((s.rows[-1].time for s in record.observations.values()), default=0) - HORIZON_MS
    count = 0
    for key, series in list(record.observations.items()):
        if series.rows[0].time < oldest:
            series.rows = [row for row in series.rows if row.time >= oldest]
            if not series.rows:
                del record.observations[key]
        count += len(series.rows)
    if count > MAX_ALL_ROWS:
        _drop_oldest(record, count - MAX_ALL_ROWS)


def _drop_oldest(record: PatientRecord, count: int) -> None:
    """Drop the oldest `count` rows by (time, code, id); each series is in order, so only these are looked at."""
    by_age = merge(*(_ages(key, series) for key, series in record.observations.items()))
    for key, many in Counter(key for _, key, _ in islice(by_age, count)).items():
        rows = record.observations[key].rows
        del rows[:many]
        if not rows:
            del record.observations[key]


def _ages(key: str, series: Series) -> Iterator[tuple[int, str, str]]:
    return ((row.time, key, row.id) for row in series.rows)


def newest_time(record: PatientRecord) -> int:
    """Epoch ms of the newest thing that happened: observation, note, image, move or discharge; 0 if nothing has.

    What is withdrawn, or has no value, did not happen.
    """
    times = [next((r.time for r in reversed(s.rows) if r.has_value), 0) for s in record.observations.values()]
    times += [
        _ms(one.time) for one in record.documents.values() if not (one.version.rank >= Rank.CANCELLED or one.unusable)
    ]
    times += [_ms(one.time) for one in record.imaging.values() if not one.version.rank >= Rank.CANCELLED]
    for cells in record.encounters.values():
        times += [epoch_ms(cells[name].value) or 0 for name in ("start", "unit_since", "end") if name in cells]
    return max(times, default=0)


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(PatientRecord)


def encode_record(record: PatientRecord) -> bytes:
    """The record's canonical JSON. Fills `as_of` and `record_version` (128-bit BLAKE2b of the rest) on the way."""
    record.record_version = ""
    record.as_of = newest_time(record)
    content = _ENCODER.encode(record)
    record.record_version = blake2b(content, digest_size=16).hexdigest()
    head = b'{"patient":' + _ENCODER.encode(record.patient)
    return b'%s,"record_version":"%s"%s' % (head, record.record_version.encode(), content[len(head) :])


def decode_record(data: bytes) -> PatientRecord:
    """Inverse of `encode_record`. Raises msgspec.ValidationError or DecodeError, whose texts carry no values."""
    return _DECODER.decode(data)
