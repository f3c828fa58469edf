"""What is compared: both sides while no call is open, and how they come from one such state to the next."""

from typing import Final, NamedTuple, TypeAlias

NOT_OPEN: Final = 9
"""The `phase` of a VM that has no UV_ESM open."""


class RestState(NamedTuple):
    """Both sides while no call is open, or only a UV_ESM that stands between two phases: plain numbers.

    The fields are in the order in which the models print them. `svm`: 0, or the state of the SVM and 1.
    `whole`: every GFN counts as the Ultravisor's. `ultravisor`, `hypervisor`: the state of the GFN there, or
    255 where it is in no slot. `mapped`: a normal page backs it. `recorded`: there is a sealing record;
    `genuine`: the normal page holds what was sealed. `sent` is 0 in a secure VM, where it says nothing.
    `named`: the Hypervisor would name the SVM that there is. `secure`: the guest runs under the Ultravisor.
    `phase`: the next one of UV_ESM, or NOT_OPEN; `failed`: the next one ends it.
    """

    svm: int
    whole: int
    ultravisor: int
    imported: int
    mapped: int
    recorded: int
    genuine: int
    vm: int
    must_abort: int
    abort_due: int
    must_reset: int
    registered: int
    hypervisor: int
    host_populated: int
    sent: int
    stand_in: int
    named: int
    secure: int
    phase: int
    failed: int

    def __str__(self) -> str:
        """Return each field that is not 0, with its number."""
        return ", ".join(
            f"{name} {number}" for name, number in zip(self._fields, self, strict=True) if number
        )


Step: TypeAlias = tuple[RestState, RestState]
"""A state at rest, and one that comes next: calls begin in the first, and all have ended in the second."""


class Seen(NamedTuple):
    """What a tool has seen of one model: its states at rest, and the steps between them."""

    states: frozenset[RestState]
    steps: frozenset[Step]
