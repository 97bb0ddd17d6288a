"""What travels over the bus besides domain events: the message itself, dead letters, filtered messages."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from services.bus.topics import DEAD_LETTERS, Topic
from services.domain.reasons import Rejected

RECEIVED_AT = "ws-received-at"
"""Header: epoch milliseconds at which the raw message was acknowledged; carried on to every output for latency."""
TRACEPARENT = "traceparent"
ORIGIN = "ws-origin"
"""Header of clinical events: `topic/partition/offset` of the raw message, so that each can be accounted for."""
EVENT_ID = "ws-event-id"
"""Header of records: the event that made this version, for the same reason."""


@dataclass(frozen=True, slots=True)
class Message:
    """One consumed message. Its repr never shows key, value or headers."""

    topic: str
    partition: int
    offset: int
    key: bytes | None = field(repr=False)
    value: bytes = field(repr=False)
    headers: dict[str, bytes] = field(repr=False, default_factory=dict)
    timestamp_ms: int = 0  # the broker's


@dataclass(frozen=True, slots=True)
class Output:
    """One message to publish. `key` is a patient key (pseudonymous) or None."""

    topic: Topic
    key: str | None = field(repr=False)
    value: bytes = field(repr=False)
    headers: dict[str, bytes] = field(repr=False, default_factory=dict)


class Origin(msgspec.Struct, frozen=True):
    """Where a message lay: enough to find its bytes again."""

    topic: str
    partition: int
    offset: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be processed: its origin, why, where in it, and its bytes (base64 in JSON)."""

    origin: Origin
    reason: str  # RejectReason
    where: str = ""
    hint: str = ""
    step: str = ""
    value: bytes = b""
    key: bytes | None = None
    headers: dict[str, bytes] = {}
    failed_at: int = 0  # epoch ms, the origin's broker timestamp so that a repeat has the same bytes


class FilteredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was understood and has nothing for the record: its origin and the reasons, no content."""

    origin: Origin
    format: str
    type: str
    message_id: str
    reasons: list[str]


class MetricEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One monitoring figure at one time. `name` and `labels` are those of the same metric on `/metrics`."""

    name: str
    value: float
    at: int  # epoch ms, wall clock of the monitor
    labels: dict[str, str] = {}
    unit: str = ""  # UCUM; empty for counts and shares


_MAX_DIGITS = 15
"""Of an epoch millisecond: some 30,000 years. Longer ones are no time, and do not fit Kafka's."""
_ENCODER = msgspec.json.Encoder(order="deterministic")


def received_at(headers: Mapping[str, bytes]) -> int:
    """What RECEIVED_AT says, epoch milliseconds; 0 where it is absent or, since anybody may publish, no such number."""
    told = headers.get(RECEIVED_AT) or b""
    return int(told) if told.isdigit() and len(told) <= _MAX_DIGITS else 0


def carried(message: Message) -> dict[str, bytes]:
    """The headers that every output of this message carries on: when it was received, and its trace."""
    headers = {RECEIVED_AT: str(received_at(message.headers) or message.timestamp_ms).encode()}
    if trace := message.headers.get(TRACEPARENT):
        headers[TRACEPARENT] = trace
    return headers


def dead_letter(message: Message, rejected: Rejected, step: str) -> Output:
    """The dead letter of a message: the same message and reason always give the same bytes."""
    letter = DeadLetter(
        origin=Origin(message.topic, message.partition, message.offset),
        reason=rejected.reason,
        where=rejected.where,
        hint=rejected.hint,
        step=step,
        value=message.value,
        key=message.key,
        headers=message.headers,
        failed_at=message.timestamp_ms,
    )
    key = message.key.decode("ascii", "replace") if message.key else None
    return Output(DEAD_LETTERS, key, _ENCODER.encode(letter), carried(message))
