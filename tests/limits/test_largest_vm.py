"""The largest VM that services of default size admit: no step of its life holds anybody up."""

from collections.abc import Iterator
from typing import Final

import pytest

from limits.pair_on_one_loop import LONGEST_CALLBACK, MeasuredPair, measured_pair
from limits.vms import large_vm, longest_callbacks
from pef_kit.settings import ServiceSettings
from pef_lab.failures import Refusal
from pef_protocol.quantities import PAGE_SIZE

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

LARGEST: Final[int] = ServiceSettings.model_fields["normal_memory_size"].default
"""Bytes: a VM has at most all of normal memory, in one slot."""


@pytest.fixture(scope="module", params=["mapped", "over HTTP"])
def pair(request: pytest.FixtureRequest) -> Iterator[MeasuredPair]:
    with measured_pair(mapped=request.param == "mapped", memory=LARGEST) as running:
        yield running


async def test_no_larger_slot_is_admitted(pair: MeasuredPair) -> None:
    with pytest.raises(Refusal, match="ENOMEM"):
        async with large_vm(pair, size=LARGEST + PAGE_SIZE):
            pass


async def test_no_step_of_its_life_holds_anybody_up(pair: MeasuredPair) -> None:
    took = await longest_callbacks(pair, LARGEST)
    slow = {step: each.processor for step, each in took.items() if each.processor > LONGEST_CALLBACK}
    assert not slow, f"seconds: {slow}"
