"""UV_ESM with a Hypervisor that refuses, lies, falls silent or ends the VM, at every hypercall.

However it goes, the call ends by a code of its own, nothing stays in flight or in a transient state, and
every invariant holds. What is left of the SVM, if anything, is aborted and waits for UV_SVM_TERMINATE.

Source: decisions, "UV_ESM errors"; attacks 12, 18, 21, 35-39.
"""

from typing import Any

import pytest

from harness.images import FDT, KERNEL, PAGES, UNMIGRATED, esm, guest_vm, memory_of
from harness.scripted_hypervisor import Answer, ScriptedHypervisor, busy, guest
from harness.scripted_peer import afterwards, first, honest, pretend, refuse, silent
from harness.ultravisor_fixtures import LPID, machine, sound, svm_of
from pef_kit.core.effects import MAX_ATTEMPTS
from pef_protocol.calls import CALLS
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_ORDER, Gfn, Gpa, Lpid, SlotId
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import (
    PageIn,
    PageInval,
    PageOut,
    RegisterMemSlot,
    SharePage,
    SvmTerminate,
    UnregisterMemSlot,
    WritePate,
)
from pef_ultravisor.access import AccessFailure

CALLS_OF_ESM = 10
"""The hypercalls of an UV_ESM that succeeds: test_esm.py has them by name."""
TRANSIENT = {int(state) for state in S if state.name.startswith("HV_")}


def terminate(hv: ScriptedHypervisor) -> None:
    assert hv.ultracall(SvmTerminate(Lpid(LPID))).code is UCode.U_SUCCESS
    hv.vms[LPID].letters.clear()


def ended(hv: ScriptedHypervisor) -> bool:
    """Tell whether nothing is left open; what is left of the SVM is aborted and can be terminated."""
    assert hv.uv.reserved == 0
    assert sound(hv)
    svm = hv.uv.svm(LPID)
    if svm is not None:
        assert (svm.state, svm.open_calls, svm.done_outstanding) == (UvVmState.ABORT, 0, False)
        assert not any(TRANSIENT & set(slot.state.tolist()) for slot in svm.slots)
        with pytest.raises(AccessFailure, match="aborted"):
            hv.load(LPID, 0, 1)
        assert esm(hv).code is UCode.U_STATE
        terminate(hv)
    assert (hv.uv.resident, hv.uv.normal_pages.used) == (0, 0)
    return True


ANSWERS: dict[str, Answer] = {
    "no answer": silent(),
    "done, but never answered": lambda hv, ask: (honest(hv, ask), silent()(hv, ask))[1],
}
TERMINATED: dict[str, Answer] = {
    "then done": afterwards(terminate),
    "then no answer": first(terminate, silent()),
    "success told": first(terminate, pretend()),
}


@pytest.mark.parametrize("number", range(1, CALLS_OF_ESM + 1))
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_every_hypercall_gone_wrong(number: int, answer: Answer) -> None:
    hv = guest_vm()
    hv.at(number, answer)
    assert esm(hv).code is UCode.U_STATE
    assert ended(hv)


@pytest.mark.parametrize("number", range(1, CALLS_OF_ESM + 1))
@pytest.mark.parametrize("answer", TERMINATED.values(), ids=TERMINATED)
def test_an_svm_that_is_terminated_in_a_hypercall(number: int, answer: Answer) -> None:
    hv = guest_vm()
    hv.at(number, answer)
    assert esm(hv).code is UCode.U_STATE
    assert len(hv.asked) == number
    assert hv.uv.svm(LPID) is None
    assert ended(hv)


REFUSALS = [
    pytest.param(number, code, id=f"{number}-{code.name}")
    for number, name in enumerate(
        ["H_SVM_INIT_START", *["H_SVM_PAGE_IN"] * (CALLS_OF_ESM - 2), "H_SVM_INIT_DONE"], start=1
    )
    for code in sorted(CALLS[name].codes)
    if code not in {HCode.H_SUCCESS, HCode.H_BUSY} and (name, code) != ("H_SVM_INIT_DONE", HCode.H_STATE)
]


@pytest.mark.parametrize(("number", "code"), REFUSALS)
def test_every_hypercall_refused(number: int, code: HCode) -> None:
    hv = guest_vm()
    memory = memory_of(hv)
    hv.at(number, refuse(code))
    assert esm(hv).code is UCode.U_STATE
    assert hv.names[-1] == "H_SVM_INIT_ABORT"
    assert hv.uv.svm(LPID) is None
    assert ended(hv)
    assert memory_of(hv) == memory


@pytest.mark.parametrize("name", ["H_SVM_INIT_START", "H_SVM_PAGE_IN", "H_SVM_INIT_DONE"])
def test_a_hypervisor_that_is_busy_for_ever(name: str) -> None:
    hv = guest_vm()
    hv.answers(name, *[busy()] * MAX_ATTEMPTS)
    assert esm(hv).code is UCode.U_BUSY
    assert hv.pauses >= MAX_ATTEMPTS
    assert hv.uv.svm(LPID) is None
    assert ended(hv)


def test_a_hypervisor_that_never_has_room() -> None:
    hv = guest_vm()
    hv.answers("H_SVM_INIT_DONE", *[refuse(HCode.H_STATE)] * 4)
    assert esm(hv).code is UCode.U_RETRY
    assert ended(hv)


LIES = {2: UCode.U_P2, 3: UCode.U_STATE, 4: UCode.U_STATE, 5: UCode.U_PERMISSION, 6: UCode.U_STATE}
LIES |= {7: UCode.U_PERMISSION, 8: UCode.U_PERMISSION, 9: UCode.U_PERMISSION}


@pytest.mark.parametrize(("number", "code"), LIES.items())
def test_pages_that_are_brought_in_words_only(number: int, code: UCode) -> None:
    hv = guest_vm()
    hv.at(number, pretend())
    assert esm(hv).code is code
    assert ended(hv)


def test_slots_that_are_registered_in_words_only() -> None:
    hv = guest_vm()
    hv.at(1, pretend(design="tracked"))
    assert esm(hv).code is UCode.U_P2
    assert ended(hv)


@pytest.mark.parametrize("design", ["broken", "no such design", 7, ["tracked"]])
def test_a_design_that_is_not_allowed(design: Any) -> None:
    hv = machine(designs=frozenset(Design) - {Design.BROKEN})
    hv.new_vm(LPID, (0, 0, PAGES))
    hv.answers("H_SVM_INIT_START", pretend(design=design))
    assert esm(hv).code is UCode.U_STATE
    assert hv.names == ["H_SVM_INIT_START", "H_SVM_INIT_ABORT"]
    assert ended(hv)


@pytest.mark.parametrize("answer", [refuse(HCode.H_STATE), silent()], ids=["refused", "no answer"])
def test_an_abort_that_is_not_done_leaves_an_aborted_svm(answer: Answer) -> None:
    hv = guest_vm()
    hv.at(5, refuse(HCode.H_PARAMETER))
    hv.answers("H_SVM_INIT_ABORT", answer)
    reply = esm(hv)
    assert reply.code is UCode.U_STATE
    assert "UV_SVM_TERMINATE" in reply.detail
    assert svm_of(hv).state is UvVmState.ABORT
    assert ended(hv)


def test_an_abort_that_is_answered_before_its_work_is_done() -> None:
    hv = guest_vm()
    hv.at(5, refuse(HCode.H_PARAMETER))
    hv.answers("H_SVM_INIT_ABORT", refuse(HCode.H_PARAMETER))
    assert esm(hv).code is UCode.U_STATE
    assert hv.uv.svm(LPID) is None
    assert ended(hv)


def test_a_device_tree_that_can_not_be_written_back_ends_the_svm() -> None:
    hv = guest_vm()
    hv.answers("H_SVM_INIT_DONE", afterwards(lambda hv: hv.page_out(LPID, FDT)))
    hv.at(11, refuse(HCode.H_PARAMETER))
    assert esm(hv).code is UCode.U_STATE
    assert "H_SVM_INIT_ABORT" not in hv.names
    assert svm_of(hv).state is UvVmState.ABORT
    assert ended(hv)


# What an aborted SVM serves: H_SVM_INIT_ABORT is open, and the Hypervisor takes the VM's memory back


def aborting(hv: ScriptedHypervisor) -> list[UCode]:
    """Let UV_ESM fail at its last page-in; return the codes of what the Hypervisor tries while it aborts."""
    codes: list[UCode] = []
    lpid, target = Lpid(LPID), hv.spare()
    placed = {gfn: PlacedRuns.of((target, gfn << PAGE_ORDER, 1)) for gfn in (KERNEL, 8)}
    attempts: list[tuple[object, UCode]] = [
        (PageOut(lpid, placed[KERNEL], 0, PAGE_ORDER), UCode.U_STATE),
        (PageIn(lpid, placed[8], 0, PAGE_ORDER), UCode.U_STATE),
        (PageOut(lpid, placed[8], 0, PAGE_ORDER), UCode.U_STATE),
        (PageInval(lpid, PageRuns.of((255 << PAGE_ORDER, 1)), PAGE_ORDER), UCode.U_STATE),
        (RegisterMemSlot(lpid, Gpa(300 << PAGE_ORDER), 1 << PAGE_ORDER, 0, SlotId(5)), UCode.U_STATE),
        (WritePate(lpid, 1, 1), UCode.U_PERMISSION),
    ]

    def tries(hv: ScriptedHypervisor) -> None:
        for request, code in attempts:
            assert hv.ultracall(request).code is code
            codes.append(code)
        assert hv.ultracall(SharePage(Gfn(8), 1), guest(LPID)).code is UCode.U_STATE
        imported = PageOut(lpid, PlacedRuns.of((target, FDT << PAGE_ORDER, 1)), 0, PAGE_ORDER)
        assert hv.ultracall(imported).code is UCode.U_SUCCESS
        assert hv.page(target) == hv.page(hv.ra(LPID, FDT)) or hv.page(target)[:4] == b"\xd0\x0d\xfe\xed"
        assert hv.ultracall(UnregisterMemSlot(lpid, SlotId(0))).code is UCode.U_SUCCESS

    hv.at(9, refuse(HCode.H_PARAMETER))
    hv.answers("H_SVM_INIT_ABORT", first(tries, refuse(HCode.H_PARAMETER)))
    return codes


def test_an_aborted_svm_gives_back_what_it_was_given_and_refuses_all_else() -> None:
    hv = guest_vm()
    codes = aborting(hv)
    assert esm(hv).code is UCode.U_STATE
    assert len(codes) == 6
    assert ended(hv)


def test_a_left_over_page_keeps_what_the_hypervisor_has_in_it() -> None:
    hv = guest_vm()
    hv.at(9, refuse(HCode.H_PARAMETER))
    esm(hv)
    for gfn, content in UNMIGRATED.items():
        assert hv.page(hv.ra(LPID, gfn)).startswith(content)
