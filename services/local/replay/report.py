"""What a replay did."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

AS_SENT = ("hl7v2", "fhir")
"""The formats whose bytes are published as they came; of a DICOM object its header is."""


@dataclass
class ReplayReport:
    """Counts of one replay. A message is in exactly one of acknowledged, rejected and unacknowledged."""

    source: str
    synthetic: bool = False
    patients: int = 0
    finished: int = 0  # patients whose last item has been sent
    messages: Counter[str] = field(default_factory=Counter)  # by format: hl7v2, fhir, dicom
    acknowledged: Counter[str] = field(default_factory=Counter)  # AA, CA; 2xx; 0x0000
    rejected: Counter[str] = field(
        default_factory=Counter
    )  # AR, CR; 4xx; DICOM failure: kept by the edge as dead letter
    unacknowledged: Counter[str] = field(default_factory=Counter)  # no answer, or AE after every retry
    answers: Counter[str] = field(default_factory=Counter)  # every answer by its code: AA, AE, AR, 200, 0x0000
    retries: int = 0
    stopped: bool = False  # a message was not kept after every retry: what would have followed was not sent
    seconds: float = 0.0
    first_event_ms: int = 0
    last_event_ms: int = 0
    digests: dict[str, set[bytes]] = field(default_factory=lambda: {kind: set() for kind in AS_SENT}, repr=False)
    """By format, what tells the acknowledged messages apart (`digest_of` of their bytes), to find them again on the
    raw topics, where they lie as they were sent."""

    @property
    def sent(self) -> int:
        """All messages."""
        return self.messages.total()

    @property
    def per_second(self) -> float:
        """Messages answered a second."""
        return round(self.sent / self.seconds, 1) if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON: counters as objects, and the totals."""
        found = {
            one.name: getattr(self, one.name) for one in fields(self) if one.name != "digests"
        }  # asdict makes nonsense of a Counter
        shown = {name: dict(value) if isinstance(value, Counter) else value for name, value in found.items()}
        totals = {
            "sent": self.sent,
            "acknowledged_total": self.acknowledged.total(),
            "rejected_total": self.rejected.total(),
            "unacknowledged_total": self.unacknowledged.total(),
            "per_second": self.per_second,
        }
        return shown | totals

    def __add__(self, other: "ReplayReport") -> "ReplayReport":
        """Two replays that ran one after the other."""
        return ReplayReport(
            source="+".join(dict.fromkeys(filter(None, (*self.source.split("+"), *other.source.split("+"))))),
            synthetic=self.synthetic or other.synthetic,
            patients=self.patients + other.patients,
            finished=self.finished + other.finished,
            messages=self.messages + other.messages,
            acknowledged=self.acknowledged + other.acknowledged,
            rejected=self.rejected + other.rejected,
            unacknowledged=self.unacknowledged + other.unacknowledged,
            answers=self.answers + other.answers,
            retries=self.retries + other.retries,
            stopped=self.stopped or other.stopped,
            seconds=self.seconds + other.seconds,
            first_event_ms=min(filter(None, (self.first_event_ms, other.first_event_ms)), default=0),
            last_event_ms=max(self.last_event_ms, other.last_event_ms),
            digests={kind: self.digests[kind] | other.digests[kind] for kind in AS_SENT},
        )
