"""C-STORE as a modality does it: one association, one instance after the other."""

import asyncio
import io
import socket
from concurrent.futures import ThreadPoolExecutor

from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.association import Association

CONNECT_TIMEOUT_S = 10.0
STORE_TIMEOUT_S = 60.0


class DicomClient:
    """Keeps one association open to an application entity. pynetdicom blocks, so it works in a thread of its own."""

    def __init__(self, host: str, port: int, ae_title: str, calling: str = "REPLAY") -> None:
        self._address, self._called = (host, port), ae_title
        self._entity = AE(calling)
        self._entity.connection_timeout = self._entity.acse_timeout = CONNECT_TIMEOUT_S
        self._entity.dimse_timeout = STORE_TIMEOUT_S
        self._thread = ThreadPoolExecutor(1, "c-store")
        self._association: Association | None = None

    async def store(self, instance: bytes) -> int:
        """Send a DICOM file; its status (PS3.4 table B.2-1). Raises OSError without an association or an answer."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._store, instance)

    async def close(self) -> None:
        """Release the association."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._release)
        self._thread.shutdown()

    def _store(self, instance: bytes) -> int:
        dataset = dcmread(io.BytesIO(instance))
        syntax, kind = dataset.file_meta.TransferSyntaxUID, dataset.SOPClassUID
        association = self._associate(kind, syntax)
        status = association.send_c_store(dataset)
        if "Status" not in status:
            self._release()
            raise ConnectionError("the association ended without an answer")
        return int(status.Status)

    def _associate(self, kind: str, syntax: str) -> Association:
        """The open association where it has the context, else a new one that asks for all contexts so far."""
        current = self._association
        if current is not None and current.is_established:
            accepted = current.accepted_contexts
            if any(c.abstract_syntax == kind and c.transfer_syntax[0] == syntax for c in accepted):
                return current
        self._release()
        known = {(c.abstract_syntax, c.transfer_syntax[0]) for c in self._entity.requested_contexts}
        if (kind, syntax) not in known:
            self._entity.add_requested_context(kind, syntax)
        opened = self._entity.associate(
            *self._address, ae_title=self._called, evt_handlers=[(evt.EVT_CONN_OPEN, _nodelay)]
        )
        if not opened.is_established:
            raise ConnectionError("no association")
        self._association = opened
        return opened

    def _release(self) -> None:
        if self._association is not None and self._association.is_established:
            self._association.release()
        self._association = None


def _nodelay(event: evt.Event) -> None:
    """Without it each instance waits for a delayed TCP acknowledgement: 20 a second and not 130."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
