"""Create a VM: give it an lpid and write its partition-table entry by UV_WRITE_PATE.

Source: Documentation/powerpc/ultravisor.rst, UV_WRITE_PATE ("use cases").
"""

from pef_hypervisor.designs import DESIGNS
from pef_hypervisor.outcome import Errno, Outcome, refused
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import write_pate
from pef_kit.core.designs import UnknownDesign, require_registered
from pef_kit.core.effects import Operation
from pef_kit.core.lease import leased
from pef_protocol.designs import DesignName


def create_vm(store: Store, design: DesignName, *, secure_guest: bool, radix: bool) -> Operation[Outcome]:
    """Make a normal VM without memory; where the Ultravisor does not take its entry there is none.

    `secure_guest`: its owner lets it become secure. `radix`: it uses radix trees.
    """
    # checks
    try:
        row = DESIGNS[require_registered(DESIGNS, design)]
    except UnknownDesign as unknown:
        return Outcome(Errno.EINVAL, f"{design}: {unknown}")
    lpid = store.take_lpid()
    if lpid is None:
        return Outcome(Errno.ENOMEM, "every lpid is taken")

    # effect
    try:
        answer = yield from leased(write_pate(lpid, radix=radix), store.epoch)
        if not answer.succeeded:
            return refused(answer)
        store.vms[lpid] = Vm(lpid, row, secure_guest, radix, store.new_incarnation())
    finally:
        store.in_the_making.discard(lpid)
        if lpid not in store.vms:
            store.free_lpid(lpid)

    # reply
    return Outcome(Errno.OK, outputs={"lpid": lpid})
