"""Free ports for what is started here."""

import random
import socket
from contextlib import suppress

FIRST, LAST = 10_000, 32_767
"""Below the ports that systems give to outgoing connections (Linux: ip_local_port_range, from 32768 on): of those, one
that is free now may be a Kafka client's own before the server that it was chosen for binds it."""

_RANDOM = random.SystemRandom()
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nothing listens on. A process is never given one of them twice."""
    found: list[int] = []
    while len(found) < count:
        port = _RANDOM.randint(FIRST, LAST)
        if port not in _given and is_free(port):
            _given.add(port)
            found.append(port)
    return found


def is_free(port: int) -> bool:
    """Whether nothing listens on a port of the loopback address."""
    with suppress(OSError), socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended hold no server up
        held.bind(("127.0.0.1", port))
        return True
    return False
