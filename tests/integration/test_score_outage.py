"""The models die in mid-stream (invariant 8): records wait, have a NEWS2 meanwhile, and are scored once they are back.

`test_score_process.py` kills the whole server, under the services' own processes.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from services.bus.admin import create_topics
from services.bus.health import Health
from services.bus.loop_engine import group_of
from services.bus.run import make_engine
from services.bus.settings import Settings
from services.bus.topics import DEAD_LETTERS, RISK_PREDICTIONS, Topic
from services.domain.prediction import Prediction, Status, prediction_id
from services.domain.record import PatientRecord, encode_record
from services.local.triton import LocalTriton
from services.score.deploy import champion, scorer
from services.score.fallback import MODEL as NEWS2
from services.score.fallback import FallbackStep
from services.score.progress import KafkaProgress
from services.score.step import ScoreStep
from tests.triton_fixture import write_fusion
from tests.unit.score.records import WELL, record

pytestmark = [pytest.mark.kafka, pytest.mark.triton]

EACH = 60  # records before, during and after the outage


def kill_models(server: LocalTriton) -> None:
    """The models' own processes: the server goes on saying that it is ready."""
    stubs = [p for p in psutil.Process(server.endpoint.pid).children(recursive=True) if "stub" in p.name()]
    for stub in stubs:
        stub.kill()


class Seen:
    """What consumers of risk.predictions have seen of this test's patients."""

    def __init__(self) -> None:
        self.by_id: dict[str, set[bytes]] = {}
        self.predictions: list[Prediction] = []
        self.changed = asyncio.Event()

    def add(self, value: bytes) -> None:
        found = msgspec.json.decode(value, type=Prediction)
        self.by_id.setdefault(found.prediction_id, set()).add(value)
        self.predictions.append(found)
        self.changed.set()

    def versions(self, status: Status) -> set[str]:
        return {p.record_version for p in self.predictions if any(r.status is status for r in p.risks)}

    async def until(self, condition: Callable[[], bool], timeout_s: float = 40.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def watching(settings: Settings, prefix: str) -> AsyncIterator[Seen]:
    seen = Seen()
    consumer = AIOKafkaConsumer(
        RISK_PREDICTIONS.name, bootstrap_servers=settings.bootstrap, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()

    async def follow() -> None:
        async for one in consumer:
            if one.key and one.key.startswith(prefix.encode()):
                seen.add(one.value)

    task = asyncio.create_task(follow())
    try:
        yield seen
    finally:
        task.cancel()
        await consumer.stop()


@asynccontextmanager
async def services(settings: Settings, topic: Topic) -> AsyncIterator[tuple[ScoreStep, FallbackStep]]:
    """Scoring and its fallback on the engine, as their services wire them, reading this test's own topic."""
    models = champion(settings)
    score, fallback = ScoreStep(scorer(models, settings)), FallbackStep(None, scorer(models, settings).away)
    score.inputs = fallback.inputs = (topic,)
    score.name, fallback.name = f"score-{topic.name}", f"fallback-{topic.name}"
    fallback._progress = KafkaProgress(settings, group_of(score))
    engines = [make_engine(step, settings, Health(settings.stall_after)) for step in (score, fallback)]
    tasks = [asyncio.create_task(engine.run()) for engine in engines]
    try:
        yield score, fallback
    finally:
        for engine in engines:
            await engine.stop()
        await asyncio.gather(*tasks)
        await fallback._progress.close()


def patients(prefix: str, start: int) -> list[PatientRecord]:
    return [record(f"{prefix}{n}", 1, {**WELL, "hr": 50.0 + n % 100}) for n in range(start, start + EACH)]


async def test_no_record_is_lost_none_is_left_unscored_and_each_has_one_name(
    bus_settings: Settings, make_topic, tmp_path: Path
):
    prefix = uuid.uuid4().hex[:8]
    write_fusion(tmp_path / "models")
    create_topics(bus_settings, [RISK_PREDICTIONS, DEAD_LETTERS])
    topic = make_topic("records")
    server = LocalTriton(tmp_path / "run", tmp_path / "models")
    server.start()
    settings = replace(bus_settings, triton_url=server.url, models=tmp_path / "models")
    before, during, after = (patients(prefix, start) for start in (0, EACH, 2 * EACH))
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, acks="all")
    await producer.start()

    async def publish(records: list[PatientRecord]) -> set[str]:
        for one in records:
            await producer.send_and_wait(topic.name, encode_record(one), one.patient.encode())
        return {one.record_version for one in records}

    try:
        async with watching(settings, prefix) as seen, services(settings, topic):
            wanted = await publish(before)
            await seen.until(lambda: seen.versions(Status.SCORED) >= wanted)
            kill_models(server)
            waiting = await publish(during)
            await seen.until(lambda: seen.versions(Status.FALLBACK) >= waiting)
            assert not waiting & seen.versions(Status.SCORED)
            await asyncio.to_thread(server.restart)
            wanted |= waiting | await publish(after)
            await seen.until(lambda: seen.versions(Status.SCORED) >= wanted)
    finally:
        await producer.stop()
        server.kill()

    scored = [p for p in seen.predictions if p.model == "risk_fusion"]
    assert {p.record_version for p in scored} == wanted
    assert {p.prediction_id for p in scored} == {prediction_id(v, "risk_fusion", "1") for v in wanted}
    assert all(len(values) == 1 for values in seen.by_id.values()), "the same id always has the same bytes"
    assert Counter(p.record_version for p in scored).most_common(1)[0][1] == 1, "each record was scored once"
    assert {p.record_version for p in seen.predictions if p.model == NEWS2} >= waiting
    rates = {one.record_version: 50.0 + (int(one.patient[8:]) % 100) for one in before + during + after}
    for p in scored:
        assert p.risks[0].probability == pytest.approx(rates[p.record_version] / 200, abs=1e-6)
