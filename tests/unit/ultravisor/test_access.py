"""Loads and stores of an SVM: they resolve, fault a page back in, wait, or fail.

Source: specification of the Ultravisor, 2.1 (third column of the table) as the decisions change it; attacks
14, 15, 33.
"""

import pytest

from harness.held import Held
from harness.scripted_hypervisor import Answer, ScriptedHypervisor, busy, guest
from harness.scripted_peer import afterwards, first, pretend, refuse, silent
from harness.ultravisor_fixtures import (
    LPID,
    TRANSIENT,
    ZERO,
    active_vm,
    frame_of,
    machine,
    put,
    secure_vm,
    sound,
    state_of,
    svm_of,
    text,
)
from pef_kit.core.effects import MAX_ATTEMPTS, Backoff, Offload, PeerCall, Transfer
from pef_protocol.codes import HCode, UCode
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, U64_MAX, Gfn, Gpa, Lpid, SlotId
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import PageInval, SharePage, UnregisterMemSlot
from pef_ultravisor.access import AccessFailure
from pef_ultravisor.dispatch import guest_load, guest_store

SLOTS = ((0, 0, 4), (1, 4, 4), (2, 9, 2))
GFN = 2
AT = GFN << PAGE_ORDER
BORDER = 4 << PAGE_ORDER

RESOLVES = """
state              reads  asks
SECURE             text   -
PAGEDOUT           text   nonshared
SHARED             mail   -
SHARED_INV         mail   shared
PSEUDO_SHARED      text   -
PSEUDO_SHARED_INV  text   -
"""
ROWS = [tuple(line.split()) for line in RESOLVES.splitlines() if line.strip()][1:]
DENIED = (S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV)


@pytest.fixture
def hv() -> ScriptedHypervisor:
    hv = machine()
    secure_vm(hv, LPID, *SLOTS)
    return hv


def load_page(hv: ScriptedHypervisor, gfn: int = GFN) -> bytes:
    return hv.load(LPID, gfn << PAGE_ORDER, PAGE_SIZE)


def test_every_state_is_shown() -> None:
    assert {S[row[0]] for row in ROWS} | set(DENIED) | TRANSIENT == set(S)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_load(hv: ScriptedHypervisor, row: tuple[str, ...]) -> None:
    state, reads, asks = row
    put(hv, GFN, S[state], frame=text("text"), page=text("mail"))
    assert load_page(hv) == text(reads)
    flags = ["shared" if request.flags else "nonshared" for request in page_ins(hv)]
    assert flags == [word for word in [asks] if word != "-"]
    assert sound(hv)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_store(hv: ScriptedHypervisor, row: tuple[str, ...]) -> None:
    state, reads, _ = row
    put(hv, GFN, S[state], frame=text("text"), page=text("mail"))
    hv.store(LPID, AT + 100, b"stored")
    expected = text(reads)[:100] + b"stored" + text(reads)[106:]
    assert load_page(hv) == expected
    normal = hv.page(hv.ra(LPID, GFN))
    assert (normal == expected) == (reads == "mail")
    assert b"stored" not in normal or reads == "mail"
    assert sound(hv)


def page_ins(hv: ScriptedHypervisor) -> list[SvmPageIn]:
    return [ask.request for ask in hv.asked if isinstance(ask.request, SvmPageIn)]


@pytest.mark.parametrize("state", DENIED)
def test_the_ultravisors_own_pages_are_denied(hv: ScriptedHypervisor, state: S) -> None:
    put(hv, GFN, state, page=text("mail"))
    before = hv.uv.digest()
    with pytest.raises(AccessFailure, match="bounce page"):
        load_page(hv)
    with pytest.raises(AccessFailure, match="bounce page"):
        hv.store(LPID, AT, b"x")
    assert hv.uv.digest() == before


@pytest.mark.parametrize("state", sorted(TRANSIENT))
def test_a_page_in_another_calls_hands_is_waited_for_with_a_bound(hv: ScriptedHypervisor, state: S) -> None:
    put(hv, GFN, state, frame=text("text"), page=text("mail"))
    before = hv.uv.digest()
    with pytest.raises(AccessFailure, match="in hand"):
        load_page(hv)
    assert hv.pauses == MAX_ATTEMPTS
    assert hv.uv.digest() == before


def test_a_load_waits_until_a_share_has_ended(hv: ScriptedHypervisor) -> None:
    put(hv, GFN, S.SECURE, frame=text("text"))
    waiting: list[Held[memoryview]] = []

    def another_vcpu(hv: ScriptedHypervisor) -> None:
        waiting.append(hv.start(guest_load(hv.uv, Lpid(LPID), Gpa(AT), PAGE_SIZE)).until(Backoff))

    hv.answers("H_SVM_PAGE_IN", first(another_vcpu))
    assert hv.ultracall(SharePage(Gfn(GFN), 1), guest(LPID)).code is UCode.U_SUCCESS
    assert bytes(waiting[0].finish()) == ZERO


REFUSALS: dict[str, list[Answer]] = {
    "refused": [refuse(HCode.H_PARAMETER)],
    "busy for ever": [busy()] * MAX_ATTEMPTS,
    "brought in words only": [pretend()] * 4,
}


@pytest.mark.parametrize("state", [S.PAGEDOUT, S.SHARED_INV])
@pytest.mark.parametrize("answers", REFUSALS.values(), ids=REFUSALS)
def test_a_page_that_does_not_come_back_fails_the_access_alone(
    hv: ScriptedHypervisor, answers: list[Answer], state: S
) -> None:
    put(hv, GFN, state, frame=text("text"), page=text("mail"))
    before = hv.uv.digest()
    hv.answers("H_SVM_PAGE_IN", *answers)
    with pytest.raises(AccessFailure) as raised:
        load_page(hv)
    assert raised.value.gpa == AT
    assert hv.uv.digest() == before
    assert sound(hv)
    assert load_page(hv) == text("text" if state is S.PAGEDOUT else "mail")


@pytest.mark.parametrize("state", [S.PAGEDOUT, S.SHARED_INV])
def test_a_page_of_which_nobody_can_say_whether_it_came_ends_the_svm(
    hv: ScriptedHypervisor, state: S
) -> None:
    put(hv, GFN, state)
    hv.answers("H_SVM_PAGE_IN", silent())
    with pytest.raises(AccessFailure):
        load_page(hv)
    assert svm_of(hv).state is UvVmState.ABORT
    assert sound(hv)


def test_a_page_spoilt_in_normal_memory_fails_the_access(hv: ScriptedHypervisor) -> None:
    put(hv, GFN, S.PAGEDOUT, frame=text("text"))
    hv.fill(hv.ra(LPID, GFN), b"spoilt")
    with pytest.raises(AccessFailure, match="H_PARAMETER"):
        load_page(hv)
    assert (state_of(hv, GFN), frame_of(hv, GFN)) == (S.PAGEDOUT, ZERO)


@pytest.mark.parametrize(
    ("gpa", "length"),
    [(8 << PAGE_ORDER, 1), ((8 << PAGE_ORDER) - 1, 2), (11 << PAGE_ORDER, 1), (U64_MAX, 2), (1 << 60, 1)],
)
def test_what_lies_in_no_slot_fails(hv: ScriptedHypervisor, gpa: int, length: int) -> None:
    before = hv.uv.digest()
    with pytest.raises(AccessFailure, match="no slot"):
        hv.load(LPID, gpa, length)
    with pytest.raises(AccessFailure, match="no slot"):
        hv.store(LPID, gpa, bytes(length))
    assert hv.uv.digest() == before


def test_no_byte_at_all_is_neither_read_nor_written(hv: ScriptedHypervisor) -> None:
    assert hv.load(LPID, U64_MAX, 0) == b""
    hv.store(LPID, U64_MAX, b"")


def test_a_store_over_pages_slots_and_states(hv: ScriptedHypervisor) -> None:
    put(hv, 3, S.SHARED, page=text("mail"))
    put(hv, 4, S.PAGEDOUT, frame=text("text"))
    put(hv, 5, S.SHARED_INV)
    start = (2 << PAGE_ORDER) + 1000
    content = bytes(range(256)) * ((4 * PAGE_SIZE - 2000) // 256)
    hv.store(LPID, start, content)
    assert hv.load(LPID, start, len(content)) == content
    assert hv.page(hv.ra(LPID, 3)) == content[PAGE_SIZE - 1000 : 2 * PAGE_SIZE - 1000]
    assert hv.page(hv.ra(LPID, 4)) == ZERO
    assert hv.load(LPID, 2 << PAGE_ORDER, 1000) == bytes(1000)
    assert hv.load(LPID, start + len(content), 100) == bytes(100)
    assert sound(hv)


def test_shared_pages_need_not_lie_side_by_side(hv: ScriptedHypervisor) -> None:
    for gfn in (1, 2, 3):
        put(hv, gfn, S.SHARED)
    slot = svm_of(hv).slots.holding(1)
    assert slot is not None
    slot.normal[[1, 3]] = slot.normal[[3, 1]]
    content = b"abcdefgh" * (3 * PAGE_SIZE // 8)
    hv.store(LPID, 1 << PAGE_ORDER, content[:-5])
    assert hv.load(LPID, (1 << PAGE_ORDER) + 3, len(content) - 8) == content[3:-5]


def test_a_page_is_not_paged_out_in_the_middle_of_a_load(hv: ScriptedHypervisor) -> None:
    put(hv, 3, S.SHARED, page=text("mail"))
    put(hv, 4, S.SECURE, frame=text("text"))
    load = hv.start(guest_load(hv.uv, Lpid(LPID), Gpa(BORDER - 4), 8)).until(Transfer)
    assert hv.page_out(LPID, 4).code is UCode.U_BUSY
    assert bytes(load.finish()) == text("mail")[-4:] + text("text")[:4]
    assert hv.page_out(LPID, 4).code is UCode.U_SUCCESS
    assert sound(hv)


def test_a_page_is_not_invalidated_in_the_middle_of_a_store(hv: ScriptedHypervisor) -> None:
    for gfn in (3, 4):
        put(hv, gfn, S.SHARED)
    store = hv.start(guest_store(hv.uv, Lpid(LPID), Gpa(BORDER - 4), b"12345678")).until(Transfer)
    runs = PageRuns.of((BORDER, 1))
    assert hv.ultracall(PageInval(Lpid(LPID), runs, PAGE_ORDER)).code is UCode.U_BUSY
    store.finish()
    assert hv.load(LPID, BORDER - 4, 8) == b"12345678"


def test_a_slot_that_was_taken_away_while_a_page_came_back_fails_the_access(hv: ScriptedHypervisor) -> None:
    put(hv, 3, S.PAGEDOUT, frame=text("text"))
    put(hv, 4, S.SHARED, page=text("mail"))
    unregister = UnregisterMemSlot(Lpid(LPID), SlotId(1))
    hv.answers("H_SVM_PAGE_IN", afterwards(lambda hv: hv.ultracall(unregister)))
    with pytest.raises(AccessFailure, match="taken away"):
        hv.load(LPID, BORDER - 4, 8)
    assert hv.uv.normal_pages.used == 0
    assert sound(hv)


@pytest.mark.parametrize("kind", [PeerCall, Transfer, Offload])
def test_an_svm_that_is_terminated_meanwhile(hv: ScriptedHypervisor, kind: type) -> None:
    put(hv, 2, S.SHARED)
    put(hv, 3, S.PAGEDOUT, frame=text("text"))
    put(hv, 4, S.SECURE, frame=text("text"))
    load = hv.start(guest_load(hv.uv, Lpid(LPID), Gpa(AT), 4 * PAGE_SIZE)).until(kind)
    ending = hv.terminating(LPID)
    with pytest.raises(AccessFailure, match="has ended"):
        load.finish()
    assert ending.finish().code is UCode.U_SUCCESS
    assert (hv.uv.reserved, hv.uv.resident, hv.uv.normal_pages.used) == (0, 0, 0)


def test_only_a_secure_vm_has_accesses_here(hv: ScriptedHypervisor) -> None:
    active_vm(hv, 2)
    for lpid, reason in ((2, "not secure"), (3, "not secure")):
        with pytest.raises(AccessFailure, match=reason):
            hv.load(lpid, 16 << PAGE_ORDER, 1)
    svm_of(hv).state = UvVmState.ABORT
    with pytest.raises(AccessFailure, match="aborted"):
        hv.store(LPID, 0, b"x")
