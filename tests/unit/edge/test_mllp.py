"""An acknowledgement means kept; what is not kept is said not to be; nothing that reached the listener vanishes."""

import asyncio
import gc
import json
import shutil
import ssl
import subprocess
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.bus import metrics
from services.bus.messages import DeadLetter
from services.bus.topics import DEAD_LETTERS, HL7_RAW
from services.domain.identity import patient_key
from services.edge import acceptance
from services.edge.framing import Deframer, framed
from services.edge.mllp import server_tls
from services.formats.hl7v2.control import routing
from tests.unit.edge.conftest import SITE, oru, running, until


def letters(bench):
    return [msgspec.json.decode(m.value, type=DeadLetter) for m in bench.publisher.on(DEAD_LETTERS)]


async def test_a_message_is_published_as_sent_under_the_patients_pseudonym(bench):
    sender = await bench.sender()
    assert await sender.ask(oru()) == "AA"
    (published,) = bench.publisher.on(HL7_RAW)
    assert published.value == oru()
    assert published.key == patient_key("HOSP", "100", SITE.secret) == routing(oru(), SITE).patient


async def test_no_acknowledgement_before_the_broker_has_the_message(bench):
    bench.publisher.gate.clear()
    sender = await bench.sender()
    await sender.write(framed(oru()))
    await until(lambda: bench.publisher.attempts == 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sender.reader.read(1), 0.1)
    bench.publisher.gate.set()
    assert (await sender.answer())["MSA"][1] == "AA"


async def test_without_a_broker_the_answer_is_ae_and_a_later_repeat_is_kept(bench):
    bench.publisher.away = True
    sender = await bench.sender()
    assert await sender.ask(oru()) == "AE"
    bench.publisher.away = False
    assert await sender.ask(oru()) == "AA"
    assert len(bench.publisher.on(HL7_RAW)) == 1


async def test_a_broker_that_does_not_answer_in_time_gives_ae_and_the_repeat_is_not_published_twice():
    async with running(patience=0.2) as bench:
        bench.publisher.gate.clear()
        sender = await bench.sender()
        assert await sender.ask(oru()) == "AE"
        assert await sender.ask(oru()) == "AE"
        bench.publisher.gate.set()
        assert await sender.ask(oru()) == "AA"
        assert len(bench.publisher.on(HL7_RAW)) == 1


async def test_a_repeat_gets_the_same_answer_and_is_not_published_again(bench):
    sender, other = await bench.sender(), await bench.sender()
    await sender.ask(oru())
    first = sender.last
    await other.ask(oru())
    assert other.last == first
    assert len(bench.publisher.on(HL7_RAW)) == 1


async def test_a_repeat_while_the_first_is_under_way_waits_for_the_same_answer(bench):
    bench.publisher.gate.clear()
    one, two = await bench.sender(), await bench.sender()
    await one.write(framed(oru()))
    await two.write(framed(oru()))
    await until(lambda: bench.publisher.attempts == 1)
    bench.publisher.gate.set()
    await one.answer(), await two.answer()
    assert one.last == two.last
    assert len(bench.publisher.on(HL7_RAW)) == 1


async def test_a_repeat_after_a_restart_gets_the_same_answer(tmp_path):
    async with running(tmp_path / "ledger") as bench:
        sender = await bench.sender()
        await sender.ask(oru())
        first = sender.last
    async with running(tmp_path / "ledger") as bench:
        sender = await bench.sender()
        await sender.ask(oru())
        assert sender.last == first
        assert bench.publisher.messages == []


async def test_the_same_control_id_with_other_bytes_is_refused_and_kept(bench):
    sender = await bench.sender()
    assert await sender.ask(oru(value="7")) == "AA"
    assert await sender.ask(oru(value="8")) == "AR"
    assert [m.value for m in bench.publisher.on(HL7_RAW)] == [oru(value="7")]
    (letter,) = letters(bench)
    assert (letter.reason, letter.value) == ("control_id_reused", oru(value="8"))


async def test_where_the_site_says_so_a_control_id_that_comes_again_is_taken_and_counted():
    counted = metrics.CONTROL_IDS_REUSED._value.get
    before = counted()
    async with running(reuse=True) as bench:
        bench.publisher.gate.clear()
        sender = await bench.sender()
        for value in "7", "8":
            await sender.write(framed(oru(value=value)))
        await until(lambda: bench.publisher.attempts == 2)
        bench.publisher.gate.set()
        answers = []
        for _ in range(2):
            assert (await sender.answer())["MSA"][1:3] == ["AA", "1"]
            answers.append(sender.last)
        for value, answer in zip("87", reversed(answers), strict=True):
            assert await sender.ask(oru(value=value)) == "AA"
            assert sender.last == answer, "each of them is known again"
        assert [m.value for m in bench.publisher.on(HL7_RAW)] == [oru(value="7"), oru(value="8")]
        assert letters(bench) == []
    assert counted() - before == 1


@pytest.mark.parametrize(
    ("where", "name", "raw", "control"),
    [
        (acceptance, "routing", oru(), "1"),
        (acceptance, "read_header", b"MSH|^~\\&|not to be routed", ""),
        (acceptance.ack, "codes", oru(), "1"),
    ],
)
async def test_a_defect_answers_ar_keeps_the_bytes_and_says_nothing_of_the_patient(
    bench, monkeypatch, caplog, where, name, raw, control
):
    monkeypatch.setattr(where, name, _failing_once(getattr(where, name)))
    sender = await bench.sender()
    await sender.write(framed(raw))
    answer = await sender.answer()
    assert answer["MSA"][1:3] == ["AR", control]
    (letter,) = letters(bench)
    assert (letter.reason, letter.value) == ("step_failed", raw)
    assert await sender.ask(oru("2")) == "AA", "the connection goes on"
    gc.collect()
    assert "KeyError at test_mllp.py:" in caplog.text
    assert "FEATHERSTONEHAUGH" not in caplog.text + str(answer)


def _failing_once(function):
    def broken(*_arguments):
        raise KeyError("FEATHERSTONEHAUGH^JANE")

    calls = iter([broken])
    return lambda *arguments: next(calls, function)(*arguments)


async def test_a_defect_where_not_even_a_dead_letter_can_be_kept_answers_ae(bench, monkeypatch, caplog):
    async def broken(*_args):
        raise RuntimeError("FEATHERSTONEHAUGH^JANE")

    monkeypatch.setattr(bench.publisher, "publish", broken)
    sender = await bench.sender()
    assert await sender.ask(oru()) == "AE"
    monkeypatch.undo()
    assert await sender.ask(oru()) == "AA"
    gc.collect()
    assert "FEATHERSTONEHAUGH" not in caplog.text


@pytest.mark.parametrize(
    ("raw", "reason", "control"),
    [
        (b"GET / HTTP/1.1", "not_hl7", ""),
        (b"", "empty", ""),
        (oru().replace(b"|1|P|", b"||P|"), "missing_control_id", ""),
        (oru().replace(b"ORU^R01^ORU_R01", b""), "missing_message_type", "1"),
        (oru().replace(b"100^^^HOSP^MR", b""), "missing_patient", "1"),
        (oru() + b"NTE|1||\xff\r", "undecodable_text", "1"),
        (oru(ack="|||EBCDIC"), "unknown_charset", "1"),
    ],
)
async def test_a_message_that_cannot_be_routed_is_kept_and_refused_with_its_reason(bench, raw, reason, control):
    sender = await bench.sender()
    await sender.write(framed(raw))
    answer = await sender.answer()
    assert answer["MSA"][1] == "AR"
    assert answer["MSA"][2] == control
    assert "ERR" in answer
    (letter,) = letters(bench)
    assert (letter.reason, letter.value, letter.step) == (reason, raw, "edge")
    assert bench.publisher.on(HL7_RAW) == []


async def test_a_bad_frame_is_kept_and_refused_and_the_next_is_taken(bench):
    sender = await bench.sender()
    await sender.write(b"noise\r\n\x0b" + oru("1")[:40] + framed(oru("2")))
    assert [(await sender.answer())["MSA"][1] for _ in range(3)] == ["AR", "AR", "AA"]
    assert [letter.value for letter in letters(bench)] == [b"noise", oru("1")[:40]]


async def test_a_frame_above_the_cap_is_kept_in_part_and_refused():
    async with running(max_bytes=1000) as bench:
        sender = await bench.sender()
        big = oru("9") + b"NTE|1||" + b"x" * 200_000 + b"\r"
        await sender.write(framed(big))
        answer = await sender.answer()
        assert answer["MSA"][1:3] == ["AR", "9"]
        assert await sender.ask(oru("2")) == "AA"
        (letter,) = letters(bench)
        assert (letter.reason, letter.value) == ("too_large", big[:1000])


async def test_a_dead_letter_that_cannot_be_written_gives_ae_not_ar(bench):
    bench.publisher.away = True
    sender = await bench.sender()
    assert await sender.ask(b"nonsense") == "AE"


async def test_a_frame_that_does_not_end_in_time_is_kept_and_refused():
    async with running(frame_timeout=0.2) as bench:
        sender = await bench.sender()
        await sender.write(b"\x0b" + oru())
        assert (await sender.answer())["MSA"][1:3] == ["AR", "1"]
        with pytest.raises(EOFError):
            await sender.answer()
        assert [letter.value for letter in letters(bench)] == [oru()]


async def test_a_slow_sender_of_whole_frames_is_not_cut_off():
    async with running(frame_timeout=0.3) as bench:
        sender = await bench.sender()
        data = b"".join(framed(oru(str(n))) for n in range(8))
        for at in range(
            0, len(data), 150
        ):  # 8 frames over about 1 s: each is whole in time, a new one has always begun
            await sender.write(data[at : at + 150])
            await asyncio.sleep(0.06)
        assert [(await sender.answer())["MSA"][2] for _ in range(8)] == [str(n) for n in range(8)]


async def test_a_frame_cut_off_by_a_closed_connection_is_kept(bench):
    sender = await bench.sender()
    await sender.write(b"\x0b" + oru())
    sender.writer.write_eof()
    assert (await sender.answer())["MSA"][1] == "AR"
    assert [letter.value for letter in letters(bench)] == [oru()]


async def test_pipelined_messages_are_answered_in_their_order(bench):
    sender = await bench.sender()
    await sender.write(b"".join(framed(oru(str(n), str(n % 7))) for n in range(300)))
    assert [(await sender.answer())["MSA"][2] for _ in range(300)] == [str(n) for n in range(300)]
    assert len(bench.publisher.on(HL7_RAW)) == 300


async def test_messages_in_small_pieces_are_taken(bench):
    sender = await bench.sender()
    for byte in framed(oru()):
        await sender.write(bytes([byte]))
    assert (await sender.answer())["MSA"][1] == "AA"


async def test_a_sender_that_is_not_answered_is_not_read_for_ever():
    async with running(unanswered_bytes=10_000, patience=30) as bench:
        bench.publisher.gate.clear()
        sender = await bench.sender()
        message = framed(oru("1", extra="NTE|1||" + "x" * 3000 + "\r"))
        flood = asyncio.ensure_future(sender.write(message * 5000))
        await until(lambda: bench.publisher.attempts >= 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(flood), 0.3)
        assert len(bench.acceptance._under_way) <= 4
        flood.cancel()


async def test_each_patients_messages_keep_their_order_over_many_connections(bench):
    senders = [await bench.sender() for _ in range(4)]
    bench.publisher.gate.clear()
    for n in range(40):
        await senders[n % 4].write(framed(oru(str(n), str(n % 2))))
        await until(lambda n=n: bench.publisher.attempts == n + 1)
    bench.publisher.gate.set()
    for n in range(40):
        await senders[n % 4].answer()
    for patient in "01":
        key = patient_key("HOSP", patient, SITE.secret)
        kept = [m.value for m in bench.publisher.on(HL7_RAW) if m.key == key]
        assert kept == [oru(str(n), patient) for n in range(40) if str(n % 2) == patient]


async def test_a_sender_that_has_gone_does_not_stop_its_messages(bench):
    bench.publisher.gate.clear()
    sender = await bench.sender()
    await sender.write(framed(oru()))
    await until(lambda: bench.publisher.attempts == 1)
    sender.writer.transport.abort()
    bench.publisher.gate.set()
    await until(lambda: len(bench.publisher.on(HL7_RAW)) == 1)
    assert await (await bench.sender()).ask(oru()) == "AA"
    assert len(bench.publisher.on(HL7_RAW)) == 1


@pytest.mark.parametrize(
    ("ack", "good", "bad"),
    [
        ("|", ["AA"], ["AR"]),
        ("AL|NE", ["CA"], ["CR"]),
        ("AL|AL", ["CA", "AA"], ["CR"]),
        ("NE|NE", [], []),
        ("ER|NE", [], ["CR"]),
        ("SU|NE", ["CA"], []),
        ("NE|AL", ["AA"], ["AR"]),
    ],
)
async def test_enhanced_mode_answers_what_the_sender_asks_for(bench, ack, good, bad):
    sender = await bench.sender()
    await sender.write(framed(oru("1", ack=ack)) + framed(oru("2", patient="", ack=ack)) + framed(oru("end")))
    answers = []
    while not answers or answers[-1][1] != "end":
        msa = (await sender.answer())["MSA"]
        answers.append((msa[1], msa[2]))
    assert answers == [(c, "1") for c in good] + [(c, "2") for c in bad] + [("AA", "end")]


@pytest.mark.parametrize(
    "acknowledgement",
    [
        "MSH|^~\\&|LAB|HOSP|WS|WS|20250101120000||ACK|A1|P|2.3\rMSA|AA|1\r",
        "MSH|^~\\&|LAB|HOSP|WS|WS|20250101120000||ACK^R01^ACK|A1|P|2.5.1|||AL|AL\rMSA|AE|1\rERR||||E\r",
        "MSH|^~\\&|LAB|HOSP|WS|WS|20250101120000||ACK^R01^ACK|A1|P|2.5.1|||NE|NE\rMSA|CA|1\r",
        "MSH|^~\\&|LAB|HOSP|WS|WS|20250101120000||ACK||P|2.5.1\rMSA|AR|1\r",
    ],
    ids=["original", "asks for more", "accept", "without a control id"],
)
async def test_an_acknowledgement_is_not_acknowledged_and_the_next_message_is(bench, acknowledgement, caplog):
    caplog.set_level("INFO")
    before = metrics.ACKNOWLEDGEMENTS_DROPPED._value.get()
    sender = await bench.sender()
    for _ in range(2):
        await sender.write(framed(acknowledgement.encode()))
    assert await sender.ask(oru("7")) == "AA"
    assert [m.value for m in bench.publisher.messages] == [oru("7")]
    assert metrics.ACKNOWLEDGEMENTS_DROPPED._value.get() - before == 2
    assert "an acknowledgement came in" in caplog.text
    assert "HOSP" not in caplog.text


async def test_an_answer_of_ours_that_is_sent_back_is_met_with_silence(bench):
    """Two engines that forward everything to each other would else never end."""
    one, other = await bench.sender(), await bench.sender()
    assert await one.ask(oru("1")) == "AA"
    await other.write(framed(one.last))
    await other.write(framed(oru("2")))
    assert (await other.answer())["MSA"][2] == "2"


async def test_connections_above_the_limit_are_turned_away():
    async with running(max_connections=2) as bench:
        one, two = await bench.sender(), await bench.sender()
        assert [await one.ask(oru("1")), await two.ask(oru("2"))] == ["AA", "AA"]
        three = await bench.sender()
        with pytest.raises((EOFError, ConnectionError)):
            await three.ask(oru("3"))
        await one.close()
        await until(lambda: len(bench.listener._connections) == 1)
        assert await (await bench.sender()).ask(oru("4")) == "AA"


async def test_stopping_answers_what_has_come_and_takes_no_more(bench):
    bench.publisher.gate.clear()
    sender = await bench.sender()
    await sender.write(framed(oru("1")))
    await until(lambda: bench.publisher.attempts == 1)
    stopping = asyncio.ensure_future(bench.listener.stop())
    await asyncio.sleep(0.05)
    await sender.write(framed(oru("2")))
    bench.publisher.gate.set()
    assert (await sender.answer())["MSA"][1:3] == ["AA", "1"]
    await stopping
    assert len(bench.publisher.on(HL7_RAW)) == 1
    with pytest.raises(ConnectionRefusedError):
        await bench.sender()


pieces = st.one_of(
    st.integers(0, 9).map(lambda n: framed(oru(str(n), str(n)))),
    st.binary(max_size=30),
    st.binary(max_size=30).map(framed),
)


@settings(max_examples=25)
@given(st.lists(pieces, max_size=8), st.integers(1, 50))
def test_any_bytes_are_answered_or_kept_and_the_next_connection_is_served(parts, size):
    async def run():
        async with running() as bench:
            sender = await bench.sender()
            data = b"".join(parts)
            for at in range(0, len(data), size):
                await sender.write(data[at : at + size])
            sender.writer.write_eof()
            answers = 0
            with suppress(EOFError):
                while True:
                    await sender.answer()
                    answers += 1
            assert answers == len(deframed(data))
            assert await (await bench.sender()).ask(oru("last")) == "AA"

    asyncio.run(run())


def deframed(data):
    deframer = Deframer(1 << 24)
    return [*deframer.feed(data), *([left] if (left := deframer.end()) else [])]


def certificates(folder):
    """An authority, a server's and a client's certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    new = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *new, "-days", 2, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("server", "client"):
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "request")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-days", 2, "-extfile", "names", "-out", f"{name}.pem")
        openssl("x509", "-req", "-in", "request", *signed)


async def test_with_mutual_tls_only_senders_with_a_certificate_are_heard(tmp_path):
    certificates(tmp_path)
    server = server_tls(str(tmp_path / "server.pem"), str(tmp_path / "server.key"), str(tmp_path / "ca.pem"))
    async with running(tls=server) as bench:
        client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with pytest.raises((OSError, EOFError)):
            await (await bench.sender(ssl=client)).ask(oru("1"))
        client.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
        assert await (await bench.sender(ssl=client)).ask(oru("2")) == "AA"
        with pytest.raises((OSError, EOFError)):
            await (await bench.sender()).ask(oru("3"))  # no TLS at all
        assert [m.value for m in bench.publisher.on(HL7_RAW)] == [oru("2")]


async def test_nothing_of_a_patient_is_logged(bench, caplog):
    caplog.set_level("DEBUG")
    sender = await bench.sender()
    for message in (oru(), oru(value="8"), b"PID|1||100^^^HOSP||DOE^JANE", oru("2", patient="")):
        await sender.ask(message)
    for word in ("DOE", "JANE", "100^", "19500101"):
        assert word not in caplog.text
    for published in bench.publisher.messages:
        assert published.key != "100"
        assert not any(b"DOE" in v for v in published.headers.values())
    assert json.dumps([letter.hint for letter in letters(bench)]).find("DOE") < 0
