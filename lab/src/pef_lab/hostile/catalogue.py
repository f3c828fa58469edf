"""The catalogue of attacks: which are tried here, and why the others are not."""

from typing import Final

from pef_lab.hostile import callers, failing, fence, launch, returned, secrecy, shared_pages, withdrawn
from pef_lab.hostile.attack import Attack

ATTACKS: Final[tuple[Attack, ...]] = tuple(
    sorted(
        (
            *(*returned.ATTACKS, *callers.ATTACKS, *shared_pages.ATTACKS),
            *(*withdrawn.ATTACKS, *launch.ATTACKS, *failing.ATTACKS, *secrecy.ATTACKS, *fence.ATTACKS),
        ),
        key=lambda attack: attack.number,
    )
)
"""Every attack that is tried, in the catalogue's order."""

NOT_TRIED: Final = {
    24: "no hypercall of a guest is reflected, so there is no UV_RETURN to forge",
    25: "no interrupt is injected: the same",
    26: "no register travels: the same",
    27: "H_RANDOM is not built",
    41: "it fills a machine's secure memory, which a running pair needs; the tests do it on a small one",
    43: "there are no debug registers",
    46: "it restarts the Hypervisor, which ends every VM: the tests do it",
    47: "an lpid comes again late: the tests wait for it in one process",
    **dict.fromkeys((50, 51, 52, 53), "it loads the machine, not the boundary: tests of limits do it"),
    54: "it needs a page-out held half way: the tests do it",
    55: "it keeps vCPUs busy for seconds: the tests do it",
    58: "it needs a second Hypervisor, and ends every VM: the tests do it",
    60: "it is tried with attack 21, of which it is a part",
    61: "it needs an lpid that comes again: the tests do it",
}
"""Rows of the catalogue that are not tried, and why."""

TOO_SLOW: Final = "when its Ultravisor gives a call up is not known: give --give-up"
