"""The assembling step: (event, the key's state) -> (new state, the record or a forward).

Merges. Every key keeps the merges that it knows of, a set that only grows, and who survives is a function of that set
(`domain/merges.py`). A key that is not its group's survivor forwards every event to the survivor, and hands its whole
record on as a `Transfer`. Keys tell each other what they know: a merge is told to all keys that it joins, and whoever
hears less than it knows tells the rest. So all keys of one patient end with the same set, the same survivor and one
record, in whatever order merges, repeats, chains and inverse merges arrive.

Nothing rests on what a key did before, only on what it knows and what it hears: a repeat sends the same again, so that
a crash between the state's write and the sends loses nothing. A superseded key's record is kept for the same reason.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from services.bus.engine import Result
from services.bus.messages import EVENT_ID, Message, Output, carried, dead_letter
from services.bus.topics import CLINICAL_EVENTS, PATIENT_RECORDS, RECORD_UPDATES, Topic
from services.domain.events import (
    AnyFact,
    ClinicalEvent,
    Merge,
    MergeEdge,
    Rank,
    Transfer,
    Version,
    decode_event,
    digest,
    encode_event,
)
from services.domain.merges import Edges, group, joined
from services.domain.reasons import Rejected, RejectReason
from services.domain.record import PatientRecord, encode_record, fold

OUTCOME = "ws-outcome"
"""Header of `patient.records`: applied, superseded, repeated, expired or merged."""


class State(msgspec.Struct, omit_defaults=True):
    """What assemble keeps for a key: its record and the merges of its group."""

    record: PatientRecord
    merges: Edges = []


class _Written(msgspec.Struct, omit_defaults=True):
    """`State` with its record encoded already: the same JSON, without encoding a long record a second time."""

    record: msgspec.Raw
    merges: Edges = []


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(State)


class Assemble:
    """The keyed step of the assemble service."""

    name = "assemble"
    inputs: tuple[Topic, ...] = (CLINICAL_EVENTS, RECORD_UPDATES)

    def __call__(self, message: Message, state: bytes | None) -> Result:
        try:
            event = decode_event(message.value)
        except msgspec.MsgspecError:
            rejected = Rejected(RejectReason.SCHEMA_VIOLATION, hint="the value is not a ClinicalEvent of this version")
            return Result(state, [dead_letter(message, rejected, self.name)])
        if message.key != event.patient.encode():
            rejected = Rejected(RejectReason.SCHEMA_VIOLATION, "key", "the message key must be the event's patient key")
            return Result(state, [dead_letter(message, rejected, self.name)])
        known = _DECODER.decode(state) if state else State(PatientRecord(patient=event.patient))
        outputs, content = assemble(event, known)
        headers = {**carried(message), EVENT_ID: event.event_id.encode()}
        written = _Written(msgspec.Raw(content), known.merges)
        return Result(_ENCODER.encode(written), [_with(output, headers) for output in outputs])


def assemble(event: ClinicalEvent, state: State) -> tuple[Sequence[Output], bytes]:
    """Apply one event to the key's state, in place; returns what to publish, and the state's record encoded."""
    key = event.patient
    own = [MergeEdge(key, fact.into, fact.version) for fact in event.facts if isinstance(fact, Merge)]
    state.merges = joined(state.merges, event.merges, own)
    survivor, members = group(state.merges, key)
    outcome = fold(state.record, event) if survivor == key else "merged"
    content = encode_record(state.record)
    outputs: list[Output] = []
    if own or (event.merges and event.merges != state.merges):
        outputs += [_tell(key, other, state.merges, event) for other in sorted(members - {key})]
    if survivor == key:
        return [*outputs, _record(key, content, outcome)], content
    if own or event.merges:
        tombstone = encode_record(PatientRecord(patient=key, merged_into=survivor))
        outputs += [_record(key, tombstone, outcome), _transfer(key, survivor, content, state, event)]
    if not outputs or any(not isinstance(fact, Merge) for fact in event.facts):
        outputs.append(_forward(event, survivor, state.merges))
    return outputs, content


def _tell(key: str, other: str, merges: Edges, event: ClinicalEvent) -> Output:
    """What this key knows, for another key of its group."""
    return _send(key, other, "merges", [], merges, event.occurred)


def _transfer(key: str, survivor: str, content: bytes, state: State, event: ClinicalEvent) -> Output:
    """The whole record of this key, for the survivor."""
    fact = Transfer(id=digest("transfer", key, size=8), version=Version(Rank.FINAL), record=msgspec.Raw(content))
    occurred = datetime.fromtimestamp(state.record.as_of / 1000, UTC) if state.record.as_of else event.occurred
    return _send(key, survivor, "transfer", [fact], state.merges, occurred, state.record.record_version)


def _send(
    key: str, to: str, kind: str, facts: list[AnyFact], merges: Edges, occurred: datetime, content: str = ""
) -> Output:
    known = _ENCODER.encode(merges).decode()
    update = ClinicalEvent(
        event_id=digest(kind, key, to, known, content, size=16),
        patient=to,
        format="wardstream",
        type=kind,
        occurred=occurred,
        facts=facts,
        merges=merges,
    )
    return Output(RECORD_UPDATES, to, encode_event(update))


def _forward(event: ClinicalEvent, survivor: str, merges: Edges) -> Output:
    """The event itself, for the survivor; a merge that it also holds is told by `merges`."""
    facts = [fact for fact in event.facts if not isinstance(fact, Merge)]
    followed = msgspec.structs.replace(event, patient=survivor, facts=facts, merges=merges)
    return Output(RECORD_UPDATES, survivor, encode_event(followed))


def _with(output: Output, headers: dict[str, bytes]) -> Output:
    return Output(output.topic, output.key, output.value, {**headers, **output.headers})


def _record(patient: str, content: bytes, outcome: str) -> Output:
    return Output(PATIENT_RECORDS, patient, content, {OUTCOME: outcome.encode()})
