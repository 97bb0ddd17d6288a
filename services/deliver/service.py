"""The deliver service: `wardstream run deliver`. It reads without a group: every instance shows every patient."""

import asyncio
import logging
import signal
import time
from pathlib import Path

import msgspec
from aiohttp import web

from services.bus import health
from services.bus.messages import Message, MetricEvent
from services.bus.objects import open_store
from services.bus.reader import Reader, follow
from services.bus.settings import Settings
from services.bus.topics import MONITORING_METRICS, PATIENT_RECORDS, RISK_PREDICTIONS
from services.deliver.board import Board
from services.deliver.health_view import HealthView
from services.deliver.stream import Stream
from services.deliver.web import application
from services.domain.prediction import Prediction

log = logging.getLogger(__name__)

TOPICS = (PATIENT_RECORDS, RISK_PREDICTIONS, MONITORING_METRICS)
TICK_S = 0.25  # rows that changed are sent together, so that a burst of a patient's events is one update

_PREDICTION = msgspec.json.Decoder(Prediction)
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
        async with follow(settings, TOPICS, settings.monitor_look_back, "wardstream-deliver") as reader:
            await web.TCPSite(runner, settings.page_host, settings.page_port).start()
            state.set_ready(True)
            await page.follow(reader, stopping)
    finally:
        await runner.cleanup()
        await server.cleanup()


class Page:
    """The board, fed from the topics and shown to browsers."""

    def __init__(self, settings: Settings) -> None:
        self.board, self.health = Board(), HealthView()
        self.stream = Stream(f"{time.time_ns():x}")
        self.app = application(
            self.board, self.stream, self.health, open_store(settings.objects_address), model_cards(settings.models)
        )
        self._changed: set[str] = set()

    async def follow(self, reader: Reader, stopping: asyncio.Event) -> None:
        """Read until told to stop."""
        sent = 0.0
        while not stopping.is_set():
            for message in await reader.batch():
                self.take(message)
            if self._changed and time.monotonic() - sent > TICK_S:
                self.send_changes()
                sent = time.monotonic()

    def take(self, message: Message) -> None:
        """Learn from one message; one that does not fit its schema is passed over (the monitor counts it)."""
        try:
            if message.topic == PATIENT_RECORDS.name:
                self._change(self.board.take_record(message.value), message)
            elif message.topic == RISK_PREDICTIONS.name:
                self._change(self.board.take_prediction(_PREDICTION.decode(message.value)), message)
            else:
                self.health.take(_METRIC.decode(message.value))
        except msgspec.MsgspecError:
            log.warning("%s/%d/%d does not fit its schema", message.topic, message.partition, message.offset)

    def _change(self, patient: str | None, message: Message) -> None:
        if patient is not None:
            self._changed.add(patient)
        elif message.key:
            self.stream.publish("gone", msgspec.json.encode({"patient": message.key.decode("ascii", "replace")}))

    def send_changes(self) -> None:
        """Publish the rows that changed since the last time."""
        for patient in self._changed:
            row = self.board.row(patient)
            if row:
                self.stream.publish("row", msgspec.json.encode(row))
        self._changed.clear()


def model_cards(repository: Path) -> dict[str, str]:
    """Model name -> its card."""
    return {path.parent.name: path.read_text() for path in sorted(repository.glob("*/MODEL_CARD.md"))}
