"""Sending a source's items in event time: paced, in order per patient, every answer awaited and counted."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from services.local.account import digest_of
from services.local.replay.channels import UNASKED, Answer, Channel, Edge, Verdict, open_channels
from services.local.replay.report import AS_SENT, ReplayReport
from services.local.replay.source import Item, Kind, Source, Stay, merged

WINDOW = 32
"""Messages in flight for each connection, of different patients: a patient's next waits for the last one's answer."""
RETRY_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
MAX_GAP_S = 5.0
"""No wait between two items is longer, whatever the speed: nights without events are not sat through."""

Progress = Callable[[ReplayReport, int, int], None]
"""Called with the report so far, the event time (epoch ms) and the number of patients in all."""


def replay(
    source: Source,
    *,
    edge: Edge | None = None,
    speed: float = 0.0,
    limit: int | None = None,
    connections: int = 4,
    window: int = WINDOW,
    progress: Progress | None = None,
) -> ReplayReport:
    """Send a source's traffic to the edge and wait for every answer.

    `speed`: seconds of event time in one second; 0 sends as fast as answers come. `limit`: patients (or files).
    The same source and limit always send the same bytes, so that a second replay changes nothing. A message that is
    not kept after every retry ends the replay, as it holds up an interface engine's queue: nothing overtakes it.
    Raises OSError or ValueError when the source cannot be read; what the edge answers is in the report.
    """
    channels = open_channels(edge or Edge(), connections)
    run = Run(source, channels, speed=speed, limit=limit, in_flight=connections * window, progress=progress)
    return asyncio.run(run.whole())


class Run:
    """One replay."""

    def __init__(
        self,
        source: Source,
        channels: dict[Kind, Channel],
        *,
        speed: float = 0.0,
        limit: int | None = None,
        in_flight: int = WINDOW,
        progress: Progress | None = None,
        pauses: Iterable[float] = RETRY_PAUSES_S,
    ) -> None:
        self._source, self._channels, self._speed, self._limit = source, channels, speed, limit
        self._slots = asyncio.Semaphore(in_flight)
        self._progress, self._pauses = progress, tuple(pauses)
        self._last: dict[str, asyncio.Task[None]] = {}  # each patient's last item
        self.report = ReplayReport(source.name, source.synthetic)

    async def whole(self) -> ReplayReport:
        """Send everything; the report."""
        began = time.monotonic()
        try:
            await self._send_all()
        finally:
            for task in self._last.values():
                task.cancel()
            await asyncio.gather(*(channel.close() for channel in self._channels.values()))
            self.report.seconds = time.monotonic() - began
        return self.report

    async def _send_all(self) -> None:
        stays = list(self._source.stays(self._limit))
        self.report.patients = len(stays)
        clock = Clock(self._speed, min((stay.live_ms for stay in stays), default=0))
        for number, item in enumerate(merged(stays, self._finished)):
            await clock.until(item.time_ms)
            await self._slots.acquire()
            if self.report.stopped:
                break
            self._start(item)
            if self._progress is not None and number % 20 == 0:
                self._progress(self.report, item.time_ms, len(stays))
        await asyncio.gather(*self._last.values())
        if self._progress is not None:
            self._progress(self.report, self.report.last_event_ms, len(stays))

    def _finished(self, _: str) -> None:
        self.report.finished += 1

    def _start(self, item: Item) -> None:
        self.report.first_event_ms = self.report.first_event_ms or item.time_ms
        self.report.last_event_ms = max(self.report.last_event_ms, item.time_ms)
        task = asyncio.create_task(self._after(self._last.get(item.patient), item))
        self._last[item.patient] = task

        def forget(done: asyncio.Task[None]) -> None:
            self._slots.release()
            if self._last.get(item.patient) is done and not done.cancelled() and done.exception() is None:
                del self._last[item.patient]

        task.add_done_callback(forget)

    async def _after(self, earlier: asyncio.Task[None] | None, item: Item) -> None:
        if earlier is not None:
            await earlier
        if self.report.stopped:
            return
        answer = await self._persist(item)
        self.report.messages[item.kind] += 1
        counts = {
            Verdict.KEPT: self.report.acknowledged,
            Verdict.REFUSED: self.report.rejected,
            Verdict.AGAIN: self.report.unacknowledged,
        }
        counts[answer.verdict][item.kind] += 1
        if answer.verdict is Verdict.KEPT and answer.code != UNASKED and item.kind in AS_SENT:
            self.report.digests[item.kind].add(digest_of(item.content()))
        self.report.stopped |= answer.verdict is Verdict.AGAIN

    async def _persist(self, item: Item) -> Answer:
        """Send until the edge has kept or refused it, or patience ends."""
        for pause in (*self._pauses, None):
            answer = await self._channels[item.kind].send(item)
            self.report.answers[answer.code] += 1
            if answer.verdict is not Verdict.AGAIN or pause is None:
                break
            if self.report.stopped:
                break
            self.report.retries += 1
            await asyncio.sleep(pause)
        return answer


class Clock:
    """Event time running at a speed, from the moment of the first live item."""

    def __init__(self, speed: float, live_ms: int) -> None:
        self._speed, self._at_ms = speed, live_ms
        self._due: float | None = None

    async def until(self, time_ms: int) -> None:
        """Wait until event time has reached `time_ms`; what lies before the live time waits for nothing."""
        if self._speed <= 0 or time_ms <= self._at_ms:
            return
        now = time.monotonic()
        due = now if self._due is None else self._due
        gap = (time_ms - self._at_ms) / 1000 / self._speed
        self._due = due + min(gap, MAX_GAP_S)
        self._at_ms = time_ms
        if self._due > now:
            await asyncio.sleep(self._due - now)


def write_to(folder: Path, source: Source, limit: int | None = None) -> int:
    """Write every item as a file of its own below `folder`, numbered in the order of sending; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    suffixes = {"hl7v2": "hl7", "fhir": "json", "dicom": "dcm"}
    number = 0
    for number, item in enumerate(items(source, limit), 1):
        (folder / f"{number:07d}.{suffixes[item.kind]}").write_bytes(item.content())
    return number


def items(source: Source, limit: int | None) -> Iterator[Item]:
    """All items in the order of sending."""
    stays: Iterable[Stay] = source.stays(limit)
    return merged(itertools.islice(stays, limit))
