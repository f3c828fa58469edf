"""Ports are held: only who names one gets it, and that as often as it starts anew."""

import errno
import socket

import pytest

from pef_lab import ports


def listen(port: int, *, again: bool) -> socket.socket:
    place = socket.socket()
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, again)
        place.bind((ports.LOOPBACK, port))
        place.listen()
    except OSError:
        place.close()
        raise
    return place


def held(port: int) -> bool:
    try:
        listen(port, again=False).close()
    except OSError as refused:
        return refused.errno == errno.EADDRINUSE
    return False


def test_a_service_listens_at_its_port_and_does_so_again_after_its_end() -> None:
    (port,) = ports.free_ports(1)
    for _ in range(2):
        listen(port, again=True).close()


def test_the_kernel_takes_the_port_for_one_that_is_in_use() -> None:
    (port,) = ports.free_ports(1)
    assert held(port)


def test_a_process_holds_so_many_and_lets_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "MOST_HELD", 3)
    found = ports.free_ports(5)
    assert [held(port) for port in found] == [False, False, True, True, True]
