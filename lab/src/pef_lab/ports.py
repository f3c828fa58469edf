"""Loopback ports for services that are about to be started, held for them so that nobody else gets one.

A port that was free a moment ago is free no longer once the kernel gives it to somebody who asks for any: a
go-between that listens, a request that goes out. That may happen before a service starts, and again between
its end and its next start; and a go-between that gets the port of the service behind it passes each request
on to itself, without end. So a socket stays bound to the port, and never listens: the kernel then gives the
port to nobody, and still lets a service that names it listen there, for both say SO_REUSEADDR.

Source: socket(7), SO_REUSEADDR; ip(7), `ip_local_port_range`.
"""

import os
import socket
from collections import deque
from typing import Final

LOOPBACK: Final = "127.0.0.1"
MOST_HELD: Final = 256
"""Ports that this process holds at once: more than it has services. The oldest is let go for a new one."""
_held: Final[deque[int]] = deque()
"""File descriptors, which the end of this process closes."""


def free_ports(number: int) -> list[int]:
    """Return as many loopback ports as asked that nobody has, and that only who names one gets."""
    found = []
    for _ in range(number):
        while len(_held) >= MOST_HELD:
            os.close(_held.popleft())
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((LOOPBACK, 0))
            found.append(holder.getsockname()[1])
            _held.append(holder.detach())
    return found
