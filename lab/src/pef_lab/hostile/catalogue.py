"""The catalogue of attacks: which are tried here, and why the others are not."""

from typing import Final

from pef_lab.hostile import callers, failing, launch, returned, secrecy, shared_pages, withdrawn
from pef_lab.hostile.attack import Attack

ATTACKS: Final[tuple[Attack, ...]] = tuple(
    sorted(
        (
            *(*returned.ATTACKS, *callers.ATTACKS, *shared_pages.ATTACKS),
            *(*withdrawn.ATTACKS, *launch.ATTACKS, *failing.ATTACKS, *secrecy.ATTACKS),
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
}
"""Rows of the catalogue that are not tried, and why."""

TOO_SLOW: Final = "how long the services wait for a nested call is not known: give --patience"
