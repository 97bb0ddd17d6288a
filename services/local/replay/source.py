"""What a source of traffic is: patients, each with a stream of things to send in event time."""

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

Kind = Literal["hl7v2", "fhir", "dicom"]

BASE_MS = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 1000
"""The public data sets have no dates: their patients reach the unit within SPREAD_MINUTES after this."""
SPREAD_MINUTES = 24 * 60
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to send: when it happened (epoch ms), in which format, for whom, and its bytes.

    `patient` is the source's own name: items of one patient are sent in their order. `payload` is made late where it
    is large (an image). `label` is a short name without PHI for listings: `ADT^A01`, `CR`, `Bundle`.
    """

    time_ms: int
    kind: Kind
    patient: str
    payload: bytes | Callable[[], bytes] = field(repr=False)
    label: str = ""

    def content(self) -> bytes:
        """The payload's bytes."""
        return self.payload if isinstance(self.payload, bytes) else self.payload()


@dataclass(frozen=True, slots=True)
class Stay:
    """One patient's part of a source. `open` makes its items, in the order of their times, when it is called.

    `starts_ms` is not later than the first item. What lies before `live_ms` happened before the replay's clock
    starts (an admission weeks before the intensive care unit) and is sent without waiting for it.
    """

    patient: str
    starts_ms: int
    live_ms: int
    open: Callable[[], Iterator[Item]]


class Source(Protocol):
    """A data set or a simulator."""

    name: str  # as it is shown: cinc2019, SYNTHETIC
    synthetic: bool  # nobody's data

    def stays(self, limit: int | None) -> Iterable[Stay]:
        """The patients, the first `limit` of the source's own order. Raises OSError or ValueError for bad files."""


def arrival_ms(source: str, patient: str) -> int:
    """When a patient reaches the unit: the base date plus a whole number of minutes made from the name alone."""
    mark = hashlib.blake2b(f"{source}\x1f{patient}".encode(), digest_size=8).digest()
    return BASE_MS + int.from_bytes(mark) % SPREAD_MINUTES * 60_000


def merged(stays: Iterable[Stay], finished: Callable[[str], None] = lambda patient: None) -> Iterator[Item]:
    """The items of many patients in the order of their times (ties: by patient, each patient's own order kept).

    A patient's stream is opened when its time comes, so that memory holds those who are in hospital and no more;
    `finished` is called with each patient whose stream has ended.
    """
    waiting = sorted(stays, key=lambda stay: (stay.starts_ms, stay.patient), reverse=True)
    heap: list[tuple[int, str, int, Item, Iterator[Item]]] = []
    serial = 0
    while heap or waiting:
        while waiting and (not heap or waiting[-1].starts_ms <= heap[0][0]):
            stay = waiting.pop()
            serial += 1
            _push(heap, stay.patient, serial, stay.open(), finished)
        if heap:
            _, patient, number, item, rest = heapq.heappop(heap)
            yield item
            _push(heap, patient, number, rest, finished)


def _push(
    heap: list[tuple[int, str, int, Item, Iterator[Item]]],
    patient: str,
    serial: int,
    rest: Iterator[Item],
    finished: Callable[[str], None],
) -> None:
    if (item := next(rest, None)) is not None:
        heapq.heappush(heap, (item.time_ms, patient, serial, item, rest))
    else:
        finished(patient)
