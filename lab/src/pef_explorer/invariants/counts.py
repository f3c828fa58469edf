"""What both machines count while no call is open: nothing is reserved, and all of it belongs to a VM."""

from collections.abc import Iterator

from pef_hypervisor.dispatch import Hypervisor
from pef_ultravisor.state import Ultravisor


def nothing_is_reserved(uv: Ultravisor, hv: Hypervisor) -> Iterator[str]:
    """No call that has ended has left a reservation on either side."""
    pool = hv.store.pool
    if uv.reserved or pool.reserved or pool.leaving:
        yield f"promised {uv.reserved}, reserved {pool.reserved}, leaving {pool.leaving}"
    if hv.store.in_the_making:
        yield "an lpid is in the making"


def nothing_is_left_behind(uv: Ultravisor, hv: Hypervisor) -> Iterator[str]:
    """Once all VMs are destroyed, neither side has anything of any."""
    left = {
        "VMs": len(hv.store.vms),
        "SVMs": len(uv.svms),
        "entries of the partition table": len(uv.pates),
        "device pages": hv.store.pool.used,
        "ranges of normal memory": len(hv.store.memory.claims),
        "secure pages": uv.resident,
        "promises of secure pages": uv.reserved,
        "normal pages that back a GFN": uv.normal_pages.used,
    }
    for what, count in left.items():
        if count:
            yield f"no VM is left, and {count} {what} are taken"
