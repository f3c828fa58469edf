"""Both sides restored: what is done after that comes out as it did before, call by call.

The test puts the contents of pages back, as each caller of `restore` does. The entropy has no memory, so that
the key of an SVM begun twice is the same.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.linked import LinkedPair
from pef_explorer.checkpoints import hypervisor as hv_side
from pef_explorer.checkpoints import ultravisor as uv_side
from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.designs import Design
from pef_protocol.hypercalls import SvmInitDone, SvmInitStart
from pef_protocol.quantities import PAGE_SIZE, Gfn, Gpa, Lpid, gpa_of
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import SharePage, UnshareAllPages, UnsharePage
from pef_ultravisor.access import AccessFailure
from pef_ultravisor.dispatch import guest_load, guest_store
from pef_ultravisor.state import Capacity, Ultravisor

NORMAL: Final = 12 * PAGE_SIZE
LPID: Final = Lpid(1)


class Small:
    """A VM of two GFNs and a slot of one that comes and goes, both sides in one process."""

    def __init__(self, design: Design) -> None:
        self.pair = LinkedPair(secure_pages=8, normal_bytes=NORMAL)
        self.pair.uv = Ultravisor(Capacity(8, NORMAL), bytes)
        self.spares = uv_side.UvSpares(), hv_side.HvSpares()
        self.done(self.pair.hv.create_vm(design, secure_guest=True, radix=True))
        self.done(self.pair.hv.add_slot(LPID, 0, 0, 2 * PAGE_SIZE))

    def done(self, operation: Any) -> Any:
        """Run an operation; return what came of it as a value that can be compared."""
        try:
            came = self.pair.run(operation)
        except AccessFailure as failure:
            return str(failure)
        return bytes(came) if isinstance(came, memoryview) else came

    def enter(self) -> Any:
        """Make the VM secure, but for its image."""
        uv = self.pair.uv
        if uv.svm(LPID) is not None:
            return "secure already"
        svm = uv.new_svm(LPID)
        replies = (
            self.pair.call("H_SVM_INIT_START", SvmInitStart(LPID)),
            self.pair.call("H_SVM_INIT_DONE", SvmInitDone(LPID)),
        )
        svm.state, svm.whole = UvVmState.SECURE, True
        return replies

    def act(self, action: str, gfn: int) -> Any:
        """Do one action."""
        uv, hv, gpa = self.pair.uv, self.pair.hv, gpa_of(gfn) + 8
        actions: dict[str, Callable[[], Any]] = {
            "enter": self.enter,
            "load": lambda: self.done(guest_load(uv, LPID, Gpa(gpa), 8)),
            "store": lambda: self.done(guest_store(uv, LPID, Gpa(gpa), b"a guest!")),
            "share": lambda: self.pair.guest_call(LPID, "UV_SHARE_PAGE", SharePage(Gfn(gfn), 1)),
            "unshare": lambda: self.pair.guest_call(LPID, "UV_UNSHARE_PAGE", UnsharePage(Gfn(gfn), 1)),
            "unshare all": lambda: self.pair.guest_call(LPID, "UV_UNSHARE_ALL_PAGES", UnshareAllPages()),
            "host read": lambda: self.done(hv.host_read(LPID, gpa, 8)),
            "host write": lambda: self.done(hv.host_write(LPID, gpa, b"a host!!")),
            "unmap": lambda: self.done(hv.unmap(LPID, gpa_of(gfn), 1)),
            "plug": lambda: self.done(hv.add_slot(LPID, 1, gpa_of(2), PAGE_SIZE)),
            "unplug": lambda: self.done(hv.remove_slot(LPID, 1)),
            "reset": lambda: self.done(hv.reset(LPID)),
        }
        return actions[action]()

    def checkpoint(self) -> tuple[uv_side.UvCheckpoint, hv_side.HvCheckpoint]:
        """Return both checkpoints."""
        return uv_side.checkpoint(self.pair.uv), hv_side.checkpoint(self.pair.hv)

    def contents(self) -> tuple[bytes, dict[int, bytes]]:
        """Return what normal memory and the frames of each slot hold."""
        svm = self.pair.uv.svm(LPID)
        slots = list(svm.slots) if svm else []
        frames = {int(slot.slot_id): slot.frames.at(0, slot.count * PAGE_SIZE).tobytes() for slot in slots}
        return bytes(self.pair.memory.at(NORMAL_BASE, NORMAL)), frames

    def restore(
        self,
        both: tuple[uv_side.UvCheckpoint, hv_side.HvCheckpoint],
        contents: tuple[bytes, dict[int, bytes]],
        *,
        spares_kept: bool,
    ) -> None:
        """Restore both sides and put the contents back."""
        spares = self.spares if spares_kept else (None, None)
        uv_side.restore(self.pair.uv, both[0], spares[0])
        hv_side.restore(self.pair.hv, both[1], spares[1])
        self.pair.memory.at(NORMAL_BASE, NORMAL)[:] = contents[0]
        svm = self.pair.uv.svm(LPID)
        for slot in svm.slots if svm else ():
            slot.frames.at(0, slot.count * PAGE_SIZE)[:] = np.frombuffer(contents[1][slot.slot_id], np.uint8)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("enter", "load", "store", "share", "unshare", "unshare all", "host read", "host write"),
                *("unmap", "plug", "unplug", "reset"),
            )
        ),
        st.integers(0, 2),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(tuple(Design)), ACTIONS, ACTIONS, st.booleans())
def test_the_same_actions_come_out_the_same(
    design: Design, before: list[tuple[str, int]], after: list[tuple[str, int]], spares_kept: bool
) -> None:
    small = Small(design)
    for action, gfn in [("enter", 0), ("store", 0), *before]:
        small.act(action, gfn)
    next_state, contents = small.checkpoint(), small.contents()

    def reported() -> list[Any]:
        return [(action, gfn, small.act(action, gfn), small.checkpoint()) for action, gfn in after]

    first, ended = reported(), small.contents()
    small.restore(next_state, contents, spares_kept=spares_kept)
    assert small.checkpoint() == next_state
    assert reported() == first
    assert small.contents() == ended
    assert small.pair.broken() == []
