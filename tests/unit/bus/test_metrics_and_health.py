"""Metric labels cannot carry PHI; liveness fails when processing goes on but commits do not."""

from aiohttp.test_utils import TestClient, TestServer

from services.bus import metrics
from services.bus.health import Health, application


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_every_label_is_one_of_the_closed_list() -> None:
    assert len(metrics.our_metrics()) > 20
    for metric in metrics.our_metrics():
        assert set(metric._labelnames) <= metrics.LABELS, metric._name
        assert metric._documentation
        assert f"`{metric._name}" in metrics.table()


def test_liveness_fails_when_what_was_processed_is_not_committed() -> None:
    clock = Clock()
    health = Health(60, clock)
    assert health.liveness() == ""
    health.processed()
    clock.now = 59
    health.processed()
    assert health.liveness() == ""
    clock.now = 61
    assert "no commit has advanced for 61 s" in health.liveness()
    health.committed(everything=False)
    assert health.liveness() == ""
    clock.now = 122
    assert health.liveness() != ""
    health.committed(everything=True)
    assert health.liveness() == ""
    clock.now = 10_000
    assert health.liveness() == "", "an idle service is alive"


def test_a_deliberate_pause_is_no_fault() -> None:
    clock = Clock()
    health = Health(60, clock)
    health.processed()
    for clock.now in (50.0, 100.0, 150.0):
        health.paused()
        assert health.liveness() == ""


async def test_the_server_answers_for_probes_and_prometheus() -> None:
    clock = Clock()
    health = Health(60, clock)
    state = {"triton": "away"}
    health.add_check("triton", lambda: state["triton"])
    async with TestClient(TestServer(application(health))) as client:
        assert (await client.get("/healthz")).status == 200
        answer = await client.get("/readyz")
        assert (answer.status, await answer.text()) == (503, "not started; triton: away\n")
        health.set_ready(True)
        state["triton"] = ""
        assert (await client.get("/readyz")).status == 200
        text = await (await client.get("/metrics")).text()
        assert "# TYPE wardstream_messages_processed_total counter" in text
        health.processed()
        clock.now = 61
        assert (await client.get("/healthz")).status == 503
