"""Free ports for what is started here."""

import socket


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nothing listens on; distinct, because all are held until the last is known."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]
    finally:
        for held in sockets:
            held.close()
