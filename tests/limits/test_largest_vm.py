"""The largest VM that services of default size admit: no step of its life holds anybody up."""

from typing import Final

import pytest

from limits.life import longest_callbacks_of_a_process
from limits.pair_on_one_loop import LONGEST_CALLBACK, measured_pair
from limits.vms import large_vm
from pef_kit.runtime.settings import ServiceSettings
from pef_lab.failures import Refusal
from pef_protocol.quantities import PAGE_SIZE

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

LARGEST: Final[int] = ServiceSettings.model_fields["normal_memory_size"].default
"""Bytes: a VM has at most all of normal memory, in one slot."""
STEPS: Final = 15
"""Steps of its life that are measured."""


async def test_no_larger_slot_is_admitted() -> None:
    with measured_pair(memory=LARGEST) as pair, pytest.raises(Refusal, match="ENOMEM"):
        async with large_vm(pair, size=LARGEST + PAGE_SIZE):
            pass


@pytest.mark.verify
@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "over HTTP"])
def test_no_step_of_its_life_holds_anybody_up(mapped: bool) -> None:
    took = longest_callbacks_of_a_process(LARGEST, mapped=mapped)
    assert len(took) >= STEPS
    slow = {step: each.processor for step, each in took.items() if each.processor > LONGEST_CALLBACK}
    assert not slow, f"seconds: {slow}"
