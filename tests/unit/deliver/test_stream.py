import asyncio

import pytest

from services.deliver import stream as module
from services.deliver.stream import Evicted, Stream


async def take(subscription, count):
    frames = []
    async for chunk in subscription.chunks():
        frames += chunk.split(b"\n\n")[:-1]
        if len(frames) >= count:
            return frames


async def test_every_subscriber_gets_every_event_in_order():
    stream = Stream("run")
    with stream.subscribe() as one, stream.subscribe() as two:
        for n in range(5):
            stream.publish("row", b"%d" % n)
        first, second = await asyncio.gather(take(one, 5), take(two, 5))
    assert first == second
    assert [frame.split(b"data: ")[1].strip() for frame in first] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_client_that_does_not_read_is_let_go_and_the_others_are_not(monkeypatch):
    monkeypatch.setattr(module, "QUEUE", 3)
    stream = Stream("run")
    with stream.subscribe() as slow, stream.subscribe() as quick:
        reader = quick.chunks()
        for n in range(5):
            stream.publish("row", b"%d" % n)
            await anext(reader)
        with pytest.raises(Evicted):
            await anext(slow.chunks())


async def test_who_comes_back_gets_what_was_missed():
    stream = Stream("run")
    for n in range(5):
        stream.publish("row", b"%d" % n)
    assert [frame.split(b"data: ")[1].strip() for frame in stream.missed("run-3")] == [b"3", b"4"]
    assert stream.missed("run-5") == []


async def test_who_comes_back_too_late_or_to_another_process_is_told_to_load_anew(monkeypatch):
    monkeypatch.setattr(module, "RING", 3)
    stream = Stream("run")
    for n in range(9):
        stream.publish("row", b"%d" % n)
    assert stream.missed("run-2") is None
    assert stream.missed("other-8") is None
    assert stream.missed("") is None
    assert stream.missed("run-99") is None
    assert stream.missed("run-²") is None


async def test_who_comes_back_from_before_a_time_when_nobody_looked_is_told_to_load_anew():
    stream = Stream("run")
    stream.publish("row", b"1")
    stream.skip()
    assert stream.missed("run-1") is None
    assert stream.missed("run-2") == []
    stream.publish("row", b"3")
    assert len(stream.missed("run-2")) == 1


async def test_a_quiet_stream_is_kept_alive(monkeypatch):
    monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.01)
    with Stream("run").subscribe() as subscription:
        assert await anext(subscription.chunks()) == b": keep-alive\n\n"


async def test_nothing_stays_behind_when_a_client_leaves():
    stream = Stream("run")
    with stream.subscribe():
        assert len(stream) == 1
    assert len(stream) == 0


async def test_readers_end_when_the_process_stops():
    stream = Stream("run")
    with stream.subscribe() as subscription:
        waiting = asyncio.create_task(anext(subscription.chunks()))
        await asyncio.sleep(0)
        stream.close()
        assert await asyncio.wait_for(waiting, 5) == b""
        with pytest.raises(StopAsyncIteration):
            await anext(subscription.chunks())
