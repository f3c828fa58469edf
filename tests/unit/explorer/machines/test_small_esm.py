"""UV_ESM of a VM that secure memory only just holds, on both machines, in every design.

Source: issue 3, liveness: what is asked alone succeeds.
"""

import pytest

from harness.linked import LinkedPair
from pef_explorer.machines.small_esm import Entering, steps_for
from pef_explorer.plan import Part, Plan
from pef_protocol.codes import UCode
from pef_protocol.designs import PUSHING, Design
from pef_protocol.quantities import PAGE_SIZE, Lpid

GFNS, SECURE_PAGES = 8, 7
IMAGES = {
    "shared last": (Part.BROUGHT, *[Part.UNMIGRATED] * 6, Part.SHARED),
    "shared first": (Part.SHARED, *[Part.UNMIGRATED] * 6, Part.BROUGHT),
}
DESIGNS = (Design.TRACKED, Design.TRACKED_PAGEIN, *sorted(PUSHING - {Design.PUSHED_INVALIDATED}))
"""Under `pushed-invalidated` a shared page with a mapping is taken, and the tables part: its own finding."""


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("design", DESIGNS)
def test_a_vm_that_secure_memory_only_just_holds_becomes_secure(design: Design, image: str) -> None:
    pair = LinkedPair(SECURE_PAGES)
    lpid = Lpid(pair.run(pair.hv.create_vm(design, secure_guest=True, radix=True)).outputs["lpid"])
    pair.run(pair.hv.add_slot(lpid, 0, 0, GFNS * PAGE_SIZE))
    pair.run(pair.hv.host_write(lpid, 0, bytes(range(256)) * (GFNS * PAGE_SIZE // 256)))
    steps = steps_for(Plan(design, IMAGES[image], 1))
    entering = Entering.begin(pair.uv, pair.uv.new_svm(lpid), steps)
    while entering.reply is None:
        pair.run(entering.next_phase())
    assert (entering.reply.code, entering.reply.detail) == (UCode.U_SUCCESS, "")
    assert (pair.uv.reserved, pair.hv.store.pool.used) == (0, pair.uv.resident)
    assert pair.broken() == []
