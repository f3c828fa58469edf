"""The sockets that a service listens at: bound before anything else, so that a taken port changes nothing."""

import socket
from collections.abc import Iterator

from pef_kit.runtime.command_line import refuse
from pef_kit.runtime.settings import ServiceSettings


def bound(settings: ServiceSettings) -> Iterator[socket.socket]:
    """Yield a socket per address of the host, before anything is changed."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            place = socket.socket(family, kind, protocol)
            try:
                place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    place.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                place.bind(address)
            except OSError:
                place.close()
                raise
            yield place
    except (OSError, UnicodeError) as failed:
        reason = (getattr(failed, "strerror", None) or type(failed).__name__).lower()
        refuse(f"can't listen at {settings.host} port {settings.port}: {reason}; set PEF_HOST or PEF_PORT")
