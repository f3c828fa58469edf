"""A message of a million runs, whatever it holds: no callback on the event loop takes long."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Final

import numpy as np
import pytest

from limits.pair_on_one_loop import LONGEST_CALLBACK, MeasuredPair, measured_pair
from limits.vms import FREE, SIZE, LargeVm, large_vm
from pef_kit.core.runs import I64
from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.calls import CALLS
from pef_protocol.http import RUNS_AT_ONCE
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

RUNS: Final = {"a million": 1_000_000, "admitted": RUNS_AT_ONCE, "admitted as JSON": 2000}
SHARED: Final = 8192
"""Pages from FREE on that the SVM shares: the calls meet them, too."""
WITH_RUNS: Final = tuple(name for name, call in CALLS.items() if call.runs is not None)
STATES: Final = {"all refused": 2, "alternately refused": 1, "overlapping": 0}
"""The step (pages) from a run to the next; the slot has a page for every second run of the first kind."""


@pytest.fixture(scope="module")
def pair() -> Iterator[MeasuredPair]:
    with measured_pair() as running:
        yield running


@pytest.fixture(scope="module")
async def vm(pair: MeasuredPair) -> AsyncIterator[LargeVm]:
    async with large_vm(pair) as made:
        await made.guest.share(FREE, SHARED)
        yield made


def rows(name: str, kind: str, runs: int) -> I64:
    """Return the runs of a message, none of which moves a byte: one page each."""
    numbers = np.arange(runs, dtype=np.int64)
    gpas = (FREE + SHARED + numbers * STATES[kind]) * PAGE_SIZE
    if kind == "alternately refused":
        gpas[1::2] += SIZE
    ras = NORMAL_BASE + gpas
    if name == "UV_PAGE_OUT":
        ras = gpas % NORMAL_BASE  # below normal memory: nothing goes out
    if name == "H_SVM_PAGE_OUT":
        gpas = gpas + 2 * SIZE  # in no slot
    columns = [gpas, np.ones(runs, np.int64)]
    if name in {"UV_PAGE_IN", "UV_PAGE_OUT"}:
        columns.insert(0, ras)
    return np.stack(columns, axis=1)


def scalars(name: str, lpid: int) -> dict[str, int]:
    values = {"lpid": lpid, "flags": 0, "order": int(PAGE_ORDER)}
    return {argument: values[argument] for argument in CALLS[name].arguments if argument != "runs"}


@pytest.mark.parametrize("form", ["octets", "JSON"])
@pytest.mark.parametrize("size", RUNS)
@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("name", WITH_RUNS)
async def test_a_message_of_many_runs_holds_nobody_up(
    pair: MeasuredPair, vm: LargeVm, name: str, kind: str, size: str, form: str
) -> None:
    table, fixed = rows(name, kind, RUNS[size]), scalars(name, vm.lpid)
    if form == "octets":
        response = await vm.call(name, table.astype("<u8").tobytes(), **fixed)
    else:
        response = await vm.call(name, json.dumps(fixed | {"runs": table.tolist()}).encode())
    longest = pair.meter.read()
    admitted = {"a million": (), "admitted": ("octets",), "admitted as JSON": ("octets", "JSON")}[size]
    assert response.status_code == (200 if form in admitted else 413)
    assert longest <= LONGEST_CALLBACK, f"{longest * 1000:.0f} ms"


@pytest.mark.parametrize(
    "name",
    [
        "UV_PAGE_IN",
        "UV_PAGE_OUT",
        "UV_PAGE_INVAL",
        "H_SVM_PAGE_IN",
    ],
)
async def test_runs_on_shared_pages_hold_nobody_up(pair: MeasuredPair, vm: LargeVm, name: str) -> None:
    gpas = (FREE + np.arange(SHARED, dtype=np.int64)) * PAGE_SIZE
    columns = [gpas, np.ones(SHARED, np.int64)]
    if name in {"UV_PAGE_IN", "UV_PAGE_OUT"}:
        columns.insert(0, NORMAL_BASE + gpas)
    fixed = scalars(name, vm.lpid) | ({"flags": 1} if name == "H_SVM_PAGE_IN" else {})
    response = await vm.call(name, np.stack(columns, axis=1).astype("<u8").tobytes(), **fixed)
    longest = pair.meter.read()
    assert response.status_code == 200
    assert longest <= LONGEST_CALLBACK, f"{longest * 1000:.0f} ms"
