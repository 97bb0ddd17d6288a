"""Ports for servers that are started a moment later."""

import socket

from services.local.ports import FIRST, LAST, free_ports


def test_ports_are_distinct_free_and_not_those_of_outgoing_connections() -> None:
    ports = free_ports(20) + free_ports(20)
    assert len(set(ports)) == 40
    assert all(FIRST <= port <= LAST for port in ports)
    for port in ports:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


def test_a_port_that_is_listened_on_is_not_given(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (taken, free) = free_ports(2)
    monkeypatch.setattr("services.local.ports._given", set())
    drawn = iter([taken, free])
    monkeypatch.setattr("services.local.ports._RANDOM.randint", lambda *_: next(drawn))
    with socket.socket() as server:
        server.bind(("0.0.0.0", taken))
        server.listen()
        assert free_ports(1) == [free]
