"""Whether this process is alive and ready, and the HTTP server that says so: /metrics, /healthz, /readyz."""

import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.bus.metrics import REGISTRY
from services.bus.settings import METRICS_PORTS, Settings

Check = Callable[[], str]
"""Answers an empty text when all is well, else what is wrong (no PHI)."""


class Health:
    """Alive: whatever was processed gets committed. Ready: every check that was added is content.

    'Processing but the commit does not advance' is how a stuck consumer looks from outside: its
    process lives, its metrics move, and everything will be done again after a restart. So liveness fails on it.
    """

    def __init__(self, stall_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_after_s = stall_after_s
        self._clock = clock
        self._waiting_since: float | None = None  # when the oldest uncommitted message was processed
        self._checks: dict[str, Check] = {}
        self._ready = False

    def processed(self) -> None:
        """A message was processed whose offset is not committed yet."""
        if self._waiting_since is None:
            self._waiting_since = self._clock()

    def committed(self, *, everything: bool) -> None:
        """Commits advanced. `everything`: nothing processed remains uncommitted."""
        self._waiting_since = None if everything else self._clock()

    def paused(self) -> None:
        """Consumption waits on purpose (the model server is away): a commit that stands still is not a fault."""
        if self._waiting_since is not None:
            self._waiting_since = self._clock()

    def set_ready(self, ready: bool) -> None:
        """Whether the service takes work now (partitions assigned, tables recovered, listener open)."""
        self._ready = ready

    def add_check(self, name: str, check: Check) -> None:
        """A further condition of readiness."""
        self._checks[name] = check

    def liveness(self) -> str:
        """Empty when alive, else why not."""
        if self._waiting_since is None:
            return ""
        waited = self._clock() - self._waiting_since
        return "" if waited <= self._stall_after_s else f"processing, but no commit has advanced for {waited:.0f} s"

    def readiness(self) -> str:
        """Empty when ready, else why not."""
        problems = [] if self._ready else ["not started"]
        problems += [f"{name}: {problem}" for name, check in self._checks.items() if (problem := check())]
        return "; ".join(problems)


def application(health: Health) -> web.Application:
    """The three addresses as an aiohttp application."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health.liveness())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.readiness())

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    return app


def _answer(problem: str) -> web.Response:
    return web.Response(text=(problem or "ok") + "\n", status=503 if problem else 200)


async def serve(settings: Settings, service: str, health: Health) -> web.AppRunner:
    """Serve /metrics, /healthz and /readyz; `await runner.cleanup()` ends it. Raises OSError when the port is taken."""
    runner = web.AppRunner(application(health), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.metrics_host, settings.metrics_port or METRICS_PORTS.get(service, 0)).start()
    return runner
