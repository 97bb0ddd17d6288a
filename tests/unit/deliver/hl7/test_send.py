"""Sending by MLLP to a receiver that nobody here wrote: python-hl7's server."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

import msgspec
import pytest
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server
from hypothesis import given
from hypothesis import strategies as st

from services.bus.health import Health
from services.bus.messages import DeadLetter, Message
from services.bus.topics import HL7_OUT
from services.deliver.hl7.send import BACKOFF_S, Send, refusal
from services.domain.reasons import Rejected, RejectReason
from services.edge.mllp_client import MllpClient
from services.formats.hl7v2.risk import risk_oru
from tests.unit.formats.hl7v2.test_render_and_structure import ENVELOPE, PERSON
from tests.unit.formats.hl7v2.test_render_and_structure import prediction as a_prediction

SILENCE = ""


class Peer:
    """python-hl7's server on a port of its own. It answers with `codes` in turn, then AA."""

    def __init__(self, *codes: str) -> None:
        self.codes = list(codes)
        self.received: list[str] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: list[HL7StreamWriter] = []

    async def start(self) -> None:
        self._server = await start_hl7_server(self._serve, "127.0.0.1", self.port, encoding="utf-8")
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                message = await reader.readmessage()
                self.received.append(str(message["MSH.F10"]))
                code = self.codes.pop(0) if self.codes else "AA"
                if code != SILENCE:
                    ack = str(message.create_ack(code))
                    writer.writeblock(ack.encode() + (b"" if code in ("AA", "CA") else ERROR))
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


ERROR = b"\rERR||PID^1^3|204^Unknown key identifier^HL70357|E||||No patient 7 O'Neill here"


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    await made.start()
    yield made
    await made.stop()


class Clock:
    """Time that passes only by sleeping. `slept` holds every pause; `on_sleep` may do something at each."""

    def __init__(self, on_sleep: Callable[[int], object] = lambda _: None) -> None:
        self.now, self.slept, self._on_sleep = 0.0, list[float](), on_sleep

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        done = self._on_sleep(len(self.slept))
        if asyncio.iscoroutine(done):
            await done


def sender(peer: Peer, clock: Clock, *, timeout: float = 5.0, give_up: float = 3600.0) -> tuple[Send, Health]:
    health = Health(60.0)
    health.set_ready(True)
    connect = partial(MllpClient, "127.0.0.1", peer.port, timeout=timeout)
    return Send(connect, health, give_up=give_up, clock=lambda: clock.now, sleep=clock.sleep), health


def messages(*control_ids: str) -> list[Message]:
    made = []
    for n, control_id in enumerate(control_ids):
        raw = risk_oru(replace(ENVELOPE, control_id=control_id), PERSON, a_prediction())
        made.append(Message(HL7_OUT.name, 0, n, b"p", raw, {}, 1))
    return made


async def test_messages_go_one_after_the_other_in_their_order_until_accepted(peer: Peer) -> None:
    peer.codes = ["AA", "CA"]
    send, health = sender(peer, Clock())
    assert await send(messages("1", "2", "3")) == [[], [], []]
    assert peer.received == ["1", "2", "3"]
    assert health.readiness() == ""


async def test_an_error_is_sent_again_less_and_less_often_and_nothing_overtakes_it(peer: Peer) -> None:
    peer.codes = ["AE"] * 8
    problems = []
    clock = Clock(lambda _: problems.append(health.readiness()))
    send, health = sender(peer, clock)
    assert await send(messages("1", "2")) == [[], []]
    assert peer.received == ["1"] * 9 + ["2"]
    assert clock.slept == [*BACKOFF_S, BACKOFF_S[-1], BACKOFF_S[-1]]
    assert set(problems) == {"receiver: answers AE"}
    assert health.readiness() == ""


async def test_what_is_rejected_becomes_a_dead_letter_that_does_not_say_what_the_receiver_said(peer: Peer) -> None:
    peer.codes = ["AR"]
    send, _ = sender(peer, Clock())
    (rejected,), nothing = await send(messages("1", "2"))
    letter = msgspec.json.decode(rejected.value, type=DeadLetter)
    assert (letter.reason, letter.where, letter.step) == ("refused_by_receiver", "PID^1^3", "deliver-hl7")
    assert letter.hint == "the receiver answered AR, condition 204 of HL7 table 0357"
    assert nothing == []


async def test_errors_that_do_not_end_set_the_message_aside_after_the_time_for_it(peer: Peer) -> None:
    peer.codes = ["AE"] * 5
    send, _ = sender(peer, Clock(), give_up=sum(BACKOFF_S[:4]))
    (output,), nothing = await send(messages("1", "2"))
    assert msgspec.json.decode(output.value, type=DeadLetter).hint.startswith("the receiver answered AE")
    assert (nothing, peer.received) == ([], ["1"] * 5 + ["2"])


async def test_a_silent_receiver_gets_the_same_message_again_on_a_new_connection(peer: Peer) -> None:
    peer.codes = [SILENCE]
    problems = []
    send, health = sender(peer, Clock(lambda _: problems.append(health.readiness())), timeout=0.2)
    assert await send(messages("1")) == [[]]
    assert peer.received == ["1", "1"]
    assert problems == ["receiver: does not answer"]


async def test_what_waits_for_a_receiver_that_is_away_is_sent_when_it_is_back(peer: Peer) -> None:
    await peer.stop()
    problems = []

    async def back(pause: int) -> None:
        problems.append(health.readiness())
        if pause == 2:
            await peer.start()

    send, health = sender(peer, Clock(back), timeout=0.3)
    assert await send(messages("1", "2")) == [[], []]
    assert peer.received == ["1", "2"]
    assert len(problems) == 2
    assert all(problems)
    assert health.liveness() == ""


@pytest.mark.parametrize(
    "answer", [b"MSH|^~\\&|\rMSA|AR|1", b"MSH|^~\\&|\rMSA|AR|1\rERR|", b"MSA|AR\rERR||Smith|Jones"]
)
def test_an_answer_without_a_coded_reason_gives_its_code_alone(answer: bytes) -> None:
    assert refusal("AR", answer) == Rejected(RejectReason.REFUSED_BY_RECEIVER, "", "the receiver answered AR")


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_nothing_but_a_place_and_a_number_is_taken_of_an_answer(where: bytes, condition: bytes) -> None:
    rejected = refusal("AR", b"MSA|AR|1\rERR||" + where + b"|" + condition)
    assert re.fullmatch(r"((MSH|PID|PV1|OBR|OBX)(\^\d{1,4}){0,5})?", rejected.where)
    assert re.fullmatch(r"the receiver answered AR(, condition \d{1,3} of HL7 table 0357)?", rejected.hint)
