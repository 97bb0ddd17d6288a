"""The deliver service: `wardstream run deliver`. It reads without a group: every instance shows every patient."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from services.bus import health
from services.bus.access import tokens_for
from services.bus.messages import Message, MetricEvent
from services.bus.objects import open_store
from services.bus.reader import Reader, follow
from services.bus.settings import Settings, site_from_settings
from services.bus.topics import MONITORING_METRICS, PATIENT_RECORDS, RISK_PREDICTIONS
from services.deliver.board import Board
from services.deliver.health_view import HealthView
from services.deliver.models_view import models_in
from services.deliver.stream import Stream
from services.deliver.web import State, application

log = logging.getLogger(__name__)

TOPICS = (PATIENT_RECORDS, RISK_PREDICTIONS, MONITORING_METRICS)
YIELD_EVERY = 50  # messages
TICK_S = 0.25  # rows that changed are sent together, so that a burst of a patient's events is one update

_METRIC = msgspec.json.Decoder(MetricEvent)


def run(settings: Settings) -> None:
    """Run until SIGTERM."""
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stopping = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stopping.set)
    state = health.Health(settings.stall_after)
    server = await health.serve(settings, "deliver", state)
    page = Page(settings)
    runner = web.AppRunner(page.app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        async with follow(settings, TOPICS, settings.page_look_back, "wardstream-deliver") as reader:
            await web.TCPSite(runner, settings.page_host, settings.page_port).start()
            await page.follow(reader, stopping, on_caught_up=lambda: state.set_ready(True))
    finally:
        await runner.cleanup()
        await server.cleanup()


class Page:
    """The board, fed from the topics and shown to browsers."""

    def __init__(self, settings: Settings) -> None:
        self.board, self.health, self.state = Board(), HealthView(), State()
        self.stream = Stream(f"{time.time_ns():x}")
        self.app = application(
            self.board,
            self.stream,
            self.health,
            open_store(settings.objects_address),
            models_in(settings.models),
            site_from_settings(settings),
            state=self.state,
            page_url=settings.page_url,
            origins=settings.cors_origins,
            tokens=tokens_for(settings, settings.page_host, "WARDSTREAM_PAGE_HOST"),
            local=not settings.tokens and settings.auth != "proxy",
        )
        self._changed: dict[str, None] = {}  # in the order of change

    async def follow(self, reader: Reader, stopping: asyncio.Event, on_caught_up: Callable[[], None]) -> None:
        """Read until told to stop. `on_caught_up` is called once, when all that was there at the start is read."""
        start = await reader.ends()
        sent = 0.0
        while not stopping.is_set():
            for n, message in enumerate(await reader.batch()):
                self.take(message)
                if n % YIELD_EVERY == 0:
                    await asyncio.sleep(0)  # browsers are served while a long past is read
            if not self.state.caught_up and await reader.reached(start):
                self.state.caught_up = True
                self.stream.publish("reload", b"{}")
                on_caught_up()
            if time.monotonic() - sent > TICK_S:
                self.send_changes()
                sent = time.monotonic()

    def take(self, message: Message) -> None:
        """Learn from one message; one that does not fit its schema is passed over (the monitor counts it)."""
        try:
            if message.topic == PATIENT_RECORDS.name:
                self._changed[self.board.take_record(message.value)] = None
            elif message.topic == RISK_PREDICTIONS.name:
                self._changed[self.board.take_prediction(message.value)] = None
            else:
                self.health.take(_METRIC.decode(message.value))
        except msgspec.MsgspecError:
            log.warning("%s/%d/%d does not fit its schema", message.topic, message.partition, message.offset)

    def send_changes(self) -> None:
        """Publish the rows that changed since the last time, and who has left the board; nothing while nobody looks."""
        self._changed |= dict.fromkeys(self.board.evicted())
        if self._changed and not len(self.stream):
            self.stream.skip()
        elif self.state.caught_up:  # until then browsers load the whole board, again at the end
            for patient in self._changed:
                row = self.board.row(patient)
                if row is not None:
                    self.stream.publish("row", msgspec.json.encode(row))
                else:
                    gone = {"patient": patient, "into": self.board.survivor(patient)}
                    self.stream.publish("gone", msgspec.json.encode(gone))
        self._changed.clear()
