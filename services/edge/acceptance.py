"""What is done with one HL7 v2 message at the edge: kept, then answered (HL7 v2.8 chapter 2.9).

    whose is it?  ->  known already?  ->  publish  ->  the broker has it  ->  answer  ->  remember the answer

AA (CA in enhanced mode): kept. AE (CE): it could not be kept now, send it again later. AR (CR): it will not be taken
as it is. A message that cannot be routed, and a frame that is none, is published to `dead.letters` with its
bytes before it is refused, so that nothing that reached us is lost.

A repeat (same sender, MSH-10 and bytes) gets the bytes of the earlier answer and is not published again, also while
the first is still on its way to the broker. The same MSH-10 with other bytes is refused, or, where the site says so
(its senders number anew every day), taken as the other message that it is.

An acknowledgement (MSH-9 ACK) is not answered, or two engines would go on answering each other for ever, and not kept:
we ask for none on these connections. The standard has no acknowledgement of an acknowledgement (2.9.2, 2.9.3).

A message over which a defect of ours raises becomes a dead letter with its bytes and is answered with AR.
"""

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka.errors import KafkaError

from services.bus import metrics
from services.bus.messages import Message, dead_letter
from services.bus.topics import HL7_RAW
from services.domain.reasons import Rejected, RejectReason
from services.domain.site import Site
from services.edge.defects import defect, described
from services.edge.framing import BadFrame, framed
from services.edge.ledger import Entry, Ledger, digest_of, name_of
from services.edge.publisher import Publisher, PublishFailed, TooLarge
from services.formats.hl7v2 import ack
from services.formats.hl7v2.ack import Fault, Outcome
from services.formats.hl7v2.control import Routing, read_header, routing
from services.formats.hl7v2.header import Header

log = logging.getLogger(__name__)

FORMAT = "hl7v2"
ACKNOWLEDGEMENT = "ACK"
"""MSH-9.1 of an answer, in original and in enhanced mode."""
STEP = "edge"
NOT_ON_A_TOPIC = -1
"""Partition and offset, in a dead letter's origin, of a message that never was on its topic."""
PATIENCE_S = 12.0
"""Longest wait for the broker before AE: above the publisher's own, so that its verdict is heard."""

Clock = Callable[[], float]


@dataclass(slots=True)
class _UnderWay:
    """A message being published: the digest of its bytes, and its answer to come (None: it was not kept)."""

    digest: bytes
    answer: "asyncio.Task[bytes | None]"


class Acceptance:
    """Takes messages from any number of connections. Answers are framed bytes, empty where none is wanted."""

    def __init__(
        self,
        publisher: Publisher,
        ledger: Ledger,
        site: Site,
        *,
        patience: float = PATIENCE_S,
        accept_reused: bool = False,
        clock: Clock = time.time,
    ) -> None:
        """`accept_reused`: a message with an earlier one's MSH-10 and other bytes is kept, not refused."""
        self._publisher, self._ledger, self._site = publisher, ledger, site
        self._accept_reused = accept_reused
        self._patience, self._clock = patience, clock
        self._under_way: dict[bytes, _UnderWay] = {}
        self._numbers = itertools.count(1)
        self._start = secrets.token_hex(5)  # with a number it makes our own MSH-10: 20 characters at most

    async def message(self, content: bytes) -> bytes:
        """Keep one message; its answer.

        Messages are published in the order in which these calls are made: nothing is awaited before the publisher
        has been asked. Never raises, whatever the input and wherever the broker.
        """
        began = time.perf_counter()
        metrics.RECEIVED.labels(FORMAT).inc()
        try:
            answer = await self._answer(content)
        except Exception as error:  # noqa: BLE001 -- a defect of ours: no message stays without an answer
            answer = await self._failed(content, error)
        metrics.ACK_SECONDS.labels(FORMAT).observe(time.perf_counter() - began)
        return answer

    async def bad_frame(self, bad: BadFrame) -> bytes:
        """Keep what is no frame as a dead letter; the refusal."""
        metrics.RECEIVED.labels(FORMAT).inc()
        rejected = Rejected(bad.reason, "MLLP", bad.hint)
        try:
            return await self._refuse(bad.content, _header(bad.content, self._site), rejected, ack.fault(rejected))
        except Exception as error:  # noqa: BLE001
            return await self._failed(bad.content, error)

    async def settle(self, timeout: float) -> None:
        """Wait until nothing is under way, `timeout` seconds at most."""
        if tasks := [one.answer for one in self._under_way.values()]:
            await asyncio.wait(tasks, timeout=timeout)
        for task in tasks:
            task.cancel()

    async def _answer(self, content: bytes) -> bytes:
        routed = routing(content, self._site)
        head = _header(content, self._site) if isinstance(routed, Rejected) else routed.header
        if head is not None and head.code == ACKNOWLEDGEMENT:
            metrics.ACKNOWLEDGEMENTS_DROPPED.inc()
            log.info("an acknowledgement came in, which nobody here awaits: not answered")
            return b""
        if isinstance(routed, Rejected):
            return await self._refuse(content, head, routed, ack.fault(routed))
        return await self._take(content, routed)

    async def _failed(self, content: bytes, error: Exception) -> bytes:
        """AR once the bytes are kept as a dead letter; AE where the defect keeps us from that, too."""
        log.error("a message ended in a defect: %s", described(error))
        head: Header | None = None
        with suppress(Exception):
            head = _header(content, self._site)
        rejected = defect(error)
        try:
            return await self._refuse(content, head, rejected, ack.fault(rejected))
        except Exception as again:  # noqa: BLE001
            log.error("its dead letter ended in a defect: %s", described(again))
            return self._answers(None, Outcome.ERROR, ack.UNAVAILABLE)

    async def _take(self, content: bytes, routed: Routing) -> bytes:
        head, digest = routed.header, digest_of(content)
        name = name_of((head.sending_application, head.sending_facility), head.control_id)
        one = self._earlier(name)
        reused = one is not None and one.digest != digest
        if reused and not self._accept_reused:
            return await self._reused(content, head)
        if reused:
            name = digest_of(name + digest)  # so that a repeat of either message is known
            one = self._earlier(name)
        if isinstance(one, Entry):
            return self._again(one.answer)
        if one is None:
            one = _UnderWay(digest, asyncio.ensure_future(self._keep(name, digest, content, routed, reused)))
            self._under_way[name] = one
            one.answer.add_done_callback(lambda done: self._settled(name, done))
        await asyncio.wait({one.answer}, timeout=self._patience)
        kept = one.answer.result() if one.answer.done() and not one.answer.cancelled() else None
        return self._answers(head, Outcome.ERROR, ack.UNAVAILABLE) if kept is None else kept

    def _earlier(self, name: bytes) -> Entry | _UnderWay | None:
        """The message that has this name: kept, or under way."""
        return self._ledger.get(name) or self._under_way.get(name)

    def _settled(self, name: bytes, done: "asyncio.Task[bytes | None]") -> None:
        self._under_way.pop(name)
        if not done.cancelled():
            done.exception()  # seen: asyncio would log its text when nobody waits any more

    async def _keep(self, name: bytes, digest: bytes, content: bytes, routed: Routing, reused: bool) -> bytes | None:
        """Publish, then answer and remember; None when the broker does not take it."""
        try:
            await self._publisher.publish(HL7_RAW, routed.patient, content, {})
        except TooLarge:
            rejected = Rejected(RejectReason.TOO_LARGE, hint=f"at most {HL7_RAW.max_bytes} bytes")
            return await self._refuse(content, routed.header, rejected, ack.fault(rejected))
        except PublishFailed as failed:
            if not await _kept_after_all(failed):
                return None
        answer = self._answers(routed.header, Outcome.ACCEPTED, None)
        self._ledger.put(name, digest, answer)
        if reused:
            metrics.CONTROL_IDS_REUSED.inc()
        return answer

    async def _reused(self, content: bytes, head: Header) -> bytes:
        hint = "an earlier message had this control id and other bytes"
        rejected = Rejected(RejectReason.CONTROL_ID_REUSED, "MSH-10", hint)
        return await self._refuse(content, head, rejected, ack.CONTROL_ID_REUSED)

    async def _refuse(self, content: bytes, head: Header | None, rejected: Rejected, fault: Fault) -> bytes:
        """AR once the dead letter is kept; AE while it cannot be."""
        now = int(self._clock() * 1000)
        letter = dead_letter(
            Message(HL7_RAW.name, NOT_ON_A_TOPIC, NOT_ON_A_TOPIC, None, content, {}, now), rejected, STEP
        )
        try:
            await self._publisher.publish(letter.topic, letter.key, letter.value, letter.headers)
        except PublishFailed:
            return self._answers(head, Outcome.ERROR, ack.UNAVAILABLE)
        metrics.DEAD_LETTERS.labels(STEP, rejected.reason.value).inc()
        log.info("a message was refused: %s at %s", rejected.reason.value, rejected.where or "-")
        return self._answers(head, Outcome.REJECTED, fault)

    def _answers(self, head: Header | None, outcome: Outcome, fault: Fault | None) -> bytes:
        at = datetime.fromtimestamp(int(self._clock()), UTC)
        answers = []
        for code in ack.codes(head, outcome):
            number = f"{self._start}{next(self._numbers):x}"
            answers.append(framed(ack.acknowledge(head, code, number, at, fault=fault)))
            metrics.ACKNOWLEDGED.labels(FORMAT, code).inc()
        return b"".join(answers)

    def _again(self, answer: bytes) -> bytes:
        metrics.ACKNOWLEDGED.labels(FORMAT, "again").inc()
        return answer


async def _kept_after_all(failed: PublishFailed) -> bool:
    """Whether a publish whose wait was given up is acknowledged in the end."""
    if failed.pending is None:
        return False
    try:
        await failed.pending
    except KafkaError:
        return False
    return True


def _header(content: bytes, site: Site) -> Header | None:
    """The header, to answer with; of a message that cannot be decoded what its MSH says up to MSH-17."""
    head = read_header(content, site)
    if isinstance(head, Rejected):
        first = b"".join(content.lstrip().splitlines()[:1])
        head = read_header(first[3:4].join(first.split(first[3:4] or b"|")[:17]), site)
    return None if isinstance(head, Rejected) else head
