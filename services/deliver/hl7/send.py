"""Sending: the messages of `hl7v2.out` to the hospital's receiver over MLLP, one at a time, each until it is answered.

A message is done, and its offset may be committed, once the receiver has said AA or CA. While nobody answers, or the
receiver says AE or CE, the same message is sent again, less and less often; nothing is taken out of Kafka meanwhile.
What it rejects (AR, CR), and what it answers with errors for `give_up` seconds, becomes a dead letter with the
receiver's code and place, never its words: they may name the patient.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence

from services.bus import metrics
from services.bus.health import Health
from services.bus.messages import Message, Output, dead_letter, received_at
from services.bus.topics import HL7_OUT, Topic
from services.domain.reasons import Rejected, RejectReason
from services.edge.mllp_client import MllpClient, Unacknowledged

log = logging.getLogger(__name__)

NAME = "deliver-hl7"
ACCEPTED, REJECTED, FAILED = ("AA", "CA"), ("AR", "CR"), ("AE", "CE")
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
CODES = frozenset((*ACCEPTED, *REJECTED, *FAILED))

_SEGMENT_ENDS = re.compile(rb"[\r\n]+")
_PLACE = re.compile(rb"(MSH|PID|PV1|OBR|OBX)(\^\d{1,4}){0,5}")  # segment, its number, field, repetition, component
_CONDITION = re.compile(rb"\d{1,3}(?!\d)")


class Send:
    """A `BatchStep` without outputs but dead letters. `connect` makes a client, at the start and after silence."""

    inputs: tuple[Topic, ...] = (HL7_OUT,)
    max_batch = 16  # they are sent again when the process is killed among them

    def __init__(
        self,
        connect: Callable[[], MllpClient],
        health: Health,
        *,
        give_up: float,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = NAME
        self._connect, self._health, self._give_up = connect, health, give_up
        self._clock, self._sleep = clock, sleep
        self._client: MllpClient | None = None
        self._problem = ""
        health.add_check("receiver", lambda: self._problem)

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Sequence[Output]]:
        return [await self._deliver(message) for message in messages]

    async def _deliver(self, message: Message) -> list[Output]:
        """Send until it is answered for good."""
        began, tries = self._clock(), 0
        while True:
            code, answer, problem = await self._try(message.value)
            metrics.HL7_OUT_ANSWERS.labels(code or "none").inc()
            if code in ACCEPTED:
                self._observe(message)
            self._tell("" if code in ACCEPTED or code in REJECTED else problem or f"answers {code}")
            if code in ACCEPTED:
                return []
            if code in REJECTED or (code in FAILED and self._clock() - began >= self._give_up):
                return [dead_letter(message, refusal(code, answer), self.name)]
            await self._sleep(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
            tries += 1

    async def _try(self, content: bytes) -> tuple[str, bytes, str]:
        """The receiver's code and answer, or no code and what is wrong."""
        self._health.paused()  # to wait for a receiver is not to be stuck
        self._client = self._client or self._connect()
        try:
            code, answer = await self._client.send(content)
        except (Unacknowledged, OSError) as error:
            client, self._client = self._client, None
            await client.close()
            silent = isinstance(error, Unacknowledged)
            return "", b"", "does not answer" if silent else f"cannot be reached ({type(error).__name__})"
        if code in CODES:
            return code, answer, ""
        return "", b"", "answers with no code of HL7 table 0008"

    def _tell(self, problem: str) -> None:
        """Say once that the receiver is away, and once that it is back."""
        if problem and not self._problem:
            log.warning("the receiver %s: what there is to send waits", problem)
        elif self._problem and not problem:
            log.info("the receiver takes messages again")
        self._problem = problem
        metrics.HL7_OUT_AWAY.set(bool(problem))

    def _observe(self, message: Message) -> None:
        if received := received_at(message.headers):
            metrics.HL7_OUT_SECONDS.observe(max(0.0, self._clock() - received / 1000))


def refusal(code: str, answer: bytes) -> Rejected:
    """Why the receiver did not take a message: its code, and of ERR (v2.8 section 2.15.5) condition and place alone."""
    fields = next((line.split(b"|") for line in _SEGMENT_ENDS.split(answer) if line.startswith(b"ERR|")), [])
    place, condition = (_field(fields, 2, _PLACE), _field(fields, 3, _CONDITION))
    hint = f"the receiver answered {code}" + (f", condition {condition} of HL7 table 0357" if condition else "")
    return Rejected(RejectReason.REFUSED_BY_RECEIVER, place, hint)


def _field(fields: list[bytes], number: int, form: re.Pattern[bytes]) -> str:
    """The beginning of a field as far as it has the form; empty where it has not."""
    found = form.match(fields[number]) if len(fields) > number else None
    return found[0].decode() if found else ""
