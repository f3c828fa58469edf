"""Honest answers to hypercalls.

An honest Hypervisor registers the slots at INIT_START, brings pages by UV_PAGE_IN and takes them away by
UV_PAGE_OUT, each nested in the hypercall that asks for it. It keeps a letter for each GFN, as the
specification does: N, S, P or H.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pef_kit.core.effects import PeerCall
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.hypercalls import SvmPageIn, SvmPageOut
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid
from pef_protocol.ultracalls import SvmTerminate

if TYPE_CHECKING:
    from harness.scripted_hypervisor import ScriptedHypervisor


@dataclass(slots=True)
class HostSlot:
    """A memory slot: `count` GFNs from `first`, at real addresses from `base` on."""

    slotid: int
    first: int
    count: int
    base: int


@dataclass(slots=True)
class HostVm:
    """What the Hypervisor keeps of a VM."""

    slots: list[HostSlot]
    design: str = "tracked"
    secure: bool = False
    letters: defaultdict[int, str] = field(default_factory=lambda: defaultdict(lambda: "N"))


def honest_reply(hv: "ScriptedHypervisor", ask: PeerCall) -> Reply:
    """Answer as a Hypervisor does that keeps to the protocol."""
    lpid = getattr(ask.request, "lpid", 0)
    vm = hv.vms[lpid]
    match ask.request:
        case SvmPageIn(_, runs, flags, _):
            return _take_in(hv, lpid, list(gfns_of(runs)), "H" if flags else "S")
        case SvmPageOut(_, runs, _, _):
            held = [gfn for gfn in gfns_of(runs) if vm.letters[gfn] == "S"]
            return hypercall_reply(hv.page_out(lpid, *held) if held else None)
    if ask.name == "H_SVM_INIT_START":
        for slot in sorted(vm.slots, key=lambda slot: -slot.first):
            if (code := hv.register(lpid, slot).code) is not UCode.U_SUCCESS:
                assert code is UCode.U_RETRY
                return Reply(HCode.H_PARAMETER)
        return Reply(HCode.H_SUCCESS, {"design": vm.design})
    if ask.name == "H_SVM_INIT_DONE":
        for slot in vm.slots:
            for gfn in range(slot.first, slot.first + slot.count):
                _becomes(hv, lpid, gfn, vm.letters[gfn].replace("N", "S"))
        vm.secure = True
        return Reply(HCode.H_SUCCESS)
    return Reply(HCode.H_STATE) if vm.secure else _withdraw(hv, lpid)


def _take_in(hv: "ScriptedHypervisor", lpid: int, gfns: list[int], letter: str) -> Reply:
    letters = hv.vms[lpid].letters
    if letter == "S" and any(letters[gfn] == "S" for gfn in gfns):
        return Reply(HCode.H_PARAMETER)
    reply = hv.page_in(lpid, *gfns)
    refused = {gpa >> PAGE_ORDER for gpa, _, _ in reply.refused}
    for gfn in gfns:
        if gfn not in refused:
            _becomes(hv, lpid, gfn, letter)
    return hypercall_reply(reply)


def _becomes(hv: "ScriptedHypervisor", lpid: int, gfn: int, letter: str) -> None:
    hv.vms[lpid].letters[gfn] = letter
    if letter == "S":
        hv.memory.discard(hv.ra(lpid, gfn), PAGE_SIZE)


def _withdraw(hv: "ScriptedHypervisor", lpid: int) -> Reply:
    letters = hv.vms[lpid].letters
    for gfn in sorted(gfn for gfn, letter in letters.items() if letter == "P"):
        assert hv.page_in(lpid, gfn).code is UCode.U_SUCCESS
        letters[gfn] = "S"
    for gfn in sorted(gfn for gfn, letter in letters.items() if letter == "S"):
        assert hv.page_out(lpid, gfn).code is UCode.U_SUCCESS
    letters.clear()
    assert hv.ultracall(SvmTerminate(Lpid(lpid))).code is UCode.U_SUCCESS
    return Reply(HCode.H_PARAMETER)


def gfns_of(runs: Any) -> Iterator[int]:
    """Yield every GFN of page runs."""
    for gpa, count in runs:
        yield from range(gpa >> PAGE_ORDER, (gpa >> PAGE_ORDER) + count)


def hypercall_reply(reply: Reply | None) -> Reply:
    """Return what to answer to the Ultravisor when this came of the nested ultracall."""
    if reply is None or reply.code is UCode.U_SUCCESS:
        return Reply(HCode.H_SUCCESS)
    return Reply(HCode.H_BUSY if reply.code is UCode.U_BUSY else HCode.H_PARAMETER)
