"""Page sealing, seen from the Hypervisor: it gets its own page back unopened, or nothing.

Source: decisions, "page cipher", "failed decryption"; attacks 1-4 and 40.
"""

from typing import Any

import numpy as np
import pytest

from harness.scripted_hypervisor import ScriptedHypervisor
from harness.ultravisor_fixtures import (
    LPID,
    ZERO,
    frame_of,
    machine,
    put,
    secure_vm,
    sound,
    state_of,
    svm_of,
    text,
)
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa, Lpid
from pef_protocol.runs import PlacedRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import PageIn, SvmTerminate
from pef_ultravisor.memory.sealing import Sealer

GFN, OTHER = 18, 20
LATER_LPID = 2


@pytest.fixture
def hv() -> ScriptedHypervisor:
    hv = machine()
    secure_vm(hv)
    for gfn in (GFN, OTHER):
        put(hv, gfn, S.SECURE, frame=text(f"page {gfn}"))
    return hv


def sealed(hv: ScriptedHypervisor, gfn: int = GFN) -> bytes:
    """Page a GFN out and return its ciphertext."""
    assert hv.page_out(LPID, gfn).code is UCode.U_SUCCESS
    return hv.page(hv.ra(LPID, gfn))


def share(hv: ScriptedHypervisor, content: bytes, gfn: int = GFN, lpid: int = LPID) -> UCode:
    """Offer a page of content for a paged-out GFN, at an address of its own."""
    ra = hv.spare()
    hv.fill(ra, content)
    return code_of(hv.ultracall(PageIn(Lpid(lpid), PlacedRuns.of((ra, gfn << PAGE_ORDER, 1)), 0, PAGE_ORDER)))


def code_of(reply: Reply) -> UCode:
    return UCode(reply.code)


def refuses(hv: ScriptedHypervisor, content: bytes, gfn: int = GFN) -> bool:
    """Tell whether a page is refused with U_P3 and leaves everything as it was."""
    before = hv.uv.digest()
    assert share(hv, content, gfn) is UCode.U_P3
    assert (state_of(hv, gfn), frame_of(hv, gfn)) == (S.PAGEDOUT, ZERO)
    assert hv.uv.digest() == before
    return sound(hv)


def test_a_page_comes_back_as_it_went(hv: ScriptedHypervisor) -> None:
    ciphertext = sealed(hv)
    assert b"page" not in ciphertext
    assert share(hv, ciphertext) is UCode.U_SUCCESS
    assert (state_of(hv, GFN), frame_of(hv, GFN)) == (S.SECURE, text(f"page {GFN}"))
    assert sound(hv)


def test_an_older_page_is_refused_and_the_newest_one_taken(hv: ScriptedHypervisor) -> None:
    older = sealed(hv)
    assert share(hv, older) is UCode.U_SUCCESS
    hv.store(LPID, GFN << PAGE_ORDER, b"changed")
    newest = sealed(hv)
    assert refuses(hv, older)
    assert share(hv, newest) is UCode.U_SUCCESS
    assert frame_of(hv, GFN).startswith(b"changed")


def test_an_older_page_of_the_same_plaintext_is_refused(hv: ScriptedHypervisor) -> None:
    older = sealed(hv)
    assert share(hv, older) is UCode.U_SUCCESS
    newest = sealed(hv)
    assert older != newest
    assert refuses(hv, older)


def test_swapped_pages_are_refused_and_both_taken_in_their_places(hv: ScriptedHypervisor) -> None:
    one, other = sealed(hv, GFN), sealed(hv, OTHER)
    assert refuses(hv, other, GFN)
    assert refuses(hv, one, OTHER)
    assert share(hv, one, GFN) is UCode.U_SUCCESS
    assert share(hv, other, OTHER) is UCode.U_SUCCESS


def test_a_page_of_another_svm_is_refused(hv: ScriptedHypervisor) -> None:
    svm_2 = secure_vm(hv, LATER_LPID)
    assert hv.page_out(LATER_LPID, GFN).code is UCode.U_SUCCESS
    foreign = hv.page(hv.ra(LATER_LPID, GFN))
    own = sealed(hv)
    assert refuses(hv, foreign)
    assert share(hv, own, lpid=LATER_LPID) is UCode.U_P3
    assert svm_2.slots.holding(GFN) is not None
    assert share(hv, foreign, lpid=LATER_LPID) is UCode.U_SUCCESS


def test_a_page_of_the_lpids_former_svm_is_refused(hv: ScriptedHypervisor) -> None:
    former = sealed(hv)
    assert hv.ultracall(SvmTerminate(Lpid(LPID))).code is UCode.U_SUCCESS
    secure_vm(hv)
    put(hv, GFN, S.SECURE, frame=text(f"page {GFN}"))
    sealed(hv)
    assert refuses(hv, former)


@pytest.mark.parametrize("at", [0, 1 << 15, (1 << 16) - 1])
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_is_refused(hv: ScriptedHypervisor, at: int, bit: int) -> None:
    ciphertext = bytearray(sealed(hv))
    ciphertext[at] ^= 1 << bit
    assert refuses(hv, bytes(ciphertext))
    ciphertext[at] ^= 1 << bit
    assert share(hv, bytes(ciphertext)) is UCode.U_SUCCESS


@pytest.mark.parametrize("content", [ZERO, text(f"page {GFN}")], ids=["zeroes", "the plaintext"])
def test_what_was_never_sealed_is_refused(hv: ScriptedHypervisor, content: bytes) -> None:
    sealed(hv)
    assert refuses(hv, content)


def test_equal_pages_are_sealed_differently(hv: ScriptedHypervisor) -> None:
    put(hv, OTHER, S.SECURE, frame=text(f"page {GFN}"))
    pages = {sealed(hv, GFN), sealed(hv, OTHER)}
    assert hv.page_in(LPID, GFN).code is UCode.U_SUCCESS
    assert len(pages | {sealed(hv, GFN)}) == 3


BOUND = {"lpid": (2, 18, 1), "gfn": (1, 20, 1), "iv": (1, 18, 2), "nothing else": (1, 18, 1)}


@pytest.mark.parametrize(("changed", "to"), BOUND.items(), ids=BOUND)
def test_a_page_is_bound_to_its_svm_its_gfn_and_its_iv(changed: str, to: tuple[int, int, int]) -> None:
    lpid, gfn, counter = to
    page = np.frombuffer(text("text"), np.uint8)
    ciphertext, frame = np.zeros_like(page), np.zeros_like(page)
    tags = np.zeros((1, 16), np.uint8)
    Sealer(Lpid(1), bytes(32), bytes(4)).seal(
        np.array([18]), np.array([1], np.uint64), page, ciphertext, tags
    )
    opener = Sealer(Lpid(lpid), bytes(32), bytes(4))
    genuine = opener.open(np.array([gfn]), np.array([counter], np.uint64), tags, ciphertext, frame)
    assert genuine.tolist() == [changed == "nothing else"]
    assert frame.tobytes() == (text("text") if genuine.all() else ZERO)


def test_of_many_pages_each_is_judged_by_itself() -> None:
    count = 11
    pages = np.frombuffer(b"".join(text(f"page {at}") for at in range(count)), np.uint8)
    ciphertext, frames = np.zeros_like(pages), np.zeros_like(pages)
    gfns, counters, tags = (
        np.arange(count),
        np.arange(1, count + 1, dtype=np.uint64),
        np.zeros((count, 16), np.uint8),
    )
    sealer = Sealer(Lpid(1), bytes(32), bytes(4))
    sealer.seal(gfns, counters, pages, ciphertext, tags)
    tainted = {0, 5, 10}
    for at in tainted:
        ciphertext[at * PAGE_SIZE] ^= 1
    genuine = sealer.open(gfns, counters, tags, ciphertext, frames)
    assert set(np.flatnonzero(~genuine).tolist()) == tainted
    for at in range(count):
        opened = frames[at * PAGE_SIZE : (at + 1) * PAGE_SIZE].tobytes()
        assert opened == (ZERO if at in tainted else text(f"page {at}"))


def test_no_iv_is_used_twice(hv: ScriptedHypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[int, int]] = []
    seal = Sealer.seal

    def recording(self: Sealer, gfns: Any, counters: Any, *pages: Any) -> Any:
        used.extend((id(self), counter) for counter in counters.tolist())
        return seal(self, gfns, counters, *pages)

    monkeypatch.setattr(Sealer, "seal", recording)
    gfns = range(16, 24)
    assert hv.page_out(LPID, *gfns).code is UCode.U_SUCCESS
    assert hv.page_in(LPID, *gfns).code is UCode.U_SUCCESS
    hv.bus_fails(after=1)
    assert hv.page_out(LPID, *gfns).code is UCode.U_BUSY
    assert hv.page_out(LPID, *gfns).code is UCode.U_SUCCESS
    assert len(used) >= 17
    assert len(set(used)) == len(used)


def test_a_page_out_that_does_not_arrive_changes_no_page(hv: ScriptedHypervisor) -> None:
    hv.bus_fails()
    assert hv.page_out(LPID, GFN).code is UCode.U_BUSY
    assert (state_of(hv, GFN), frame_of(hv, GFN)) == (S.SECURE, text(f"page {GFN}"))
    assert sound(hv)


@pytest.mark.parametrize("pieces", [0, 1])
def test_a_page_in_that_breaks_off_brings_nothing(hv: ScriptedHypervisor, pieces: int) -> None:
    for gfn in (GFN, OTHER):
        sealed(hv, gfn)
    before = hv.uv.digest()
    hv.bus_fails(after=pieces)
    reply = hv.page_in(LPID, GFN, OTHER)
    assert [code for _, _, code in reply.refused.coded()] == [UCode.U_BUSY] * 2
    assert hv.uv.digest() == before
    assert frame_of(hv, GFN) == ZERO
    assert hv.page_in(LPID, GFN, OTHER).code is UCode.U_SUCCESS
    assert frame_of(hv, OTHER) == text(f"page {OTHER}")


def test_of_one_message_only_the_spoilt_page_is_refused(hv: ScriptedHypervisor) -> None:
    gfns = range(16, 24)
    assert hv.page_out(LPID, *gfns).code is UCode.U_SUCCESS
    spoilt = hv.ra(LPID, OTHER)
    intact = hv.page(spoilt)
    hv.fill(spoilt, b"spoilt")
    run = PlacedRuns.of((hv.ra(LPID, 16), 16 << PAGE_ORDER, 8))
    reply = hv.ultracall(PageIn(Lpid(LPID), run, 0, PAGE_ORDER))
    assert reply.code is UCode.U_P3
    assert list(reply.refused.coded()) == [(Gpa(OTHER << PAGE_ORDER), 1, UCode.U_P3)]
    assert [state_of(hv, gfn) for gfn in gfns] == [S.PAGEDOUT if gfn == OTHER else S.SECURE for gfn in gfns]
    hv.fill(spoilt, intact)
    assert hv.page_in(LPID, OTHER).code is UCode.U_SUCCESS
    assert svm_of(hv).resident == 8
