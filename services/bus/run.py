"""`run_step`: what a processor's process does from start to SIGTERM."""

import asyncio
import logging
import os
import signal

from services.bus.engine import BatchStep, Engine, KeyedStep, is_batch
from services.bus.health import Health, serve
from services.bus.settings import Settings

log = logging.getLogger(__name__)


def run_step(step: KeyedStep | BatchStep, settings: Settings, health: Health | None = None) -> None:
    """Run a step on the engine that the settings name, with /metrics and probes, until SIGTERM or SIGINT.

    Raises what stops the process without a commit: a publish or a dead letter that the broker refused, a step that
    said CannotGoOn, topics that are absent. The supervisor (Kubernetes, compose, the demo) starts it again.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for library in ("kafka", "aiokafka", "faust", "mode", "services.bus.faust_guards"):
        logging.getLogger(library).setLevel(logging.WARNING)
    asyncio.run(_run(step, settings, health or Health(settings.stall_after)))


async def _run(step: KeyedStep | BatchStep, settings: Settings, health: Health) -> None:
    server = await serve(settings, step.name, health)
    engine = make_engine(step, settings, health)
    loop = asyncio.get_running_loop()
    stops: set[asyncio.Task[None]] = set()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, lambda: stops.add(loop.create_task(engine.stop())))
    try:
        await engine.run()
    except Exception:
        if getattr(engine, "leaves_threads", False):
            # Unwinding would let Faust acknowledge what failed, and wait for its threads.
            log.exception("%s ends without committing", step.name)
            logging.shutdown()
            os._exit(1)
        raise
    finally:
        await server.cleanup()


def make_engine(step: KeyedStep | BatchStep, settings: Settings, health: Health) -> Engine:
    """The engine that WARDSTREAM_ENGINE names, for one step. `auto`: Faust for a keyed step, whose tables it brings; a
    stateless one needs nothing of it and runs on the loop at a quarter of the cost (docs/engine.md)."""
    if settings.engine == "faust" or (settings.engine == "auto" and not is_batch(step)):
        from services.bus.faust_engine import FaustEngine

        return FaustEngine(step, settings, health)
    from services.bus.loop_engine import LoopEngine

    return LoopEngine(step, settings, health)
