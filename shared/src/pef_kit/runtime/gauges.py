"""What `/metrics` measures when it is read: calls under way, resident pages, VMs by state.

Trust: counts alone.
"""

import platform
from collections import Counter as Counted
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from pef_protocol.events import Side
from pef_protocol.version import VERSION


@dataclass(frozen=True, slots=True)
class Measured:
    """What a side holds now. `resident`: pages of secure memory, as this side counts them, of `secure_pages`.

    `states`: the state of each VM that the side has, one of `all_states`.
    """

    resident: int
    secure_pages: int
    states: Iterable[IntEnum]
    all_states: type[IntEnum]


class Gauges(Collector):
    """Measures a side each time its counters are read; `open_calls` counts the calls under way."""

    def __init__(self, side: Side, open_calls: Callable[[], int], measure: Callable[[], Measured]) -> None:
        self._side = side
        self._open_calls = open_calls
        self._measure = measure

    def describe(self) -> Iterator[Metric]:
        """Name no metric before its time: what this measures is there only once the service is made."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield all gauges."""
        measured = self._measure()
        side = {"side": self._side.value, "version": VERSION, "python": platform.python_version()}
        yield InfoMetricFamily("pef_build", "What runs", side)
        yield GaugeMetricFamily("pef_open_calls", "Calls that are under way", self._open_calls())
        yield GaugeMetricFamily(
            "pef_resident_pages", "Pages of secure memory that are in use", measured.resident
        )
        yield GaugeMetricFamily(
            "pef_secure_memory_pages", "Pages of secure memory that there are", measured.secure_pages
        )
        vms = GaugeMetricFamily("pef_vms", "VMs by their state at this side", labels=["state"])
        counts = Counted(measured.states)
        for state in measured.all_states:
            vms.add_metric([state.name], counts[state])
        yield vms
