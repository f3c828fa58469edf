"""UV_ESM that succeeds: its hypercalls, what the guest finds, what the Hypervisor may do meanwhile.

Source: specification of the Ultravisor, section 3; decisions on measured and unmigrated pages.
"""

import pytest

from harness.images import (
    BLOB,
    BOOTARGS,
    FDT,
    IMAGE,
    INITRD,
    KERNEL,
    PAGES,
    RTAS,
    RTAS_BOUNCE,
    TPM_BOUNCE,
    UNMIGRATED,
    esm,
    guest_vm,
    image_tree,
    spans,
)
from harness.scripted_hypervisor import Answer, ScriptedHypervisor, busy
from harness.scripted_peer import afterwards, first, honest, refuse
from harness.ultravisor_fixtures import LPID, ZERO, mapped, secure_vm, sound, state_of, svm_of
from pef_protocol.codes import HCode, UCode
from pef_protocol.hypercalls import SvmPageIn, SvmPageOut
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid, SlotId
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import PageIn, PageInval, UnregisterMemSlot
from pef_ultravisor.boot.device_tree import parse, totalsize
from pef_ultravisor.gfn.columns import IMPORTED

SEQUENCE = [
    ("H_SVM_INIT_START", [], 0),
    ("H_SVM_PAGE_IN", [(FDT, 1)], 0),
    ("H_SVM_PAGE_IN", [(RTAS_BOUNCE, 6)], 1),
    ("H_SVM_PAGE_IN", [(TPM_BOUNCE, 1)], 1),
    ("H_SVM_PAGE_IN", [(RTAS, 1)], 0),
    ("H_SVM_PAGE_IN", [(RTAS, 1)], 1),
    ("H_SVM_PAGE_IN", [(INITRD, 2)], 0),
    ("H_SVM_PAGE_IN", [(BLOB, 1)], 0),
    ("H_SVM_PAGE_IN", [(KERNEL, 4)], 0),
    ("H_SVM_INIT_DONE", [], 0),
]
"""The hypercalls of an UV_ESM that succeeds: name, GFNs, flags."""
MEASURED = (FDT, *range(KERNEL, KERNEL + 4), INITRD, INITRD + 1, BLOB)


def made(hv: ScriptedHypervisor) -> list[tuple[str, list[tuple[int, int]], int]]:
    """Return the hypercalls made, in the form of SEQUENCE."""
    rows = []
    for ask in hv.asked:
        paging = ask.request if isinstance(ask.request, SvmPageIn | SvmPageOut) else None
        rows.append((ask.name, spans(paging.runs) if paging else [], paging.flags if paging else 0))
    return rows


def kernel(hv: ScriptedHypervisor) -> bytes:
    return hv.load(LPID, IMAGE.kernel_base, len(IMAGE.kernel))


def share(hv: ScriptedHypervisor, gfn: int, content: bytes = b"implant") -> UCode:
    """Offer a page of the Hypervisor's making for a GFN."""
    ra = hv.spare()
    hv.fill(ra, content)
    run = PlacedRuns.of((ra, gfn << PAGE_ORDER, 1))
    return UCode(hv.ultracall(PageIn(Lpid(LPID), run, 0, PAGE_ORDER)).code)


def test_the_hypercalls_in_their_order() -> None:
    hv = guest_vm()
    reply = esm(hv)
    assert reply.code is UCode.U_SUCCESS
    assert dict(reply.outputs) == {"kernel_base": IMAGE.kernel_base, "fdt": IMAGE.fdt_address}
    assert made(hv) == SEQUENCE
    svm = svm_of(hv)
    assert (svm.state, svm.open_calls, svm.done_outstanding) == (UvVmState.SECURE, 0, False)
    assert (hv.uv.resident, hv.uv.reserved) == (PAGES - 8, 0)
    assert sound(hv)


def test_what_becomes_of_the_pages() -> None:
    hv = guest_vm()
    esm(hv)
    others = dict.fromkeys(range(TPM_BOUNCE, PAGES), S.SHARED_IMPLICIT) | {RTAS: S.PSEUDO_SHARED}
    assert [state_of(hv, gfn) for gfn in range(PAGES)] == [others.get(gfn, S.SECURE) for gfn in range(PAGES)]
    assert all(mapped(hv, gfn) == hv.ra(LPID, gfn) and hv.page(mapped(hv, gfn)) == ZERO for gfn in others)
    assert not any(slot.marked(slice(None), IMPORTED).any() for slot in svm_of(hv).slots)


def test_what_the_guest_finds() -> None:
    hv = guest_vm()
    esm(hv)
    for gpa, content in IMAGE.layout:
        if gpa != IMAGE.fdt_address:
            assert hv.load(LPID, gpa, len(content)) == content
    for gfn in UNMIGRATED:
        assert hv.load(LPID, gfn << PAGE_ORDER, PAGE_SIZE) == ZERO


def test_the_device_tree_tells_of_the_bounce_pages() -> None:
    hv = guest_vm()
    esm(hv)
    written = hv.load(LPID, IMAGE.fdt_address, PAGE_SIZE)
    tree = parse(written)
    added = {(r.address, r.size) for r in tree.reservations} - {
        (r.address, r.size) for r in image_tree().reservations
    }
    assert added == {(TPM_BOUNCE << PAGE_ORDER, PAGE_SIZE), (RTAS_BOUNCE << PAGE_ORDER, 6 * PAGE_SIZE)}
    assert totalsize(written) == totalsize(IMAGE.device_tree)
    assert tree.node("/chosen").text("bootargs") == BOOTARGS
    assert tree.root == image_tree().root


def test_a_secure_vm_is_told_so_and_nothing_happens() -> None:
    hv = guest_vm()
    esm(hv)
    before = hv.uv.digest()
    assert esm(hv).code is UCode.U_SUCCESS
    assert hv.uv.digest() == before
    assert len(hv.asked) == len(SEQUENCE)


def test_a_second_call_meanwhile_is_told_busy() -> None:
    hv = guest_vm()
    codes: list[UCode] = []
    hv.at(2, first(lambda hv: codes.append(UCode(esm(hv).code))))
    assert esm(hv).code is UCode.U_SUCCESS
    assert codes == [UCode.U_BUSY]


def test_eager_asks_for_every_page() -> None:
    hv = guest_vm()
    hv.vms[LPID].design = "eager"
    assert esm(hv).code is UCode.U_SUCCESS
    asked = [gfn for _, runs, _ in made(hv) for start, count in runs for gfn in range(start, start + count)]
    assert sorted(set(asked)) == list(range(PAGES))
    assert len(asked) == PAGES + 1
    for gfn, content in UNMIGRATED.items():
        assert hv.load(LPID, gfn << PAGE_ORDER, len(content)) == content


@pytest.mark.parametrize("border", [17, 66, 252])
def test_an_image_in_two_slots(border: int) -> None:
    hv = guest_vm(512, (0, 0, border), (1, border, PAGES - border))
    assert esm(hv).code is UCode.U_SUCCESS
    assert kernel(hv) == IMAGE.kernel
    assert sound(hv)


@pytest.mark.parametrize("number", range(1, len(SEQUENCE) + 1))
def test_a_busy_hypervisor_is_asked_again(number: int) -> None:
    hv = guest_vm()
    hv.at(number, busy())
    hv.at(number + 1, busy())
    assert esm(hv).code is UCode.U_SUCCESS
    assert made(hv)[: number - 1] + made(hv)[number + 1 :] == SEQUENCE
    assert len(hv.asked) == len(SEQUENCE) + 2


def test_a_hypervisor_without_room_is_asked_again_for_the_rest() -> None:
    hv = guest_vm()
    hv.answers("H_SVM_INIT_DONE", refuse(HCode.H_STATE), honest)
    assert esm(hv).code is UCode.U_SUCCESS


def test_the_room_of_another_svm_is_taken() -> None:
    hv = guest_vm(secure_pages=PAGES)
    other = secure_vm(hv, 2, (0, 0, 100))
    assert esm(hv).code is UCode.U_SUCCESS
    assert other.resident == 8
    assert hv.uv.resident == PAGES
    assert sound(hv)


def test_room_is_kept_for_what_was_asked_for_until_it_came() -> None:
    hv = guest_vm()
    kept: list[int] = []
    hv.answers("H_SVM_PAGE_IN", first(lambda hv: kept.append(hv.uv.reserved)))
    assert esm(hv).code is UCode.U_SUCCESS
    assert kept == [1]
    assert hv.uv.reserved == 0


# What the Hypervisor does meanwhile


@pytest.mark.parametrize("gfn", MEASURED)
def test_a_measured_page_is_frozen(gfn: int) -> None:
    hv = guest_vm()
    codes: list[UCode] = []
    hv.answers("H_SVM_INIT_DONE", afterwards(lambda hv: codes.append(share(hv, gfn))))
    assert esm(hv).code is UCode.U_SUCCESS
    assert codes == [UCode.U_P2]
    assert kernel(hv) == IMAGE.kernel


def test_a_page_that_is_asked_for_is_taken_each_time_and_then_frozen() -> None:
    hv = guest_vm()
    codes: list[UCode] = []
    twice: Answer = afterwards(lambda hv: codes.append(share(hv, FDT, IMAGE.device_tree)))
    hv.at(2, twice)
    hv.at(3, first(lambda hv: codes.append(share(hv, FDT))))
    assert esm(hv).code is UCode.U_SUCCESS
    assert codes == [UCode.U_SUCCESS, UCode.U_P2]


def test_a_page_that_is_asked_for_is_not_paged_out_until_the_answer() -> None:
    hv = guest_vm()
    codes: list[UCode] = []
    hv.at(9, afterwards(lambda hv: codes.append(UCode(hv.page_out(LPID, KERNEL).code))))
    assert esm(hv).code is UCode.U_SUCCESS
    assert (codes, state_of(hv, KERNEL)) == ([UCode.U_BUSY], S.SECURE)


def test_a_page_that_nobody_asked_for_is_refused_until_the_end() -> None:
    hv = guest_vm()
    codes: list[UCode] = []
    hv.at(9, first(lambda hv: codes.append(share(hv, 8))))
    hv.at(10, first(lambda hv: codes.append(share(hv, 200, b"left over"))))
    assert esm(hv).code is UCode.U_SUCCESS
    assert codes == [UCode.U_P2, UCode.U_SUCCESS]
    assert hv.load(LPID, 200 << PAGE_ORDER, 9) == b"left over"
    assert share(hv, 201) is UCode.U_P2


@pytest.mark.parametrize(("design", "code"), [("pushed", UCode.U_P2), ("tracked", UCode.U_SUCCESS)])
def test_a_shared_page_that_is_sent_at_the_end(design: str, code: UCode) -> None:
    hv = guest_vm()
    hv.vms[LPID].design = design
    codes: list[UCode] = []
    hv.answers("H_SVM_INIT_DONE", first(lambda hv: codes.append(share(hv, RTAS))))
    assert esm(hv).code is UCode.U_SUCCESS
    assert codes == [code]
    assert hv.load(LPID, IMAGE.rtas_address, 100) == IMAGE.rtas[:100]


def test_a_slot_with_measured_pages_is_not_taken_away() -> None:
    hv = guest_vm()
    codes: list[UCode] = []
    request = UnregisterMemSlot(Lpid(LPID), SlotId(0))
    hv.answers("H_SVM_INIT_DONE", first(lambda hv: codes.append(UCode(hv.ultracall(request).code))))
    assert esm(hv).code is UCode.U_SUCCESS
    assert codes == [UCode.U_BUSY]
    assert kernel(hv) == IMAGE.kernel


OUT = {
    "the device tree, before it is written back": (3, (FDT,)),
    "the initrd, before it is measured": (9, (INITRD, INITRD + 1)),
    "the kernel, after it was measured": (10, tuple(range(KERNEL, KERNEL + 4))),
    "pages that were never asked for": (10, (8, 200)),
}


@pytest.mark.parametrize(("number", "gfns"), OUT.values(), ids=OUT)
def test_pages_that_are_paged_out_meanwhile_come_back_decrypted(number: int, gfns: tuple[int, ...]) -> None:
    hv = guest_vm()
    codes: list[UCode] = []
    hv.at(number, first(lambda hv: codes.append(UCode(hv.page_out(LPID, *gfns).code))))
    assert esm(hv).code is UCode.U_SUCCESS
    assert codes == [UCode.U_SUCCESS]
    assert kernel(hv) == IMAGE.kernel
    assert hv.load(LPID, IMAGE.initrd_address, len(IMAGE.initrd)) == IMAGE.initrd
    assert sound(hv)


def test_bounce_pages_may_be_invalidated_meanwhile() -> None:
    hv = guest_vm()
    inval = PageInval(
        Lpid(LPID), PageRuns.of((RTAS << PAGE_ORDER, 1), (RTAS_BOUNCE << PAGE_ORDER, 1)), PAGE_ORDER
    )
    hv.at(8, first(lambda hv: hv.ultracall(inval)))
    assert esm(hv).code is UCode.U_SUCCESS
    assert [state_of(hv, gfn) for gfn in (RTAS, RTAS_BOUNCE)] == [S.PSEUDO_SHARED_INV, S.SHARED_IMPLICIT_INV]
    assert sound(hv)
