"""The account of a run: what each message owed, and what has ended it. Pure: messages in, figures out.

A message is lost when it has no end. In the order of the flow:

- a *raw message* ends in all of its clinical events (they say how many there are), in `filtered.messages`, or in a dead
  letter of normalize;
- a *clinical event*, and each *event on `record.updates`* (embedding, transfer, forward), ends in a version of its
  patient's record, in a forward that ends so at another patient, or in a dead letter of assemble. A record that says
  it was merged away ends it together with the transfer of all it held, not by itself;
- a *note or picture* that encode takes ends in an embedding of that version of it, or in a dead letter of encode;
- a *version of a record* ends in a prediction of a model, or in a dead letter of score. A NEWS2 fallback does not end
  it: scoring still owes the answer. That it was superseded is an answer.

Sets are compared, so repeats and the order of reading do not matter.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from services.bus.messages import EVENT_ID, ORIGIN, DeadLetter, FilteredMessage, Message, Origin, received_at
from services.bus.topics import (
    CLINICAL_EVENTS,
    DEAD_LETTERS,
    FILTERED_MESSAGES,
    PATIENT_RECORDS,
    RAW_BY_FORMAT,
    RECORD_UPDATES,
    RISK_PREDICTIONS,
)
from services.domain.events import ClinicalEvent, Document, Embedding, Imaging, Rank, Version, decode_event
from services.domain.images import encodable
from services.domain.notes import note_tokens
from services.domain.prediction import Prediction
from services.encode.embed import TYPE as EMBEDDING
from services.normalize.step import EVENTS
from services.score.fallback import MODEL as FALLBACK_MODEL

NOTES, IMAGES = "note", "image"
"""The encoders that a run may have."""

_FORMAT_OF = {topic.name: form for form, topic in RAW_BY_FORMAT.items()}


class Named(NamedTuple):
    """An event of a patient, or a version of a patient's record."""

    patient: str
    name: str


class Item(NamedTuple):
    """One version of a note or picture."""

    patient: str
    fact: str
    rank: int
    issued: int
    sequence: int
    digest: str


class _EventHead(msgspec.Struct):
    event_id: str
    patient: str
    type: str = ""


class _RecordHead(msgspec.Struct):
    patient: str
    record_version: str = ""
    merged_into: str = ""


_EVENT = msgspec.json.Decoder(_EventHead)
_RECORD = msgspec.json.Decoder(_RecordHead)
_LETTER = msgspec.json.Decoder(DeadLetter)
_FILTERED = msgspec.json.Decoder(FilteredMessage)
_PREDICTION = msgspec.json.Decoder(Prediction)


@dataclass
class Account:
    """What was seen on the topics. `encoders`: those that are deployed; an absent one owes nothing."""

    encoders: frozenset[str] = frozenset({NOTES, IMAGES})
    raw: dict[str, set[str]] = field(default_factory=lambda: {form: set() for form in RAW_BY_FORMAT})  # places
    contents: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))  # by format, digests
    events: dict[str, Named] = field(default_factory=dict)  # by place
    updates: dict[str, Named] = field(default_factory=dict)
    versions: dict[str, Named] = field(default_factory=dict)
    items: dict[str, set[Item]] = field(default_factory=dict)
    made: dict[str, dict[int, set[int]]] = field(default_factory=dict)  # raw place -> events announced -> those seen
    assembled: set[Named] = field(default_factory=set)  # events that made a version of their patient's record
    merged: dict[Named, str] = field(default_factory=dict)  # events answered by "merged into"
    transfers: set[Named] = field(default_factory=set)  # (surviving patient, the event that made it)
    encoded: set[Item] = field(default_factory=set)
    scored: set[Named] = field(default_factory=set)
    filtered: dict[str, tuple[str, ...]] = field(default_factory=dict)  # raw place -> reasons
    dead: dict[tuple[str, str], str] = field(default_factory=dict)  # (step, place) -> reason
    predictions: dict[str, Prediction] = field(default_factory=dict)
    patients: set[str] = field(default_factory=set)
    latencies_ms: list[int] = field(default_factory=list)
    unreadable: Counter[str] = field(default_factory=Counter)  # by topic
    first_ms: int = 0
    last_ms: int = 0

    def take(self, message: Message) -> None:
        """Enter one message of any topic."""
        if message.topic in _FORMAT_OF:
            self._raw(message)
            return
        try:
            _TAKERS[message.topic](self, message)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.unreadable[message.topic] += 1

    def lost(self) -> dict[str, int]:
        """Messages without an end, by the step that owed it."""
        return {
            "normalize": sum(not self._normalized(place) for places in self.raw.values() for place in places),
            "assemble": self._unassembled(),
            "encode": len(
                {item for place, items in self.items.items() if ("encode", place) not in self.dead for item in items}
                - self.encoded
            ),
            "score": len(self._open(self.versions, "score", self.scored)),
        }

    def unkept(self, acknowledged: dict[str, int], digests: dict[str, set[bytes]]) -> dict[str, int]:
        """By format, messages that were acknowledged and do not lie on the raw topic.

        `digests` (`digest_of`) tell them apart where bytes are published as they came; elsewhere only the number
        `acknowledged` can be compared.
        """
        return {
            form: len(digests[form] - self.contents[form])
            if form in digests
            else max(0, acknowledged.get(form, 0) - len(places))
            for form, places in self.raw.items()
        }

    def _open(self, owed: dict[str, Named], step: str, ended: set[Named]) -> set[Named]:
        buried = {owed[place] for by, place in self.dead if by == step and place in owed}
        return set(owed.values()) - ended - buried

    def _unassembled(self) -> int:
        """Events without an end. A forwarded event keeps its id, which no other patient's event has."""
        owed = self.events | self.updates
        ended = self.assembled | (set(owed.values()) - self._open(owed, "assemble", self.assembled))
        names = {one.name for one in ended}
        return len({one.name for one in set(owed.values()) - ended if not self._merged(one, names)})

    def _merged(self, one: Named, elsewhere: set[str]) -> bool:
        """Whether an event that changed no record of its patient was handed on."""
        if into := self.merged.get(one):
            return Named(into, one.name) in self.transfers
        return one.name in elsewhere

    def _normalized(self, place: str) -> bool:
        if place in self.filtered or ("normalize", place) in self.dead:
            return True
        return any(len(seen) >= count for count, seen in self.made.get(place, {}).items())

    def _raw(self, message: Message) -> None:
        form = _FORMAT_OF[message.topic]
        self.raw[form].add(place_of(message))
        self.contents[form].add(digest_of(message.value))
        self.first_ms = min(self.first_ms or message.timestamp_ms, message.timestamp_ms)

    def _clinical_event(self, message: Message) -> None:
        if origin := _header(message, ORIGIN):
            number, count = _numbered(message.headers.get(EVENTS))
            self.made.setdefault(origin, {}).setdefault(count, set()).add(number)
        place = place_of(message)
        try:
            head = _EVENT.decode(message.value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.events[place] = Named("", place)  # assemble owes it a dead letter
            return
        self.events[place] = Named(head.patient, head.event_id)
        if b'"document"' in message.value or b'"imaging"' in message.value:
            self._items(place, decode_event(message.value))

    def _items(self, place: str, event: ClinicalEvent) -> None:
        found = {_item(event.patient, fact.id, fact.version) for fact in event.facts if self._is_encoded(fact)}
        if found:
            self.items[place] = found

    def _is_encoded(self, fact: object) -> bool:
        """Whether encode takes it: the rule of encode/step.py, told again so that one checks the other."""
        if isinstance(fact, Document):
            stands = fact.version.rank < Rank.CANCELLED and bool(fact.text.strip())
            return NOTES in self.encoders and stands and bool(note_tokens(fact.text, fact.title).any())
        if isinstance(fact, Imaging):
            stands = fact.version.rank < Rank.CANCELLED and bool(fact.object)
            return IMAGES in self.encoders and stands and encodable(fact.modality, fact.body_part, fact.view_position)
        return False

    def _update(self, message: Message) -> None:
        place = place_of(message)
        try:
            head = _EVENT.decode(message.value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.updates[place] = Named("", place)
            return
        self.updates[place] = Named(head.patient, head.event_id)
        if head.type == "transfer":
            self.transfers.add(Named(head.patient, _header(message, EVENT_ID)))
        elif head.type == EMBEDDING:
            event = decode_event(message.value)
            self.encoded |= {_encoded(event.patient, one) for one in event.facts if isinstance(one, Embedding)}

    def _record(self, message: Message) -> None:
        place = place_of(message)
        try:
            record = _RECORD.decode(message.value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.versions[place] = Named("", place)
            return
        self.versions[place] = Named(record.patient, record.record_version)
        self.patients.add(record.patient)
        made_by = Named(record.patient, _header(message, EVENT_ID))
        if record.merged_into:
            self.merged[made_by] = record.merged_into
        else:
            self.assembled.add(made_by)

    def _filtered_message(self, message: Message) -> None:
        content = _FILTERED.decode(message.value)
        self.filtered[_place(content.origin)] = tuple(content.reasons)

    def _dead_letter(self, message: Message) -> None:
        letter = _LETTER.decode(message.value)
        # What the edge refused never lay on a topic: each such letter is a message of its own.
        place = _place(letter.origin) if letter.origin.offset >= 0 else place_of(message)
        self.dead[letter.step, place] = letter.reason

    def _prediction(self, message: Message) -> None:
        prediction = _PREDICTION.decode(message.value)
        if prediction.model != FALLBACK_MODEL:
            self.scored.add(Named(prediction.patient, prediction.record_version))
        if prediction.prediction_id not in self.predictions:
            self.predictions[prediction.prediction_id] = prediction
            if received := received_at(message.headers):
                self.latencies_ms.append(max(0, message.timestamp_ms - received))
            self.last_ms = max(self.last_ms, message.timestamp_ms)


_TAKERS: dict[str, Callable[[Account, Message], None]] = {
    CLINICAL_EVENTS.name: Account._clinical_event,
    RECORD_UPDATES.name: Account._update,
    PATIENT_RECORDS.name: Account._record,
    FILTERED_MESSAGES.name: Account._filtered_message,
    DEAD_LETTERS.name: Account._dead_letter,
    RISK_PREDICTIONS.name: Account._prediction,
}
TOPICS = (
    *RAW_BY_FORMAT.values(),
    CLINICAL_EVENTS,
    RECORD_UPDATES,
    PATIENT_RECORDS,
    FILTERED_MESSAGES,
    DEAD_LETTERS,
    RISK_PREDICTIONS,
)
"""What an account reads."""


def place_of(message: Message) -> str:
    """`topic/partition/offset`."""
    return f"{message.topic}/{message.partition}/{message.offset}"


def digest_of(content: bytes) -> bytes:
    """What tells one message's bytes from another's."""
    return blake2b(content, digest_size=16).digest()


def _place(origin: Origin) -> str:
    return f"{origin.topic}/{origin.partition}/{origin.offset}"


def _header(message: Message, name: str) -> str:
    return message.headers.get(name, b"").decode("utf-8", "replace")


def _numbered(told: bytes | None) -> tuple[int, int]:
    """Which of how many events of its message; without the header (an older normalize) the only one."""
    number, _, count = (told or b"1/1").partition(b"/")
    return (int(number), int(count)) if all(one.isdigit() and len(one) < 10 for one in (number, count)) else (1, 1)


def _item(patient: str, fact: str, version: Version, digest: str | None = None) -> Item:
    shown = version.digest if digest is None else digest
    return Item(patient, fact, version.rank, version.issued, version.sequence, shown)


def _encoded(patient: str, one: Embedding) -> Item:
    """What an embedding is of: its version is its source's, behind the encoder's (encode/embed.py)."""
    return _item(patient, one.of, one.version, one.version.digest.partition(":")[2])
