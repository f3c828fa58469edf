"""What the discussion of 2020 leads one to expect of each design. Runs are compared with it.

Of `pushed`, in any reading, nothing is expected: nobody had answered the reviewer's question by running it.
Its repair must be sound. `broken` is as the patch series describes it: unmigrated GFNs are normal on one side
only, so the host reads what was there before UV_ESM, and so does the VM after its next reboot. Of a design
from outside nothing is expected.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from pef_lab.designs.report import VERDICTS, DesignReport
from pef_lab.findings import Verdict
from pef_protocol.designs import PUSHING, Design, DesignName
from pef_protocol.quantities import pages_in

SOUND: Final = frozenset({Verdict.OK})
CORRUPT: Final = frozenset({Verdict.CORRUPT})
WRONG: Final = frozenset({Verdict.CORRUPT, Verdict.REFUSED})

_ALL_SOUND: Final = dict.fromkeys(VERDICTS, SOUND)

EXPECTED: Final[Mapping[DesignName, Mapping[str, frozenset[Verdict]]]] = MappingProxyType(
    {
        Design.TRACKED: _ALL_SOUND,
        Design.TRACKED_PAGEIN: _ALL_SOUND,
        Design.EAGER: {**_ALL_SOUND, "hot_add": WRONG},
        Design.BROKEN: {"host_reads": CORRUPT, "reboot": CORRUPT, "hot_add": WRONG},
        **{design: {} for design in PUSHING},
        Design.PUSHED_FIXED: _ALL_SOUND,
    }
)


def surprises(reports: Sequence[DesignReport], size: int) -> list[str]:
    """Return, in plain words, where runs of VMs of `size` bytes came out other than expected."""
    found = []
    for report in reports:
        for step, expected in EXPECTED.get(report.name, {}).items():
            verdict = report.verdicts[step]
            if verdict not in expected:
                wanted = " or ".join(sorted(expected))
                found.append(f"{report.name}: {step} came out {verdict}, expected {wanted}")
    carried = {report.name: report.cost.counted.gfns_carried for report in reports if report.cost}
    everything = pages_in(size)
    if carried.get(Design.EAGER, everything) < everything:
        found.append(f"eager: UV_ESM carried {carried[Design.EAGER]:,} GFNs, fewer than the VM has")
    if carried.get(Design.TRACKED, 0) >= everything:
        found.append(f"tracked: UV_ESM carried {carried[Design.TRACKED]:,} GFNs, no fewer than the VM has")
    return found
