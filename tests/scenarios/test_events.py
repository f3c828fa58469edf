"""The trace of a live pair: what an access or an operation needs hangs under it, on both sides."""

import pytest

from harness.live import LivePlan, live_pair
from harness.live_vm import FREE, secure_vm
from pef_protocol.events import EventKind

pytestmark = [pytest.mark.sockets, pytest.mark.slow]


async def test_calls_hang_under_the_access_or_the_operation_that_needs_them() -> None:
    """Each call of a secure VM's life has a parent in the trace, but for its own ultracalls.

    Given a secure VM
    When the host reads a page of it, and then the guest loads that page
    Then UV_PAGE_OUT is under the read, and H_SVM_PAGE_IN with its UV_PAGE_IN is under the load.
    """
    async with live_pair(LivePlan(between=False)) as pair, secure_vm(pair) as vm:
        await vm.write(FREE)
        before = await pair.watch.fresh_events()
        await vm.page_out(FREE)
        await vm.reads_what_it_wrote()
        events = await pair.watch.fresh_events()
    by_id = {event["call_id"]: event for event in (*before, *events)}
    chains = set()
    for event in events:
        names = [event["name"]]
        while event := by_id.get(event["parent_id"], {}):
            names.append(event["name"])
        chains.add(" < ".join(names))
    assert "UV_PAGE_OUT < host_read" in chains
    assert "UV_PAGE_IN < H_SVM_PAGE_IN < load" in chains
    orphans = {
        event["name"]
        for event in by_id.values()
        if event["kind"] == EventKind.CALL and not event["parent_id"]
    }
    assert orphans == {"UV_ESM"}
