"""What `/metrics` measures when it is read: calls under way, resident pages, VMs by state.

Trust: counts alone.
"""

import platform
from collections import Counter as Counted
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from pef_protocol.version import VERSION

if TYPE_CHECKING:
    from pef_kit.runtime.trace import Observer


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
    """Measures a side whenever its counters are read."""

    def __init__(self, observer: "Observer", measure: Callable[[], Measured]) -> None:
        self._observer = observer
        self._measure = measure

    def describe(self) -> Iterator[Metric]:
        """Name no metric before its time: what this measures is there only once the service is made."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield all gauges."""
        observer, measured = self._observer, self._measure()
        side = {"side": observer.side.value, "version": VERSION, "python": platform.python_version()}
        yield InfoMetricFamily("pef_build", "What runs", side)
        yield GaugeMetricFamily("pef_open_calls", "Calls that are under way", observer.open_calls)
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
