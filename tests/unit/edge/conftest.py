"""A listener on a free port with a publisher in memory, and a sender."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.domain.site import Site
from services.edge.acceptance import Acceptance
from services.edge.framing import Deframer, Frame, framed
from services.edge.ledger import Ledger
from services.edge.mllp import Limits, MllpListener
from services.edge.publisher import MemoryPublisher

SITE = Site(secret=b"test")


def oru(control: str = "1", patient: str = "100", value: str = "7", ack: str = "|", extra: str = "") -> bytes:
    """An ORU^R01; `ack` is MSH-15|MSH-16."""
    return (
        f"MSH|^~\\&|LAB|HOSP|WS|WS|20250101120000||ORU^R01^ORU_R01|{control}|P|2.5.1|||{ack}\r"
        f"PID|1||{patient}^^^HOSP^MR||DOE^JANE||19500101|F\r"
        f"OBR|1||F{control}|2345-7^Glucose^LN|||20250101115900\r"
        f"OBX|1|NM|2345-7^Glucose^LN||{value}|mg/dL|||||F\r{extra}"
    ).encode()


class Sender:
    """One connection, driven by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.deframer, self.ready = Deframer(1 << 20), []  # type: ignore[var-annotated]

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> dict[str, list[str]]:
        """The next answer's segments by name. Raises EOFError when the connection ends."""
        while not self.ready:
            chunk = await asyncio.wait_for(self.reader.read(65536), 20)
            if not chunk:
                raise EOFError
            self.ready += [item.content for item in self.deframer.feed(chunk) if isinstance(item, Frame)]
        self.last = self.ready.pop(0)
        return {line.split("|")[0]: line.split("|") for line in self.last.decode().split("\r") if line}

    async def ask(self, message: bytes) -> str:
        """Send one message; MSA-1."""
        await self.write(framed(message))
        return (await self.answer())["MSA"][1]

    async def close(self) -> None:
        self.writer.close()


class Bench:
    """A listener and what it publishes to."""

    def __init__(
        self, listener: MllpListener, publisher: MemoryPublisher, acceptance: Acceptance, ledger: Ledger
    ) -> None:
        self.listener, self.publisher, self.acceptance, self.ledger = listener, publisher, acceptance, ledger
        self.senders: list[Sender] = []

    async def sender(self, **options) -> Sender:  # type: ignore[no-untyped-def]
        made = Sender(*await asyncio.open_connection("127.0.0.1", self.listener.port, **options))
        self.senders.append(made)
        return made


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, 10 s at most."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the condition did not come true")


@asynccontextmanager
async def running(
    ledger: Path | None = None, patience: float = 5.0, tls=None, reuse=False, **limits
) -> AsyncIterator[Bench]:  # type: ignore[no-untyped-def]
    publisher, book = MemoryPublisher(), Ledger(ledger)
    acceptance = Acceptance(publisher, book, SITE, patience=patience, accept_reused=reuse)
    listener = MllpListener(acceptance, "127.0.0.1", 0, tls=tls, limits=Limits(**limits))
    await listener.start()
    bench = Bench(listener, publisher, acceptance, book)
    try:
        yield bench
    finally:
        publisher.gate.set()
        for sender in bench.senders:
            await sender.close()
        await listener.stop(2.0)
        await acceptance.settle(2.0)
        await book.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running() as made:
        yield made
