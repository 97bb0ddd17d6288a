"""The MLLP listener: connections, deadlines, TLS, back-pressure. What a message means is `acceptance`'s business.

Per connection, frames are taken as they come and answered in their order. Reading stops while WINDOW answers are
outstanding, while the bytes of unanswered messages of all connections exceed their allowance, or while the
sender does not read its answers: TCP then slows the sender down.
"""

import asyncio
import logging
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from services.bus import metrics
from services.bus.topics import HL7_RAW
from services.edge.acceptance import Acceptance
from services.edge.defects import described
from services.edge.flow import ByteBudget
from services.edge.framing import BadFrame, Deframer, Frame

log = logging.getLogger(__name__)

FORMAT = "hl7v2"
CHUNK = 1 << 16
WINDOW = 64
CLOSE_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one sender, and all together, may use."""

    max_bytes: int = HL7_RAW.max_bytes - (64 << 10)  # of one message; below what the topic takes
    max_connections: int = 256
    frame_timeout: float = 30.0  # s, from a frame's first byte to its last
    idle_timeout: float = 3600.0  # s without a byte between frames; senders keep connections open
    write_timeout: float = 30.0  # s for a sender to take its answers
    unanswered_bytes: int = 256 << 20  # of all messages being kept


class MllpListener:
    """Listens until `stop`."""

    def __init__(
        self,
        acceptance: Acceptance,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._acceptance, self._address, self._tls = acceptance, (host, port), tls
        self.port = port  # after `start` the one that is listened on, also where 0 was asked for
        self._limits = limits or Limits()
        self._budget = ByteBudget(self._limits.unanswered_bytes)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Listen. Raises OSError when the address is taken."""
        self._server = await asyncio.start_server(self._serve, *self._address, ssl=self._tls, limit=CHUNK)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self, timeout: float = 15.0) -> None:
        """Take no more, answer what has come in whole, close; after `timeout` seconds close in any case."""
        self._stopping.set()
        if self._server is not None:
            self._server.close()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._limits.max_connections or self._stopping.is_set():
            log.warning("a connection was turned away: %d are open", len(self._connections))
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        metrics.CONNECTIONS.labels(FORMAT).inc()
        try:
            connection = _Connection(reader, writer, self._acceptance, self._limits, self._budget, self._stopping)
            await connection.run()
        except Exception as error:  # noqa: BLE001 -- asyncio would log its text
            log.error("a connection ended by a defect: %s", described(error))
        finally:
            self._connections.discard(task)
            metrics.CONNECTIONS.labels(FORMAT).dec()


class _Connection:
    """One sender's connection: a loop that reads, a loop that answers, a queue of answers to come between them."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        acceptance: Acceptance,
        limits: Limits,
        budget: ByteBudget,
        stopping: asyncio.Event,
    ) -> None:
        self._reader, self._writer, self._acceptance = reader, writer, acceptance
        self._limits, self._budget, self._stopping = limits, budget, stopping
        self._deframer = Deframer(limits.max_bytes)
        self._frame_left = limits.frame_timeout  # s of reading left for the frame that has begun
        self._answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(WINDOW)
        self._taken: set[asyncio.Task[bytes]] = set()

    async def run(self) -> None:
        """Serve until the sender closes, a deadline passes or the listener stops; answer all that came in whole."""
        answering = asyncio.create_task(self._answer())
        reading = asyncio.create_task(self._read())
        stopping = asyncio.create_task(self._stopping.wait())
        tasks: list[asyncio.Future[Any]] = [reading, answering, stopping]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            await asyncio.wait({reading})
            tasks.append(ending := asyncio.ensure_future(self._answers.put(None)))
            await asyncio.wait({answering, ending}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                await asyncio.wait({answering})
            for loop in (reading, answering):  # asked for, or asyncio would log the exception with its text
                if loop.done() and not loop.cancelled() and (error := loop.exception()) is not None:
                    log.error("a connection ended by a defect: %s", described(error))
        finally:
            for task in tasks:
                task.cancel()
            await _close(self._writer)
            if self._taken:
                await asyncio.wait(self._taken)

    async def _read(self) -> None:
        with suppress(OSError, ssl.SSLError):
            while chunk := await self._chunk():
                for item in self._deframer.feed(chunk):
                    self._frame_left = self._limits.frame_timeout
                    await self._take(item)
        if (left := self._deframer.end()) is not None:
            await self._take(left)

    async def _chunk(self) -> bytes:
        """The next bytes; none at the end of the stream and after a deadline."""
        began = (loop := asyncio.get_running_loop()).time()
        inside = self._deframer.waiting
        try:
            async with asyncio.timeout(self._frame_left if inside else self._limits.idle_timeout):
                return await self._reader.read(CHUNK)
        except TimeoutError:
            return b""
        finally:
            if inside:
                self._frame_left -= loop.time() - began

    async def _take(self, item: Frame | BadFrame) -> None:
        size = len(item.content)
        await self._budget.take(size)
        take = self._acceptance
        task = asyncio.create_task(take.bad_frame(item) if isinstance(item, BadFrame) else take.message(item.content))
        self._taken.add(task)

        def done(task: asyncio.Task[bytes]) -> None:
            self._taken.discard(task)
            self._budget.give(size)

        task.add_done_callback(done)
        await self._answers.put(task)

    async def _answer(self) -> None:
        """Write answers in the order of their messages, until there are no more or nobody takes them."""
        with suppress(OSError, ssl.SSLError, TimeoutError):
            while (task := await self._answers.get()) is not None:
                if answer := await task:
                    self._writer.write(answer)
                    async with asyncio.timeout(self._limits.write_timeout):
                        await self._writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, ssl.SSLError, TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await writer.wait_closed()


def server_tls(certificate: str, key: str, client_authorities: str = "") -> ssl.SSLContext:
    """TLS of the listener (1.2 or later) from PEM files; with `client_authorities`, senders must show a certificate.

    Raises OSError or ssl.SSLError when a file cannot be read.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key or None)
    if client_authorities:
        context.load_verify_locations(client_authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
