"""What docs/operations.md shows of the log is what a service writes, and it lists every metric."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pef_kit.runtime.gauges import Measured
from pef_kit.runtime.log import LogForm
from pef_kit.runtime.trace import Observer
from pef_protocol.events import Event, EventKind, EventPhase, Side
from pef_protocol.states import UvVmState

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
SHOWN = Event(
    18,
    Side.ULTRAVISOR,
    EventKind.CALL,
    EventPhase.END,
    "5f0c81d2a7b3e946",
    "91aa04c7d85e2b6f",
    "hypervisor",
    "UV_PAGE_IN",
    2,
    {"lpid": 1, "runs": "0x100000000+0x10000+0x4", "flags": 0, "order": 16},
    "U_SUCCESS",
    pages=4,
    seconds=0.000412,
)


def test_the_line_that_is_shown_is_one_that_is_written() -> None:
    written: list[str] = []
    observer = Observer(Side.ULTRAVISOR, LogForm.TEXT)
    observer.log._write = written.append
    observer.log.of_event(SHOWN)
    observer.log.flush()
    (shown,) = [line for line in PAGE.splitlines() if " UV_PAGE_IN U_SUCCESS " in line]
    assert shown.split(" ", 1)[1] == "".join(written).strip().split(" ", 1)[1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown.split(" ", 1)[0])


def test_every_metric_is_listed() -> None:
    observer = Observer(Side.ULTRAVISOR)
    observer.measure(lambda: Measured(0, 0, (), UvVmState))
    names = {
        family.name.removesuffix("_created")  # a counter has the time of its birth beside it
        for family in text_string_to_metric_families(observer.exposition().decode())
    }
    assert [name for name in sorted(names) if name not in PAGE] == []
