"""What travels over the bus besides domain events: the message itself, dead letters, filtered messages."""

from dataclasses import dataclass, field

import msgspec

from services.bus.topics import Topic

RECEIVED_AT = "ws-received-at"
"""Header: epoch milliseconds at which the raw message was acknowledged; carried on to every output for latency."""
TRACEPARENT = "traceparent"


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
