"""Sending: each patient's items in order, every answer counted, what could not be kept sent again, event time kept."""

import asyncio
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli import main
from services.edge.mllp_client import MllpClient, Unacknowledged, acknowledgement, answer_is_due, control_id
from services.local.ports import free_ports
from services.local.replay import run as module
from services.local.replay.channels import Answer, Verdict, _http_verdict, split_address
from services.local.replay.command import summary
from services.local.replay.report import ReplayReport
from services.local.replay.run import Clock, Run
from services.local.replay.source import Item, Stay
from tests.unit.edge.conftest import oru, running, until
from tests.unit.local.replay import samples


class Fixed:
    """A source of given items."""

    name, synthetic = "fixed", False

    def __init__(self, patients: dict[str, list[int]]) -> None:
        self._patients = patients

    def stays(self, limit: int | None) -> Iterator[Stay]:
        for name, moments in self._patients.items():
            made = [Item(at, "hl7v2", name, f"{name} {n}".encode()) for n, at in enumerate(sorted(moments))]
            yield Stay(name, min(moments), min(moments), lambda made=made: iter(made))


class Channel:
    """Answers as told, after random short waits; remembers what it kept."""

    def __init__(self, answer=lambda item, attempt: Answer(Verdict.KEPT, "AA")) -> None:
        self.kept: list[bytes] = []
        self.most = self.now = 0
        self._answer, self._attempts = answer, {}
        self.closed = False

    async def send(self, item: Item) -> Answer:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
        self.now -= 1
        content = item.content()
        self._attempts[content] = self._attempts.get(content, 0) + 1
        answer = self._answer(item, self._attempts[content])
        if answer.verdict is Verdict.KEPT:
            self.kept.append(content)
        return answer

    async def close(self) -> None:
        self.closed = True


async def sent(source, channel, **options) -> ReplayReport:
    return await Run(source, {"hl7v2": channel}, pauses=(0.0, 0.0), **options).whole()


patients = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.integers(0, 100), min_size=1, max_size=12), min_size=1, max_size=5
)


@given(patients, st.integers(1, 8))
def test_each_patients_items_arrive_in_order_and_no_more_are_in_flight_than_allowed(moments, in_flight):
    channel = Channel()
    report = asyncio.run(sent(Fixed(moments), channel, in_flight=in_flight))
    for name, times in moments.items():
        mine = [m for m in channel.kept if m.startswith(f"{name} ".encode())]
        assert mine == [f"{name} {n}".encode() for n in range(len(times))]
    assert channel.most <= in_flight
    assert report.sent == report.acknowledged.total() == sum(map(len, moments.values()))
    assert (report.patients, report.finished) == (len(moments), len(moments))
    assert channel.closed


async def test_what_could_not_be_kept_is_sent_again_before_the_patients_next_item():
    def answer(item, attempt):
        return Answer(Verdict.KEPT, "AA") if attempt > 2 else Answer(Verdict.AGAIN, "AE")

    channel = Channel(answer)
    report = await sent(Fixed({"a": [1, 2, 3], "b": [1]}), channel, in_flight=8)
    assert [m for m in channel.kept if m.startswith(b"a")] == [b"a 0", b"a 1", b"a 2"]
    assert (report.retries, report.answers["AE"], report.answers["AA"]) == (8, 8, 4)
    assert report.unacknowledged.total() == 0


async def test_what_is_never_kept_and_what_is_refused_are_told_apart():
    def answer(item, attempt):
        return {"a": Answer(Verdict.AGAIN, "AE"), "b": Answer(Verdict.REFUSED, "AR")}.get(
            item.patient, Answer(Verdict.KEPT, "AA")
        )

    report = await sent(Fixed({"a": [1], "b": [1], "c": [1]}), Channel(answer))
    assert (report.unacknowledged["hl7v2"], report.rejected["hl7v2"], report.acknowledged["hl7v2"]) == (1, 1, 1)
    assert report.retries == 2
    assert "unanswered 1" in summary(report)


async def test_a_message_that_is_never_kept_ends_the_replay_and_nothing_overtakes_it():
    def answer(item, attempt):
        return Answer(Verdict.AGAIN, "AE") if item.payload == b"a 3" else Answer(Verdict.KEPT, "AA")

    channel = Channel(answer)
    report = await sent(Fixed({"a": list(range(1000))}), channel, in_flight=2)
    assert channel.kept == [b"a 0", b"a 1", b"a 2"]
    assert report.stopped
    assert (report.sent, report.unacknowledged["hl7v2"]) == (4, 1)


def test_the_command_prints_on_a_dry_run_and_says_what_is_wrong(tmp_path, capsys, monkeypatch):
    samples.cinc2019(tmp_path)
    assert main(["replay", "cinc2019", str(tmp_path), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("MSH|") == 22
    assert "\r" not in shown
    monkeypatch.setenv("WARDSTREAM_MLLP_PORT", str(free_ports(1)[0]))
    assert main(["replay", "cinc2019", str(tmp_path)]) == 2
    assert "nobody listens at 127.0.0.1" in capsys.readouterr().err
    assert main(["replay", "cinc2019", str(tmp_path / "absent")]) == 2
    assert main(["replay", "cinc2019"]) == 2


async def test_event_time_runs_at_the_speed_that_was_asked_for(monkeypatch):
    now, slept = [0.0], []

    async def sleep(seconds):
        slept.append(round(seconds, 6))
        now[0] += seconds

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    clock = Clock(speed=60.0, live_ms=1_000_000)
    await clock.until(0)  # long before: not waited for
    await clock.until(1_000_000)
    await clock.until(1_060_000)  # a minute later: a second
    await clock.until(1_060_000)
    await clock.until(1_120_000)
    await clock.until(1_120_000 + 86_400_000)  # a day without events
    assert slept == [1.0, 1.0, module.MAX_GAP_S]


async def test_a_sender_that_falls_behind_does_not_slow_event_time_down(monkeypatch):
    now, slept = [0.0], []

    async def sleep(seconds):
        slept.append(round(seconds, 6))
        now[0] += seconds

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    clock = Clock(speed=1.0, live_ms=0)
    await clock.until(1000)
    now[0] += 2.5  # the edge was slow
    for second in (2, 3, 4):
        await clock.until(second * 1000)
    assert slept == [1.0, 0.5]  # due at 2 and 3 s: late already; due at 4 s: half a second left


def test_reports_add_up():
    one, two = ReplayReport("a", patients=1, seconds=2.0), ReplayReport("b", synthetic=True, patients=2, seconds=2.0)
    one.messages["hl7v2"], two.messages["hl7v2"], two.messages["dicom"] = 3, 4, 1
    whole = one + two
    assert (whole.source, whole.patients, whole.messages["hl7v2"], whole.sent, whole.per_second) == (
        "a+b",
        3,
        7,
        8,
        2.0,
    )
    assert whole.synthetic
    assert whole.as_dict()["messages"] == {"hl7v2": 7, "dicom": 1}


def test_headers_and_acknowledgements_are_read():
    assert control_id(oru("77")) == control_id(b"\xef\xbb\xbf" + oru("77")) == b"77"
    assert control_id(b"MSH|^~\\&|A") == b""
    assert [answer_is_due(oru(ack=a)) for a in ("|", "AL|NE", "NE|NE", "NE|AL", "ER|ER")] == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert acknowledgement(b"MSH|^~\\&|\rMSA|AA|77\r") == ("AA", b"77")
    assert acknowledgement(b"nothing") == ("", b"")
    assert split_address("[::1]:2575") == ("::1", 2575)
    assert [_http_verdict(s) for s in (201, 422, 503, 429)] == [
        Verdict.KEPT,
        Verdict.REFUSED,
        Verdict.AGAIN,
        Verdict.AGAIN,
    ]


async def test_many_messages_in_flight_get_each_its_own_answer():
    async with running() as bench:
        client = MllpClient("127.0.0.1", bench.listener.port)
        answers = await asyncio.gather(*(client.send(oru(str(n), str(n))) for n in range(200)))
        assert [acknowledgement(ack)[1] for _, ack in answers] == [str(n).encode() for n in range(200)]
        await client.close()


async def test_after_a_broken_connection_what_was_in_flight_is_sent_again_and_kept_once():
    async with running() as bench:
        bench.publisher.gate.clear()
        client = MllpClient("127.0.0.1", bench.listener.port)
        sending = [asyncio.ensure_future(client.send(oru(str(n), str(n)))) for n in range(5)]
        await until(lambda: bench.publisher.attempts == 5)
        client._writer.transport.abort()
        bench.publisher.gate.set()
        assert [(await one)[0] for one in sending] == ["AA"] * 5
        assert len(bench.publisher.messages) == 5
        await client.close()


async def test_a_silent_edge_is_told_from_one_that_refuses():
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    client = MllpClient("127.0.0.1", server.sockets[0].getsockname()[1], timeout=0.2)
    with pytest.raises(Unacknowledged):
        await client.send(oru())
    await client.close()
    server.close()
