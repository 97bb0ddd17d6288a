"""What pynetdicom's association server lacks at its sockets: bounds, deadlines, TLS that cannot block, and silence.

Seen in pynetdicom 3.0.4: a PDU's claimed length (up to 4 GiB) is read without a limit, and a data set grows in
memory without one; an accepted socket has no time-out, so a peer that stalls inside a PDU holds its association
for ever; the TLS handshake runs in the accepting thread, so one silent peer keeps all others out; Nagle's
algorithm here and delayed acknowledgements of a sender's Nagle cost 40 ms an instance (storescu: 18 small instances
a second before, 180 after, on a busy two-core machine).
"""

import logging
import socket
import ssl
import sys
import threading
from typing import Any

from pynetdicom import _config
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from services.edge.dicom_intake import SMALL_BYTES

log = logging.getLogger(__name__)

STALL_TIMEOUT_S = 30.0
"""Longest silence inside a PDU or a TLS handshake."""
LARGE_TIMEOUT_S = 120.0
"""Longest wait of a large object for its turn."""
QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Linux. A sender that keeps Nagle's algorithm (dcmtk does) holds the data set back until its command is acknowledged,
which the kernel delays by 40 ms: acknowledge at once. It is not sticky, so each read asks anew."""
PDU_SLACK = 256 << 10
"""A-ASSOCIATE-RQ is not bound by the agreed maximum: 128 contexts with many transfer syntaxes take some 100 KiB."""
MESSAGE_SLACK = 1 << 20
"""What a C-STORE takes besides its data set: command set and PDU headers."""


def silence() -> None:
    """Keep pynetdicom's own logs out, whatever level is set: they hold identifiers and whole data sets."""
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").addHandler(logging.NullHandler())
    logging.getLogger("pynetdicom").propagate = False


class BoundedReader:
    """Takes the place of an association socket's `recv`: within a PDU's and a message's bounds, in few system calls."""

    def __init__(self, wire: socket.socket, max_pdu: int, max_message: int, large: threading.BoundedSemaphore) -> None:
        """`large` is shared by all readers: who receives more than SMALL_BYTES holds it until that is dealt with."""
        self._wire = wire
        self._max_pdu = max(max_pdu, PDU_SLACK)
        self._left = self._allowance = max_message + MESSAGE_SLACK
        self._large = large
        self._holds = False
        self._lock = threading.Lock()

    def next_message(self) -> None:
        """The message that was being received has been dealt with, or never will be."""
        with self._lock:
            self._left = self._allowance
            held, self._holds = self._holds, False
        if held:
            self._large.release()

    def _take(self, nr_bytes: int) -> None:
        """Count bytes that are about to be received; waits for its turn when the message grows large."""
        self._left -= nr_bytes
        if nr_bytes > self._max_pdu or self._left < 0:
            log.warning("a DICOM peer sent more than it may and is disconnected")
            raise OSError("more than was agreed")
        if self._allowance - self._left > SMALL_BYTES and not self._holds:
            if not self._large.acquire(timeout=LARGE_TIMEOUT_S):
                raise OSError("other large objects are being received")
            self._holds = True

    def recv(self, nr_bytes: int) -> bytearray:
        """Up to `nr_bytes`, fewer at the connection's end. Raises OSError: to pynetdicom, a lost connection."""
        self._take(nr_bytes)
        if QUICKACK is not None:
            self._wire.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
        received, at = bytearray(nr_bytes), 0
        view = memoryview(received)
        while at < nr_bytes:
            got = self._wire.recv_into(view[at:])
            if not got:
                break
            at += got
        view.release()
        del received[at:]
        return received


def bound(
    association_socket: AssociationSocket, max_pdu: int, max_message: int, large: threading.BoundedSemaphore
) -> BoundedReader:
    """Put the bounds, the deadline and TCP_NODELAY on a freshly accepted association's socket."""
    wire = association_socket.socket
    assert wire is not None
    wire.settimeout(STALL_TIMEOUT_S)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reader = BoundedReader(wire, max_pdu, max_message, large)
    association_socket.recv = reader.recv  # type: ignore[method-assign]
    return reader


class Server(ThreadedAssociationServer):
    """pynetdicom's server with the TLS handshake in the association's own thread, under a deadline."""

    request_queue_size = 128

    def get_request(self) -> tuple[socket.socket, Any]:
        assert self.socket is not None
        client, address = self.socket.accept()
        if self.ssl_context:
            client.settimeout(STALL_TIMEOUT_S)
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return client, address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            try:
                request.do_handshake()
            except OSError as error:
                log.info("a TLS handshake failed: %s", type(error).__name__)
                self.shutdown_request(request)
                return
        super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Instead of socketserver's traceback on standard error, which may quote what was received."""
        log.error("an association could not be set up: %s", type(sys.exception()).__name__)
