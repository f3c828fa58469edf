"""The largest VM that services of default size admit: no step of its life holds anybody up."""

from collections.abc import Iterator
from typing import Final

import pytest

from limits.pair_on_one_loop import LONGEST_CALLBACK, MeasuredPair, measured_pair
from limits.vms import large_vm
from pef_kit.settings import ServiceSettings
from pef_lab.door import Door
from pef_lab.failures import Refusal
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.wire import OBSERVER_PATH

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

LARGEST: Final[int] = ServiceSettings.model_fields["normal_memory_size"].default
"""Bytes: a VM has at most all of normal memory, in one slot."""
VIEWS: Final = ("vms", "digest", "invariants", "gfns")


@pytest.fixture(scope="module", params=["mapped", "over HTTP"])
def pair(request: pytest.FixtureRequest) -> Iterator[MeasuredPair]:
    with measured_pair(mapped=request.param == "mapped", memory=LARGEST) as running:
        yield running


async def test_no_larger_slot_is_admitted(pair: MeasuredPair) -> None:
    with pytest.raises(Refusal, match="ENOMEM"):
        async with large_vm(pair, size=LARGEST + PAGE_SIZE):
            pass


async def test_no_step_of_its_life_holds_anybody_up(pair: MeasuredPair) -> None:
    took: dict[str, float] = {}
    urls = pair.endpoints.ultravisor_url, pair.endpoints.hypervisor_url
    async with large_vm(pair, size=LARGEST) as vm:
        took["enter"] = vm.entering
        for name, url in zip(("Ultravisor", "Hypervisor"), urls, strict=True):
            async with Door(name, url, pair.endpoints.observer_token) as door:
                for view in VIEWS:
                    await door.view(OBSERVER_PATH + view, lpid=vm.lpid)
                    took[f"{view} of the {name}"] = pair.meter.read()
        await vm.guest.unshare_all()
        took["unshare all"] = pair.meter.read()
        await vm.vmm.unmap(vm.lpid, 0, LARGEST // PAGE_SIZE)
        took["unmap"] = pair.meter.read()
        await vm.vmm.unplug(vm.lpid, 0)
        took["unplug"] = pair.meter.read()
        await vm.vmm.plug(vm.lpid, 0, 0, LARGEST)
        took["plug"] = pair.meter.read()
        await vm.vmm.reset(vm.lpid)
        took["reset"] = pair.meter.read()
    took["destroy"] = pair.meter.read()
    slow = {what: round(seconds * 1000) for what, seconds in took.items() if seconds > LONGEST_CALLBACK}
    assert not slow, f"ms: {slow}"
