"""Mutants of the Ultravisor in which a page holds, or shows, what it must not.

Source: decisions on the page cipher, on sharing, and on memory that changes worlds.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from pef_kit.core.effects import Operation
from pef_kit.core.runs import I64, U8, U64, Mask
from pef_kit.core.table import Cell
from pef_mutants import answers
from pef_mutants.exchange import attribute, cells, everywhere
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.from_guest import share_page
from pef_ultravisor.gfn.columns import FrameSlot, SlotFrames
from pef_ultravisor.gfn.table import GFN, Action, Event
from pef_ultravisor.memory.sealing import Sealer
from pef_ultravisor.state import Svm, Ultravisor


@contextmanager
def share_unzeroed() -> Iterator[None]:
    """Share a page with whatever the Hypervisor's page holds."""
    with everywhere(share_page.zero_pages, answers.nothing):
        yield


@contextmanager
def unshare_unzeroed() -> Iterator[None]:
    """Leave in its frame what a page held when it was shared: it is there again after the unshare."""
    kept = {
        S.HV_SHARED: Cell(S.SHARED, UCode.U_SUCCESS, Action.NOTHING),
        S.HV_SHARED_INV: Cell(S.SHARED_INV, UCode.U_SUCCESS, Action.NOTHING),
    }
    with cells(GFN, {Event.COMMIT_SHARED: kept}):
        yield


@contextmanager
def same_iv() -> Iterator[None]:
    """Seal every page of an SVM with the same IV."""

    def first_iv(sealer: Sealer, _: int) -> int:
        sealer._last = 1
        return 1

    def seal(sealer: Sealer, gfns: I64, _: U64, frames: U8, normal: U8, tags: U8) -> None:
        soundly(sealer, gfns, np.ones(len(gfns), np.uint64), frames, normal, tags)

    def opened(sealer: Sealer, gfns: I64, _: U64, tags: U8, normal: U8, frames: U8) -> Mask:
        return open_soundly(sealer, gfns, np.ones(len(gfns), np.uint64), tags, normal, frames)

    soundly, open_soundly = Sealer.seal, Sealer.open
    with (
        attribute(Sealer, "take_ivs", first_iv),
        attribute(Sealer, "seal", seal),
        attribute(Sealer, "open", opened),
    ):
        yield


@contextmanager
def tag_unchecked() -> Iterator[None]:
    """Take whatever comes for a paged-out page: decrypt it, and do not compare its tag."""

    def opened(sealer: Sealer, gfns: I64, counters: U64, _: U8, normal: U8, frames: U8) -> Mask:
        pages, came = frames.reshape(-1, PAGE_SIZE), normal.reshape(-1, PAGE_SIZE)
        for at, (gfn, counter) in enumerate(zip(gfns, counters, strict=True)):
            iv, _bound = sealer._bound(int(gfn), int(counter))
            # GCM encrypts with the counter blocks from 2 on; block 1 is the tag's.
            stream = Cipher(AES(sealer._key), CTR(iv + (2).to_bytes(4, "big"))).decryptor()
            pages[at] = np.frombuffer(stream.update(came[at].tobytes()), np.uint8)
        return np.ones(len(gfns), np.bool_)

    with attribute(Sealer, "open", opened):
        yield


@contextmanager
def out_in_clear() -> Iterator[None]:
    """Page out by copying the page as it is, and in likewise."""

    def seal(_: Sealer, __: I64, ___: U64, frames: U8, normal: U8, tags: U8) -> None:
        np.copyto(normal, frames)
        tags.fill(1)

    def opened(_: Sealer, gfns: I64, __: U64, ___: U8, normal: U8, frames: U8) -> Mask:
        np.copyto(frames, normal)
        return np.ones(len(gfns), np.bool_)

    with attribute(Sealer, "seal", seal), attribute(Sealer, "open", opened):
        yield


@contextmanager
def frames_unscrubbed() -> Iterator[None]:
    """Give the frames of a slot that is gone to the next slot of that size, as they are."""
    spare: dict[int, list[SlotFrames]] = {}
    make = FrameSlot.__init__

    def take(
        slot: FrameSlot, slot_id: Any, first: Any, count: int, frames: Callable[[int], SlotFrames]
    ) -> None:
        left = spare.get(count)
        make(slot, slot_id, first, count, (lambda _: left.pop()) if left else frames)

    def release_slot(uv: Ultravisor, svm: Svm, slot: FrameSlot) -> Operation[None]:
        uv.normal_pages.release(slot.normal)
        slot.normal[:] = 0
        slot.put(slice(None), S.SECURE)
        svm.slots.remove(slot)
        yield from ()
        spare.setdefault(slot.count, []).append(slot.frames)

    with attribute(FrameSlot, "__init__", take), attribute(Ultravisor, "release_slot", release_slot):
        yield
