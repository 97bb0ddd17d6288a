"""The assembling step: (event, the key's state) -> (new state, the record or a forward).

Merges. A superseded key keeps a forwarding *mark* (the surviving key and the merge's version) and its own state,
and hands its whole record on as a `Transfer`; every later event for it follows the mark. Where a key is merged
twice, the mark of the lowest version stays and the later merge follows it like any other event, so the merges of
a chain may arrive in any order. Where marks form a loop (A into B, later B into A), the target of the loop's
highest version survives: the decision that was made last. State is never cleared on a merge, so that a repeat of
the merge repeats the transfer: a crash between the state's write and the send loses nothing.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from services.bus.engine import Result
from services.bus.messages import EVENT_ID, Message, Output, carried, dead_letter
from services.bus.topics import CLINICAL_EVENTS, PATIENT_RECORDS, RECORD_UPDATES, Topic
from services.domain.events import (
    ClinicalEvent,
    Hop,
    Merge,
    Transfer,
    Version,
    decode_event,
    digest,
    encode_event,
)
from services.domain.reasons import Rejected, RejectReason
from services.domain.record import PatientRecord, encode_record, fold

OUTCOME = "ws-outcome"
"""Header of `patient.records`: applied, superseded, repeated, expired or merged."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """A forwarding mark: events of this key follow it to `into`."""

    into: str
    version: Version


class State(msgspec.Struct, omit_defaults=True):
    """What assemble keeps for a key. `revived` is set when a loop of merges made this key the survivor."""

    record: PatientRecord
    mark: Mark | None = None
    revived: bool = False

    @property
    def superseded(self) -> bool:
        return self.mark is not None and not self.revived


class _Written(msgspec.Struct, omit_defaults=True):
    """`State` with its record encoded already: the same JSON, without encoding a long record a second time."""

    record: msgspec.Raw
    mark: Mark | None = None
    revived: bool = False


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
        written = _Written(msgspec.Raw(content), known.mark, known.revived)
        return Result(_ENCODER.encode(written), [_with(output, headers) for output in outputs])


def assemble(event: ClinicalEvent, state: State) -> tuple[Sequence[Output], bytes]:
    """Apply one event to the key's state, in place; returns what to publish, and the state's record encoded."""
    loop = _loop(event, state)
    if state.mark and loop is None:
        merges = [fact for fact in event.facts if isinstance(fact, Merge)]
        if merges:
            return _merge_again(event, merges[0], state)
        return [_forward(event, state.mark)], encode_record(state.record)
    if state.mark and loop and not _survives(event.patient, loop):
        return [_forward(msgspec.structs.replace(event, via=loop[:-1]), state.mark)], encode_record(state.record)
    state.revived = state.mark is not None
    merge = next((fact for fact in event.facts if isinstance(fact, Merge) and fact.into != event.patient), None)
    outcome = fold(state.record, event)
    content = encode_record(state.record)
    if merge:
        state.mark, state.revived = Mark(merge.into, merge.version), False
        return _superseded(state, content, event.via), content
    return [_record(state.record.patient, content, outcome)], content


def _loop(event: ClinicalEvent, state: State) -> list[Hop] | None:
    """The hops of the loop that the event has gone round, closed by this key's own; None when it has not."""
    if state.mark is None:
        return None
    start = next((n for n, hop in enumerate(event.via) if hop.key == event.patient), None)
    if start is None:
        return None
    return [*event.via[start:], Hop(event.patient, state.mark.version)]


def _survives(key: str, loop: list[Hop]) -> bool:
    """Whether the loop's last decision (its highest version) merged into this key."""
    hops = loop[:-1]
    latest = max(range(len(hops)), key=lambda n: hops[n].version)
    return hops[(latest + 1) % len(hops)].key == key


def _merge_again(event: ClinicalEvent, merge: Merge, state: State) -> tuple[Sequence[Output], bytes]:
    """A merge of a key that is superseded already: the lowest version is the mark, the other follows it."""
    mark = state.mark
    assert mark is not None
    fold(state.record, event)
    content = encode_record(state.record)
    if merge.version == mark.version and merge.into == mark.into:
        return _superseded(state, content, event.via), content
    if (merge.version, merge.into) > (mark.version, mark.into):
        return [_forward(event, mark)], content
    displaced = Merge(id=merge.id, version=mark.version, into=mark.into)
    state.mark = Mark(merge.into, merge.version)
    follow_up = msgspec.structs.replace(
        event, event_id=digest("displaced", event.event_id, mark.into, size=16), facts=[displaced], filtered=[]
    )
    return [*_superseded(state, content, event.via), _forward(follow_up, state.mark)], content


def _superseded(state: State, content: bytes, via: list[Hop]) -> Sequence[Output]:
    """The old key's last record, which says where it went, and the transfer of all it held."""
    mark = state.mark
    assert mark is not None
    key = state.record.patient
    transfer = ClinicalEvent(
        event_id=digest("transfer", key, mark.into, state.record.record_version, size=16),
        patient=key,
        format="wardstream",
        type="transfer",
        occurred=datetime.fromtimestamp(state.record.as_of / 1000, UTC),
        facts=[Transfer(id=digest("transfer", key, size=8), version=mark.version, record=msgspec.Raw(content))],
        via=via,
    )
    tombstone = encode_record(PatientRecord(patient=key, merged_into=mark.into))
    return [_record(key, tombstone, "merged"), _forward(transfer, mark)]


def _forward(event: ClinicalEvent, mark: Mark) -> Output:
    followed = msgspec.structs.replace(event, patient=mark.into, via=[*event.via, Hop(event.patient, mark.version)])
    return Output(RECORD_UPDATES, mark.into, encode_event(followed))


def _with(output: Output, headers: dict[str, bytes]) -> Output:
    return Output(output.topic, output.key, output.value, {**headers, **output.headers})


def _record(patient: str, content: bytes, outcome: str) -> Output:
    return Output(PATIENT_RECORDS, patient, content, {OUTCOME: outcome.encode()})
