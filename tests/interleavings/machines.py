"""Both services' machines in one process, with three small VMs of three tenants.

VM 1 and VM 2 are secure, VM 3 is normal and about to make UV_ESM. All have the same layout, by GFN:

    0 image    1 bounce page    2 RTAS    3, 7 private    4 shared    5 shared, unmapped    6 paged out
    8 private, 9 shared: slot 1, which can be removed

The thresholds below which the services copy, scrub and measure without a thread are lowered, so that three
pages meet every yield that a large VM meets.
"""

import hashlib
import sys
from typing import Any, Final

from pef_explorer.checkpoints.ultravisor import rewind, sealer_record
from pef_explorer.machines.pair import answered_by
from pef_explorer.machines.small_memory import KNOWN_BYTES, HeapFrames, HeapMemory, KnownBytesSealer
from pef_hypervisor import normal_memory, state
from pef_hypervisor.dispatch import Hypervisor
from pef_kit.core import parts
from pef_kit.core.effects import Operation, PeerCall, Phase, Transfer
from pef_kit.core.runs import I64, U8, U64
from pef_kit.runtime.bus import NORMAL_BASE, carry_out
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.http import Caller, Role
from pef_protocol.identity import instance_of
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa, Lpid
from pef_protocol.ultracalls import Esm
from pef_ultravisor import state as ultravisor
from pef_ultravisor.boot import pages as boot_pages
from pef_ultravisor.boot.image import EsmFailure, Extent
from pef_ultravisor.boot.pages import import_all, import_extent, with_pinned
from pef_ultravisor.from_guest import esm
from pef_ultravisor.from_guest.esm import share_extent
from pef_ultravisor.from_guest.store import store as guest_store
from pef_ultravisor.gfn.table import Event
from pef_ultravisor.state import Capacity, Svm, Ultravisor

IMAGE, BOUNCE, RTAS, PRIVATE, SHARED, UNMAPPED, OUT, SPARE_PRIVATE, PLUGGED, PLUGGED_SHARED = range(10)
PAGES: Final = 8
"""GFNs of slot 0; slot 1 has the two behind them."""
NORMAL_PAGES: Final = 48
SPARE_PAGES: Final = 2
"""Pages at the end of normal memory that belong to no VM: what a lying Hypervisor offers."""
LPIDS: Final = range(1, 5)
"""Few, so that the second VM that is made after one was destroyed gets its lpid."""
TRIES: Final = 4
"""How often what is busy is tried again."""
GOOD, BAD = Esm(Gpa(PAGE_SIZE), Gpa(PAGE_SIZE)), Esm(Gpa(PAGE_SIZE), Gpa(2 * PAGE_SIZE))
"""What a guest says at UV_ESM; the second image is not what it promises to be."""
FILE: Final = "disk-key"


class NotedSealer(KnownBytesSealer):
    """A sealer of which it is noted what each ciphertext holds: (lpid, GFN, bytes)."""

    noted: Final[dict[bytes, tuple[int, int, bytes]]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _sealer_again, (self._lpid, *sealer_record(self))

    def seal(self, gfns: I64, counters: U64, frames: U8, normal: U8, tags: U8) -> None:
        """Encrypt pages, and note them."""
        super().seal(gfns, counters, frames, normal, tags)
        pages, out = frames.reshape(-1, PAGE_SIZE), normal.reshape(-1, PAGE_SIZE)
        for place, gfn in enumerate(gfns.tolist()):
            sealed = out[place, :KNOWN_BYTES].tobytes()
            self.noted[sealed] = (int(self._lpid), gfn, pages[place, :KNOWN_BYTES].tobytes())


def _sealer_again(lpid: Lpid, key: bytes, fixed: bytes, used: int) -> NotedSealer:
    sealer = NotedSealer(lpid, key, fixed)
    rewind(sealer, used)
    return sealer


def become_secure(uv: Ultravisor, svm: Svm, asked: Esm) -> Operation[None]:
    """Do what makes a VM secure, as the service does it, for the small image; the bad one is found out.

    The end attaches a file, and stores as the Ultravisor stores the edited device tree.
    """
    yield from esm.start(uv, svm)
    yield Phase("pages")
    image = yield from import_extent(uv, svm, extent(IMAGE), UCode.U_P2, "the image")
    yield from share_extent(uv, svm, extent(BOUNCE), Event.COMMIT_IMPLICIT, "a page")
    yield from import_extent(uv, svm, extent(RTAS), UCode.U_P2, "the image")
    yield from share_extent(uv, svm, extent(RTAS), Event.COMMIT_PSEUDO, "a page")
    yield Phase("measurement")
    yield from with_pinned(uv, svm, image, extent(IMAGE), bytes)
    if asked == BAD:
        raise EsmFailure(UCode.U_PERMISSION, "not what the ESM blob promises: kernel")
    yield from import_all(uv, svm)
    yield Phase("commit")
    yield from esm.done(uv, svm)
    yield from esm.commit(svm, {FILE: b"key of the disk"})
    yield from guest_store(uv, svm, Gpa(IMAGE * PAGE_SIZE + KNOWN_BYTES), bytes(8))


def extent(gfn: int) -> Extent:
    """Return a page of guest memory."""
    return Extent(gfn * PAGE_SIZE, PAGE_SIZE)


def make_small() -> None:
    """Lower the thresholds of both services in this process, and let UV_ESM have the small image."""
    normal_memory.SMALL = PAGE_SIZE  # type: ignore[misc]
    normal_memory.AT_ONCE = 0  # type: ignore[misc]
    boot_pages.AT_ONCE = 0  # type: ignore[misc]
    ultravisor.AT_ONCE = 0  # type: ignore[misc]
    parts.PART = 5  # type: ignore[misc]
    state.LPIDS = LPIDS
    esm.become_secure = become_secure
    for name, module in list(sys.modules.items()):
        if name.startswith("pef_") and hasattr(module, "ATTEMPTS"):
            vars(module)["ATTEMPTS"] = TRIES


class Machines:
    """Both machines. `tenants` has the tenant of each lpid; each VM that is made is a new tenant."""

    def __init__(self, design: Design, secure_pages: int) -> None:
        self.design = design
        self.memory = HeapMemory(NORMAL_PAGES)
        self._drawn = 0
        self.uv = Ultravisor(
            Capacity(secure_pages, self.memory.size), self._entropy, frames=HeapFrames, sealer=NotedSealer
        )
        self.hv = Hypervisor(
            self.memory,
            device_pages=secure_pages,
            digest_key=b"interleavings",
            instance=instance_of(bytes(16)),
        )
        self.tenants: dict[int, int] = {}
        self.made = 0

    def _entropy(self, count: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_128(f"{self._drawn}".encode()).digest(count)

    def handler(self, ask: PeerCall) -> Operation[Reply]:
        """Return the operation by which the peer answers `ask`; the caller names the SVM that it means."""
        return answered_by(self.uv, self.hv, ask)

    def carry_out(self, transfer: Transfer) -> None:
        """Move the bytes of a transfer."""
        carry_out(self.memory, transfer)

    def kernel_of(self, lpid: int) -> Caller:
        """Return who calls where the kernel of VM `lpid` does."""
        return Caller(Role.GUEST, Lpid(lpid))

    def new_tenant(self, lpid: int) -> int:
        """Note that VM `lpid` has a new tenant."""
        self.made += 1
        self.tenants[lpid] = self.made
        return self.made

    @property
    def spare(self) -> tuple[int, ...]:
        """Return the real addresses of the spare pages."""
        return tuple(NORMAL_BASE + (NORMAL_PAGES - 1 - number) * PAGE_SIZE for number in range(SPARE_PAGES))

    def page_of(self, lpid: int, gfn: int) -> int:
        """Return the real address of the normal page of a GFN as the Hypervisor keeps it; 0: none."""
        vm = self.hv.store.vms.get(lpid)
        slot = vm.slots.holding(gfn) if vm else None
        return int(slot.base) + (gfn - slot.first << PAGE_ORDER) if slot else 0

    def known_frames(self, slot: Any) -> U8:
        """Return the bytes by which the frames of a slot are known (GFNs x KNOWN_BYTES)."""
        known: U8 = slot.frames.known
        return known
