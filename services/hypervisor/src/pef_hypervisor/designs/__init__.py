"""The designs of the 2020 discussion, as the Hypervisor's strategies: how left-over GFNs are treated."""

from collections.abc import Mapping
from typing import Final

from pef_hypervisor.designs import eager, pushed, tracked, tracked_pagein
from pef_hypervisor.designs.rules import Rules
from pef_protocol.designs import Design

RULES: Final[Mapping[Design, Rules]] = {
    rules.design: rules
    for rules in (
        eager.EAGER,
        eager.BROKEN,
        tracked.RULES,
        tracked_pagein.RULES,
        *pushed.READINGS,
        pushed.FIXED,
    )
}
