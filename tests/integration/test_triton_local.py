"""The local Triton is the real server: it starts, answers, heals when it is broken, and leaves nothing behind."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as grpc_client

from services.inference.client import Failed, InferenceError, TritonClient, Unavailable
from services.inference.liveness import broken_models
from services.local.triton import LocalTriton, TritonError, running_endpoint, server_version, shm_prefix, stop_left_over
from tests.triton_fixture import logistic, write_logistic

pytestmark = pytest.mark.triton


def batch(n: int = 4) -> dict[str, np.ndarray]:
    return {"x": np.ones((n, 3), np.float32), "row_id": np.arange(n, dtype=np.int64)[:, None]}


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


async def ask(url: str, timeout_s: float = 5.0) -> np.ndarray | type[InferenceError]:
    client = TritonClient(url)
    try:
        return np.asarray((await client.infer("logistic", "1", batch(), timeout_s)).outputs["risk"])
    except InferenceError as error:
        return type(error)
    finally:
        await client.close()


def test_it_starts_within_seconds_answers_and_leaves_nothing_behind(tmp_path: Path):
    write_logistic(tmp_path / "models")
    server = LocalTriton(tmp_path / "run", tmp_path / "models")
    began = time.monotonic()
    endpoint = server.start()
    took = time.monotonic() - began
    family = [endpoint.pid, *(p.pid for p in children(endpoint.pid))]
    assert server.models == ["logistic"]
    assert server_version(endpoint.url).startswith("2.")
    assert np.allclose(asyncio.run(ask(endpoint.url)), logistic(np.ones((4, 3))), atol=1e-6)
    assert running_endpoint(tmp_path / "run") == endpoint
    server.stop()
    assert took < 30, took  # 1 s here; a loaded machine may need more
    assert not any(psutil.pid_exists(pid) for pid in family)
    assert not list(Path("/dev/shm").glob(f"{shm_prefix(tmp_path / 'run')}*"))
    assert running_endpoint(tmp_path / "run") is None
    assert not list((tmp_path / "models").rglob("model.py")), "the repository itself is left as it is"


def test_a_killed_model_process_is_seen_though_the_server_says_ready_and_healing_mends_it(tmp_path: Path):
    write_logistic(tmp_path / "models")
    server = LocalTriton(tmp_path / "run", tmp_path / "models")
    url = server.start().url
    [stub] = [p for p in children(server.endpoint.pid) if "stub" in p.name()]
    stub.kill()
    with grpc_client.InferenceServerClient(url) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("logistic")
    assert asyncio.run(ask(url, 1.0)) in (Failed, Unavailable)
    assert server.broken(1.0) == ["logistic"]
    assert asyncio.run(broken_models(url)) == ["logistic"]
    assert server.heal(1.0)
    assert server.url == url
    assert server.broken() == asyncio.run(broken_models(url)) == []
    assert not server.heal()
    assert isinstance(asyncio.run(ask(url)), np.ndarray)
    server.kill()


def test_a_killed_server_is_unavailable_and_the_next_start_clears_what_it_left(tmp_path: Path):
    write_logistic(tmp_path / "models")
    first = LocalTriton(tmp_path / "run", tmp_path / "models")
    endpoint = first.start()
    os.kill(endpoint.pid, signal.SIGKILL)
    assert asyncio.run(ask(endpoint.url)) is Unavailable
    assert asyncio.run(broken_models(endpoint.url)) == ["server"]
    second = LocalTriton(tmp_path / "run", tmp_path / "models")
    second.start()
    assert isinstance(asyncio.run(ask(second.url)), np.ndarray)
    second.kill()


def test_a_supervised_server_comes_back_by_itself_at_the_same_address(tmp_path: Path):
    write_logistic(tmp_path / "models")
    server = LocalTriton(tmp_path / "run", tmp_path / "models")
    url = server.start().url
    server.supervise(every_s=0.1)
    os.kill(server.endpoint.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not isinstance(asyncio.run(ask(url, 1.0)), np.ndarray):
        assert time.monotonic() < deadline
    server.kill()
    assert running_endpoint(tmp_path / "run") is None


def test_one_process_stops_what_another_left_running(tmp_path: Path):
    write_logistic(tmp_path / "models")
    pid = LocalTriton(tmp_path / "run", tmp_path / "models").start().pid
    assert stop_left_over(tmp_path / "run")
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert not stop_left_over(tmp_path / "run")


def test_a_pid_file_that_names_somebody_elses_process_kills_nobody(tmp_path: Path):
    (tmp_path / "triton.json").write_text(
        json.dumps({"pid": os.getpid(), "grpc_port": 1, "http_port": 2, "metrics_port": 3})
    )
    assert not stop_left_over(tmp_path)
    assert running_endpoint(tmp_path) is None


def test_incomplete_models_are_left_out_and_a_repository_without_any_says_so(tmp_path: Path):
    (write_logistic(tmp_path / "models") / "manifest.json").unlink()
    server = LocalTriton(tmp_path / "run", tmp_path / "models")
    with pytest.raises(TritonError, match="train or export"):
        server.start()
    write_logistic(tmp_path / "models", "whole")
    server.start()
    server.kill()
    assert server.models == ["whole"]


def test_a_model_that_cannot_be_loaded_ends_the_start_with_the_reason(tmp_path: Path):
    (write_logistic(tmp_path / "models") / "1" / "model.onnx").write_bytes(b"not a model")
    server = LocalTriton(tmp_path / "run", tmp_path / "models")
    began = time.monotonic()
    with pytest.raises(TritonError, match="logistic cannot be loaded"):
        server.start()
    assert time.monotonic() - began < 30, "it is not waited for until the time is up"
    assert running_endpoint(tmp_path / "run") is None


def test_an_environment_that_is_missing_says_how_to_get_it(tmp_path: Path):
    write_logistic(tmp_path / "models")
    with pytest.raises(TritonError, match=r"make \.venv-triton"):
        LocalTriton(tmp_path / "run", tmp_path / "models", venv=tmp_path / "nothing").start()


def test_two_versions_of_a_model_are_served_side_by_side(tmp_path: Path):
    write_logistic(tmp_path / "models")
    write_logistic(tmp_path / "models", version=2)
    server = LocalTriton(tmp_path / "run", tmp_path / "models")
    url = server.start().url

    async def both() -> list[str]:
        client = TritonClient(url)
        answers = [await client.infer("logistic", version, batch()) for version in ("1", "2", "")]
        await client.close()
        return [answer.version for answer in answers]

    assert asyncio.run(both()) == ["1", "2", "2"]
    server.kill()
