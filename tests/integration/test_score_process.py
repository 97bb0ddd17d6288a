"""The scoring processes, as an operator runs them, through an outage: alive, not ready, and stopped without loss."""

import time
import uuid
from collections import Counter
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer

from services.bus.admin import create_topics
from services.bus.settings import Settings
from services.bus.topics import DEAD_LETTERS, PATIENT_RECORDS, RISK_PREDICTIONS
from services.domain.prediction import Prediction
from services.domain.record import encode_record
from services.local.processes import Services
from services.local.triton import LocalTriton
from tests.triton_fixture import write_fusion
from tests.unit.score.records import record

pytestmark = [pytest.mark.kafka, pytest.mark.triton, pytest.mark.slow]

EACH = 20
TIMEOUT_S = 60.0


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode().strip()
    except HTTPError as error:
        return error.code, error.read().decode().strip()


class Watcher:
    """Counts the predictions of this test's patients, by model and record version."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._consumer = KafkaConsumer(
            RISK_PREDICTIONS.name, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None
        )
        self.seen: Counter[tuple[str, str]] = Counter()

    def until(self, model: str, versions: set[str]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not versions <= {version for name, version in self.seen if name == model}:
            assert time.monotonic() < deadline, f"{model}: not all came"
            for batch in self._consumer.poll(timeout_ms=200).values():
                for one in batch:
                    if one.key.startswith(self._prefix):
                        found = msgspec.json.decode(one.value, type=Prediction)
                        self.seen[found.model, found.record_version] += 1


def test_an_outage_leaves_scoring_alive_and_a_stop_in_the_middle_of_it_loses_nothing(
    bus_settings: Settings, tmp_path: Path
):
    prefix = uuid.uuid4().hex[:8]
    write_fusion(tmp_path / "models")
    create_topics(bus_settings, [PATIENT_RECORDS, RISK_PREDICTIONS, DEAD_LETTERS])
    server = LocalTriton(tmp_path / "run", tmp_path / "models")
    environment = {
        "WARDSTREAM_TRITON_URL": server.start().url,
        "WARDSTREAM_BOOTSTRAP": bus_settings.bootstrap,
        "WARDSTREAM_HOME": str(tmp_path / "home"),
        "WARDSTREAM_MODELS": str(tmp_path / "models"),
        "WARDSTREAM_STALL_AFTER": "4",
    }
    producer = KafkaProducer(bootstrap_servers=bus_settings.bootstrap, acks="all")
    watcher = Watcher(bus_settings.bootstrap, prefix)

    def publish(start: int) -> set[str]:
        made = [record(f"{prefix}{n}", 1) for n in range(start, start + EACH)]
        for one in made:
            producer.send(PATIENT_RECORDS.name, encode_record(one), one.patient.encode())
        producer.flush()
        return {one.record_version for one in made}

    try:
        with Services(("score", "fallback"), tmp_path / "logs", environment) as services:
            before = publish(0)
            watcher.until("risk_fusion", before)
            server.kill()
            waiting = publish(EACH)
            watcher.until("news2", waiting)
            time.sleep(5)  # longer than WARDSTREAM_STALL_AFTER: the point is that nothing happens
            assert get(services.ports["score"], "/healthz") == (200, "ok")
            assert get(services.ports["score"], "/readyz") == (503, "triton: risk_fusion away")
            assert get(services.ports["fallback"], "/readyz") == (200, "ok")
            services.stop()  # both, in the middle of the outage
            assert not waiting & {version for model, version in watcher.seen if model == "risk_fusion"}
            server.restart()
            services.start("score")
            watcher.until("risk_fusion", waiting)
    finally:
        producer.close()
        server.kill()
    scored = {version: n for (model, version), n in watcher.seen.items() if model == "risk_fusion"}
    assert scored.keys() == before | waiting
    assert set(scored.values()) == {1}
