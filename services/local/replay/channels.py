"""How each format reaches the edge, and how its answers read: kept, refused, or to be sent again."""

import asyncio
from enum import Enum
from typing import NamedTuple, Protocol
from zlib import crc32

import aiohttp

from services.edge.mllp_client import MllpClient, Unacknowledged, answer_is_due
from services.local.replay.dicom_client import DicomClient
from services.local.replay.source import Item, Kind

UNASKED = "none asked for"
"""The code of a message that asks for no answer: it was sent, and nobody promised anything."""


class Verdict(Enum):
    """What the edge said."""

    KEPT = "kept"
    REFUSED = "refused"
    AGAIN = "again"  # could not be kept now


class Answer(NamedTuple):
    """A verdict and its code: AA, 200, 0x0000."""

    verdict: Verdict
    code: str


class Edge(NamedTuple):
    """The edge's addresses, host:port; empty for what is not to be used."""

    mllp: str = "127.0.0.1:2575"
    http: str = "127.0.0.1:8080"
    dicom: str = "127.0.0.1:11112"
    ae_title: str = "WARDSTREAM"
    token: str = ""  # shown by HTTP


class Channel(Protocol):
    """One format's way in."""

    async def send(self, item: Item) -> Answer:
        """Send and wait for the answer. No answer is an AGAIN, never an exception."""

    async def close(self) -> None: ...


class Mllp:
    """Several connections; a patient keeps to one of them. Where no answer is asked for, sending is all."""

    def __init__(self, address: str, connections: int) -> None:
        host, port = split_address(address)
        self._clients = [MllpClient(host, port) for _ in range(connections)]

    async def send(self, item: Item) -> Answer:
        """AA and CA: kept. AR and CR: refused. AE, CE, nothing, or what is none of these: again."""
        client = self._clients[crc32(item.patient.encode()) % len(self._clients)]
        message = item.content()
        try:
            if not answer_is_due(message):
                await client.post(message)
                return Answer(Verdict.KEPT, UNASKED)
            code, _ = await client.send(message)
        except (Unacknowledged, OSError) as error:
            return Answer(Verdict.AGAIN, type(error).__name__)
        return Answer(_MLLP.get(code, Verdict.AGAIN), code or "no MSA")

    async def close(self) -> None:
        await asyncio.gather(*(client.close() for client in self._clients))


_MLLP = {"AA": Verdict.KEPT, "CA": Verdict.KEPT, "AR": Verdict.REFUSED, "CR": Verdict.REFUSED}


class Fhir:
    """FHIR JSON posted to the endpoint's base address: a Bundle there, a resource to its type."""

    def __init__(self, address: str, base: str = "/fhir", *, token: str = "") -> None:
        self._base = f"http://{address}{base}"
        self._headers = {"Content-Type": "application/fhir+json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    async def send(self, item: Item) -> Answer:
        """2xx: kept. 5xx, 408, 429, no connection: again. The rest: refused."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        place = "" if item.label == "Bundle" else f"/{item.label}"
        try:
            async with self._session.post(self._base + place, data=item.content(), headers=self._headers) as response:
                await response.read()
                return Answer(_http_verdict(response.status), str(response.status))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Answer(Verdict.AGAIN, type(error).__name__)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _http_verdict(status: int) -> Verdict:
    if status < 300:
        return Verdict.KEPT
    return Verdict.AGAIN if status >= 500 or status in (408, 429) else Verdict.REFUSED


class Dicom:
    """C-STORE over one association."""

    def __init__(self, address: str, ae_title: str) -> None:
        host, port = split_address(address)
        self._client = DicomClient(host, port, ae_title)

    async def send(self, item: Item) -> Answer:
        """0x0000 and warnings (0xBxxx): kept. 0xA7xx (out of resources), no association: again. The rest: refused."""
        try:
            status = await self._client.store(await asyncio.to_thread(item.content))
        except OSError as error:
            return Answer(Verdict.AGAIN, type(error).__name__)
        if status == 0 or status >> 12 == 0xB:
            return Answer(Verdict.KEPT, f"0x{status:04x}")
        return Answer(Verdict.AGAIN if status >> 8 == 0xA7 else Verdict.REFUSED, f"0x{status:04x}")

    async def close(self) -> None:
        await self._client.close()


def split_address(address: str) -> tuple[str, int]:
    """host:port; raises ValueError."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def open_channels(edge: Edge, connections: int) -> dict[Kind, Channel]:
    """A channel for every format; none connects before its first message."""
    return {
        "hl7v2": Mllp(edge.mllp, connections),
        "fhir": Fhir(edge.http, token=edge.token),
        "dicom": Dicom(edge.dicom, edge.ae_title),
    }
