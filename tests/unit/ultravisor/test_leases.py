"""An operation of an SVM that has ended asks, moves and changes nothing: its lpid may be another VM's by now.

Source: rules 2, 10 and 12 of ARCHITECTURE.md, "Identity and time".
"""

import pytest

from harness.honest_hypervisor import HostSlot
from harness.scripted_hypervisor import HYPERVISOR, ScriptedHypervisor, busy, guest
from harness.scripted_peer import afterwards
from harness.ultravisor_fixtures import LPID, machine, put, secure_vm, sound, state_of, text
from pef_kit.core.effects import Backoff, Transfer
from pef_kit.core.life import Ended, Life, OtherIncarnation
from pef_protocol.codes import UCode
from pef_protocol.http import Caller, Role
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gfn, Gpa, Lpid
from pef_protocol.runs import PlacedRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import PageOut, SharePage, SvmTerminate, UnsharePage
from pef_ultravisor.dispatch import guest_store, ultracall
from pef_ultravisor.from_hypervisor.svm_terminate import end_epoch

OTHER = 2


@pytest.fixture
def hv() -> ScriptedHypervisor:
    hv = machine()
    secure_vm(hv)
    put(hv, 17, S.SHARED, page=text("mail"))
    return hv


def out(lpid: int, ra: int, gfn: int) -> PageOut:
    return PageOut(Lpid(lpid), PlacedRuns.of((ra, gfn << PAGE_ORDER, 1)), 0, PAGE_ORDER)


def test_an_unshare_that_waits_asks_nothing_for_the_next_svm(hv: ScriptedHypervisor) -> None:
    hv.answers("H_SVM_PAGE_IN", busy())
    request = UnsharePage(Gfn(17), 1)
    waiting = hv.start(ultracall(hv.uv, guest(LPID), "UV_UNSHARE_PAGE", request)).until(Backoff)
    assert hv.ultracall(SvmTerminate(Lpid(LPID))).code is UCode.U_SUCCESS
    secure_vm(hv)
    put(hv, 17, S.SHARED, page=text("new mail"))
    before, asked = hv.uv.digest(), len(hv.asked)
    assert waiting.finish().code is UCode.U_INVALID
    assert (hv.uv.digest(), len(hv.asked), state_of(hv, 17)) == (before, asked, S.SHARED)
    assert sound(hv)


def test_what_an_svm_held_counts_until_it_is_scrubbed(hv: ScriptedHypervisor) -> None:
    store = hv.start(guest_store(hv.uv, Lpid(LPID), Gpa(17 * PAGE_SIZE), b"last words")).until(Transfer)
    page, resident = hv.ra(LPID, 17), hv.uv.resident
    ending = hv.terminating(LPID).until(Backoff)
    secure_vm(hv, OTHER)
    assert (hv.uv.resident, hv.uv.normal_pages.used) == (resident + 8, 1)
    assert hv.ultracall(out(OTHER, page, 17)).code is UCode.U_P2
    with pytest.raises(Exception, match="has ended"):
        store.finish()
    assert ending.finish().code is UCode.U_SUCCESS
    assert (hv.uv.resident, hv.uv.normal_pages.used) == (8, 0)
    assert hv.ultracall(out(OTHER, page, 17)).code is UCode.U_SUCCESS
    assert sound(hv)


def test_the_end_of_an_epoch_ends_every_svm_once_no_byte_moves(hv: ScriptedHypervisor) -> None:
    secure_vm(hv, OTHER)
    store = hv.start(guest_store(hv.uv, Lpid(LPID), Gpa(17 * PAGE_SIZE), b"last words")).until(Transfer)
    hv.answers("H_SVM_PAGE_IN", busy())
    share = hv.start(ultracall(hv.uv, guest(OTHER), "UV_SHARE_PAGE", SharePage(Gfn(17), 1))).until(Backoff)
    ending = hv.start(end_epoch(hv.uv)).until(Backoff)
    asked = len(hv.asked)
    for waiting in (store, share):
        with pytest.raises(Ended, match="the epoch"):
            waiting.finish()
    ending.finish()
    assert (hv.uv.resident, hv.uv.reserved, hv.uv.normal_pages.used) == (0, 0, 0)
    assert (hv.uv.svms, hv.uv.pates, hv.uv.dying, len(hv.asked)) == ({}, {}, [], asked)
    with pytest.raises(Ended):
        hv.ultracall(SvmTerminate(Lpid(LPID)))
    hv.uv.epoch = Life("the next epoch")
    assert hv.ultracall(SvmTerminate(Lpid(LPID))).code is UCode.U_PARAMETER
    assert sound(hv)


def test_a_victim_that_ends_is_passed_over() -> None:
    hv = machine(secure_pages=16)
    secure_vm(hv)
    secure_vm(hv, OTHER)
    put(hv, 17, S.PAGEDOUT, frame=text("text"))
    assert hv.register(LPID, HostSlot(1, 32, 1, hv.spare())).code is UCode.U_SUCCESS
    hv.answers("H_SVM_PAGE_OUT", afterwards(lambda hv: hv.ultracall(SvmTerminate(Lpid(OTHER)))))
    assert hv.load(LPID, 17 * PAGE_SIZE, PAGE_SIZE) == text("text")
    assert (hv.names, hv.uv.svm(OTHER)) == (["H_SVM_PAGE_OUT", "H_SVM_PAGE_IN"], None)
    assert sound(hv)


def test_a_message_for_another_incarnation_does_nothing(hv: ScriptedHypervisor) -> None:
    before = hv.uv.digest()
    stranger = Incarnation(hv.uv.instance, 99)
    for name, request in {
        "UV_SVM_TERMINATE": SvmTerminate(Lpid(LPID)),
        "UV_PAGE_OUT": out(LPID, hv.spare(), 18),
    }.items():
        with pytest.raises(OtherIncarnation):
            ultracall(hv.uv, Caller(Role.HYPERVISOR, incarnation=stranger), name, request)
    assert hv.uv.digest() == before
    meant = Caller(Role.HYPERVISOR, incarnation=hv.uv.incarnation_of(LPID))
    ending = ultracall(hv.uv, meant, "UV_SVM_TERMINATE", SvmTerminate(Lpid(LPID)))
    assert hv.run(ending).code is UCode.U_SUCCESS
    assert HYPERVISOR.incarnation is None
