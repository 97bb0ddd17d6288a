"""The DICOM listener: Verification and Storage as a service class provider (PS3.4 annexes A and B), by pynetdicom.

A C-STORE is answered 0x0000 after the object is in storage and the broker has acknowledged its event, with
0xA700 while either is away (the sender keeps the object and sends again), 0xC000 when it cannot be read, and
0xA900 when its SOP class or instance is not the one announced. pynetdicom runs two threads an association; they
hand the keeping to the event loop and wait.
"""

import asyncio
import concurrent.futures
import logging
import ssl
import threading
from collections.abc import Coroutine, Sequence
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary, finalize

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from services.bus.metrics import ACK_SECONDS, ACKNOWLEDGED, CONNECTIONS, RECEIVED
from services.bus.objects import ObjectError
from services.domain.reasons import Rejected, RejectReason
from services.edge.defects import defect, described
from services.edge.dicom_intake import KEEP_TIMEOUT_S, LARGE_AT_ONCE, MAX_OBJECT_BYTES, DicomIntake
from services.edge.dicom_wire import BoundedReader, Server, bound, silence
from services.edge.publisher import PublishFailed, TooLarge
from services.formats.dicom import read_header
from services.formats.dicom.model import DicomObject, text

log = logging.getLogger(__name__)

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
"""PS3.4 table B.2-1 and PS3.7 annex C."""

NOT_AS_ANNOUNCED = Rejected(
    RejectReason.NOT_AS_ANNOUNCED, "(0008,0018)", "the request named another instance or class than the data set"
)
TRANSFER_SYNTAXES = sorted(ALL_TRANSFER_SYNTAXES, key=lambda uid: uid != ExplicitVRLittleEndian)
"""Of several that a sender proposes for one context the first of these is taken: explicit VR keeps private elements'
types; then all uncompressed before all compressed, so that nobody is asked for a lossy one who has better."""
MAX_PDU = 128 << 10
"""Bytes that we take in one PDU."""
STOP_TIMEOUT_S = 10.0
RELEASE_TIMEOUT_S = 1.0
"""For senders that end their associations themselves; those that keep them open are aborted."""
NETWORK_TIMEOUT_S = 60.0
"""An association that says nothing for so long is aborted."""


class DicomScp:
    """One listening application entity. `start` and `stop` are called on the event loop that `intake` runs on."""

    def __init__(
        self,
        intake: DicomIntake,
        *,
        host: str = "0.0.0.0",
        port: int = 11112,
        ae_title: str = "WARDSTREAM",
        tls: ssl.SSLContext | None = None,
        callers: Sequence[str] = (),
        max_associations: int = 16,
        max_object_bytes: int = MAX_OBJECT_BYTES,
        keep_timeout: float = KEEP_TIMEOUT_S,
    ) -> None:
        """`callers`: the calling AE titles that are let in, all when empty. `port` 0 takes a free one."""
        silence()
        self._intake = intake
        self._address = (host, port)
        self._tls = tls
        self._max_object_bytes = max_object_bytes
        self._keep_timeout = keep_timeout
        self._entity = _entity(ae_title, callers, max_associations)
        self._readers: WeakKeyDictionary[Association, BoundedReader] = WeakKeyDictionary()
        self._large = threading.BoundedSemaphore(LARGE_AT_ONCE)
        self._storing = 0
        self._idle = threading.Condition()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 before `start`."""
        return int(self._server.server_address[1]) if self._server else 0

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        self._loop = asyncio.get_running_loop()
        handlers: list[EventHandlerType] = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_C_ECHO, _echo),
            (evt.EVT_C_STORE, self._store),
        ]
        made = self._entity.make_server(
            self._address,
            contexts=_Shared(self._entity.supported_contexts),
            ssl_context=self._tls,
            evt_handlers=handlers,
            server_class=Server,
        )
        assert isinstance(made, Server)
        self._server = made
        self._entity._servers.append(made)  # where its shutdown looks for it
        self._thread = threading.Thread(target=made.serve_forever, args=(0.1,), name="dicom-scp", daemon=True)
        self._thread.start()
        log.info("DICOM: listening on port %d", self.port)

    async def stop(self) -> None:
        """Let no new association in, give C-STOREs in progress STOP_TIMEOUT_S to end, and abort the rest."""
        server, self._server = self._server, None
        if server is None:
            return
        await asyncio.to_thread(server.shutdown)
        await asyncio.to_thread(self._await_idle)
        await asyncio.to_thread(self._await_released)
        await asyncio.to_thread(self._entity.shutdown)
        if self._thread:
            await asyncio.to_thread(self._thread.join, STOP_TIMEOUT_S)

    def _await_idle(self) -> None:
        with self._idle:
            self._idle.wait_for(lambda: not self._storing, STOP_TIMEOUT_S)

    def _await_released(self) -> None:
        """The last responses are on their way when nothing is being stored any more: let them arrive."""
        until = perf_counter() + RELEASE_TIMEOUT_S
        for association in self._entity.active_associations:
            association.join(max(0.0, until - perf_counter()))

    def _opened(self, event: Event) -> None:
        CONNECTIONS.labels("dicom").inc()
        wire = event.assoc.dul.socket
        assert wire is not None
        reader = bound(wire, MAX_PDU, self._max_object_bytes, self._large)
        self._readers[event.assoc] = reader
        finalize(event.assoc, reader.next_message)  # however an association ends, its turn goes to others

    def _closed(self, event: Event) -> None:
        CONNECTIONS.labels("dicom").dec()
        reader = self._readers.get(event.assoc)
        if reader:
            reader.next_message()

    def _store(self, event: Event) -> int:
        """Answer one C-STORE. Runs in the association's thread; never raises."""
        begun = perf_counter()
        RECEIVED.labels("dicom").inc()
        with self._idle:
            self._storing += 1
        try:
            status = self._kept(event)
        except Exception as error:  # noqa: BLE001 -- a raise here would have pynetdicom log what it was about
            log.error("a C-STORE failed: %s", described(error))
            status = PROCESSING_FAILURE
        finally:
            reader = self._readers.get(event.assoc)
            if reader:
                reader.next_message()
            with self._idle:
                self._storing -= 1
                self._idle.notify_all()
        ACKNOWLEDGED.labels("dicom", f"0x{status:04X}").inc()
        ACK_SECONDS.labels("dicom").observe(perf_counter() - begun)
        return status

    def _kept(self, event: Event) -> int:
        data = event.encoded_dataset()
        try:
            found = read_header(data)
            if isinstance(found, Rejected):
                return self._refused(None, data, found, CANNOT_UNDERSTAND)
            if not _as_announced(event, found):
                return self._refused(found, data, NOT_AS_ANNOUNCED, DATA_SET_MISMATCH)
            try:
                return self._done(self._intake.keep(found, data), SUCCESS)
            except TooLarge:
                hint = "the header is longer than its topic takes"
                return self._refused(None, data, Rejected(RejectReason.TOO_LARGE, hint=hint), CANNOT_UNDERSTAND)
        except Exception as error:  # noqa: BLE001 -- a defect of ours: the object is not lost by it
            log.error("a C-STORE ended in a defect: %s", described(error))
            return self._refused(None, data, defect(error), PROCESSING_FAILURE)

    def _refused(self, found: DicomObject | None, data: bytes, rejected: Rejected, status: int) -> int:
        return self._done(self._intake.refuse(found, data, rejected), status)

    def _done(self, work: Coroutine[Any, Any, object], status: int) -> int:
        """`status` once the work is done; OUT_OF_RESOURCES when storage or broker is away. Raises TooLarge."""
        assert self._loop is not None
        keeping = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            keeping.result(self._keep_timeout)
        except TooLarge:
            raise
        except (ObjectError, PublishFailed, TimeoutError, concurrent.futures.CancelledError) as error:
            keeping.cancel()
            log.warning("DICOM: an object could not be kept: %s", type(error).__name__)
            return OUT_OF_RESOURCES
        return status


def _entity(ae_title: str, callers: Sequence[str], max_associations: int) -> ApplicationEntity:
    entity = ApplicationEntity(ae_title)
    entity.maximum_associations = max_associations
    entity.maximum_pdu_size = MAX_PDU
    entity.network_timeout = NETWORK_TIMEOUT_S
    entity.require_calling_aet = list(callers)
    entity.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        assert context.abstract_syntax
        entity.add_supported_context(context.abstract_syntax, TRANSFER_SYNTAXES)
    return entity


class _Shared(list[PresentationContext]):
    """A list that pynetdicom's deepcopy for each association leaves as it is (80 ms; nothing changes its contexts)."""

    def __deepcopy__(self, _memo: object) -> "_Shared":
        return self


def _echo(_event: Event) -> int:
    return SUCCESS


def _as_announced(event: Event, found: DicomObject) -> bool:
    """Whether the data set is the one that the request's Affected SOP Class and Instance UIDs named (PS3.7 9.1.1.1)."""
    request = event.request
    assert isinstance(request, C_STORE)
    announced_class, announced = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
    inside = text(found.header, "00080016")
    return text(found.header, "00080018") == announced and inside in ("", announced_class)
