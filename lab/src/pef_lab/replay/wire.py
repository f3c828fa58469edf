"""A pair of services with a go-between on the wire each way, whose traffic is conducted as a file says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pef_lab.between.go_between import GoBetween
from pef_lab.between.wire import Ports, standing_between
from pef_lab.endpoints import Endpoints
from pef_lab.replay.traffic import Traffic
from pef_protocol.events import Side


@dataclass(frozen=True, slots=True)
class Wire:
    """Where the services themselves are, and what passes between them."""

    endpoints: Endpoints
    traffic: Traffic


@asynccontextmanager
async def wired(ports: Ports | None = None) -> AsyncIterator[Wire]:
    """Put go-betweens before both services of a running pair, or of one that is started for it."""
    traffic = Traffic()

    def conducted(to: Side, host: str, port: int) -> GoBetween:
        return GoBetween(to, traffic.conduct, host, port)

    async with standing_between(conducted, ports) as between:
        yield Wire(between.endpoints, traffic)
