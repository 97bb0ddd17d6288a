"""The sending half of MLLP, as a hospital's interface engine does it: one connection, many messages in flight.

Acknowledgements are matched by MSA-2, so they may come in any order. A connection that breaks is opened again and what
has no acknowledgement yet is sent again, with the same control ids: a receiver knows a repeat by them. Predictions go
to the hospital by it, and replayed data sets to the edge.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress

from services.edge.flow import KeyedLocks
from services.edge.framing import BadFrame, Deframer, framed

log = logging.getLogger(__name__)

ACK_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
RECONNECT_S = (0.1, 0.2, 0.5, 1.0, 2.0)
MAX_ACK_BYTES = 1 << 20


class Unacknowledged(Exception):
    """No acknowledgement within the time; the message may have been kept."""


def msh(message: bytes) -> list[bytes]:
    """Raw fields of the header, by HL7 number (`[2]` is MSH-2); shorter where the message is."""
    line = message.removeprefix(b"\xef\xbb\xbf").split(b"\r", 1)[0]
    fields = line.split(line[3:4] or b"|", 18)
    return [fields[0], b"", *fields[1:]]


def control_id(message: bytes) -> bytes:
    """Raw MSH-10 of an ER7 message; empty where it has none."""
    fields = msh(message)
    return fields[10].strip() if len(fields) > 10 else b""


def answer_is_due(message: bytes) -> bool:
    """Whether an accepted message gets an answer: not where MSH-15 and MSH-16 ask for none (v2.8 table 0155)."""
    asked = {field.strip().upper() for field in msh(message)[15:17]} - {b""}
    return not asked or bool(asked & {b"AL", b"SU"})


def acknowledgement(ack: bytes) -> tuple[str, bytes]:
    """MSA-1 and MSA-2 of an acknowledgement; empty where there is no MSA."""
    for segment in ack.replace(b"\n", b"\r").split(b"\r"):
        if segment.startswith(b"MSA"):
            fields = segment.split(ack[3:4] or b"|")
            return fields[1].decode("ascii", "replace").strip(), fields[2].strip() if len(fields) > 2 else b""
    return "", b""


class MllpClient:
    """One connection. `send` may be called many times at once."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float = ACK_TIMEOUT_S,
        on_ack: Callable[[bytes], None] | None = None,
    ) -> None:
        self._address, self._tls, self._timeout, self._on_ack = (host, port), tls, timeout, on_ack
        self._waiting: dict[bytes, tuple[bytes, asyncio.Future[tuple[str, bytes]]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._one_by_name = KeyedLocks()
        self._opening = asyncio.Lock()
        self._closed = False

    async def send(self, message: bytes) -> tuple[str, bytes]:
        """Send and wait: the acknowledgement code (AA, AE, CA, ...) and the acknowledgement's bytes.

        Raises Unacknowledged after the time-out, OSError when no connection can be made within it. Of two messages
        with one control id the second waits for the first.
        """
        name = control_id(message)
        async with self._one_by_name.hold(name.decode("latin-1")):
            return await self._send(name, message)

    async def _send(self, name: bytes, message: bytes) -> tuple[str, bytes]:
        answer: asyncio.Future[tuple[str, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[name] = (message, answer)
        try:
            async with asyncio.timeout(self._timeout):
                await self._write(message)
                return await answer
        except TimeoutError as error:
            raise Unacknowledged(f"no acknowledgement within {self._timeout:.0f} s") from error
        finally:
            self._waiting.pop(name, None)

    async def post(self, message: bytes) -> None:
        """Send a message that asks for no answer. Raises OSError."""
        await self._write(message)

    async def close(self) -> None:
        """Close; what is in flight stays unacknowledged."""
        self._closed = True
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        await self._drop()

    async def _write(self, message: bytes) -> None:
        for pause in (*RECONNECT_S, None):
            try:
                writer = await self._open()
                writer.write(framed(message))
                await writer.drain()
                return
            except OSError:
                if pause is None:
                    raise
                await asyncio.sleep(pause)

    async def _open(self) -> asyncio.StreamWriter:
        async with self._opening:
            if self._writer is None or self._writer.is_closing():
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    reader, self._writer = await asyncio.open_connection(*self._address, ssl=self._tls)
                self._reading = asyncio.create_task(self._read(reader, self._writer))
            return self._writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        deframer = Deframer(MAX_ACK_BYTES)
        with suppress(OSError):
            while chunk := await reader.read(1 << 16):
                for frame in deframer.feed(chunk):
                    if not isinstance(frame, BadFrame):
                        self._answered(frame.content)
        writer.close()
        if self._waiting and not self._closed:
            asyncio.get_running_loop().create_task(self._again())

    def _answered(self, ack: bytes) -> None:
        if self._on_ack is not None:
            self._on_ack(ack)
        code, name = acknowledgement(ack)
        waiting = self._waiting.get(name)
        if waiting is not None and not waiting[1].done():
            waiting[1].set_result((code, ack))

    async def _again(self) -> None:
        """The connection broke: send once more what still waits, in its order."""
        for message, answer in list(self._waiting.values()):
            if not answer.done():
                with suppress(OSError, TimeoutError):
                    await self._write(message)

    async def _drop(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError, TimeoutError, ssl.SSLError):
                async with asyncio.timeout(2.0):
                    await self._writer.wait_closed()
            self._writer = None
