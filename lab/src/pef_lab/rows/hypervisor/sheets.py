"""The sheets of the five hypercalls: how each is made well, and how each rung is made to refuse it.

Source: specification of the Hypervisor, section 5; `pef_protocol.check_orders`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from pef_lab.rows.doors import ULTRAVISOR, VMM, Answer, Who, kernel_of, user_of
from pef_lab.rows.hypervisor.scene import HypervisorScene
from pef_lab.rows.hypervisor.vms import Letter, Life, MadeVm
from pef_lab.rows.sheet import THE_ONE_WAY, Aspects, Sheet
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import Subject
from pef_protocol.calls import CALLS
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart, SvmPageIn, SvmPageOut
from pef_protocol.quantities import H_PAGE_IN_SHARED, PAGE_ORDER, PAGE_SIZE, U64_MAX, gpa_of
from pef_protocol.runs import PageRuns

Row: TypeAlias = tuple[int, int]
Where: TypeAlias = Callable[[MadeVm], tuple[Row, ...]]
"""Chooses runs (guest address, pages) in a VM."""
Ways: TypeAlias = Mapping[str, Aspects]

TOP_BIT: Final = 1 << 63
WIDTH: Final = 12
"""Bits of an lpid."""
REQUESTS: Final = {
    "H_SVM_INIT_START": SvmInitStart,
    "H_SVM_INIT_DONE": SvmInitDone,
    "H_SVM_INIT_ABORT": SvmInitAbort,
    "H_SVM_PAGE_IN": SvmPageIn,
    "H_SVM_PAGE_OUT": SvmPageOut,
}
NO_VMS: Final[Mapping[str, Callable[[HypervisorScene], int]]] = {
    "never-made": lambda _: (1 << WIDTH) - 1,
    "zero": lambda _: 0,
    "ended": lambda scene: scene.ended,
    "wide": lambda scene: scene.vm(Life.NORMAL).lpid + (1 << WIDTH),
    "wider": lambda scene: scene.vm(Life.NORMAL).lpid + (1 << 32),
    "largest": lambda _: U64_MAX,
}
"""Lpids that name no VM; two of them do where somebody cuts them short."""


def page(letter: Letter) -> Where:
    """Choose a GFN in that state."""
    return lambda vm: ((gpa_of(vm.gfn(letter)), 1),)


def run(first: int, pages: int, *, beyond: int = 0) -> Where:
    """Choose `pages` pages from GFN `first`, `beyond` bytes further on."""
    return lambda _: ((gpa_of(first) + beyond, pages),)


def last_slot(*, before: int, pages: int) -> Where:
    """Choose pages from `before` the end of the VM's last slot."""

    def choose(vm: MadeVm) -> tuple[Row, ...]:
        slot = max(vm.plan.slots, key=lambda slot: slot.first)
        return ((gpa_of(slot.first + slot.pages - before), pages),)

    return choose


def gap(vm: MadeVm) -> tuple[Row, ...]:
    """Choose the first page after a slot that no slot has, though another lies beyond."""
    firsts = {slot.first for slot in vm.plan.slots}
    end = min(end for slot in vm.plan.slots if (end := slot.first + slot.pages) not in firsts)
    return ((gpa_of(end), 1),)


def seam(vm: MadeVm) -> tuple[Row, ...]:
    """Choose the last page of a slot and the first of the one that abuts."""
    by_first = {slot.first: slot for slot in vm.plan.slots}
    end = next(end for slot in vm.plan.slots if (end := slot.first + slot.pages) in by_first)
    return ((gpa_of(end - 1), 2),)


CALLERS: Final[Ways] = {
    "kernel": {"who": "kernel"},
    "user": {"who": "user"},
    "other-vm": {"who": "other-vm"},
    "vmm": {"who": "vmm"},
}
ABSENT: Final[Ways] = {name: {"life": name} for name in NO_VMS}
NOT_STARTED: Final[Ways] = {
    THE_ONE_WAY: {"life": Life.NORMAL},
    "denied": {"life": Life.DENIED},
    **ABSENT,
}
ORDERS: Final[Ways] = {
    name: {"order": order}
    for name, order in {
        "zero": 0,
        "smaller": PAGE_ORDER - 4,
        "larger": PAGE_ORDER + 5,
        "wide": PAGE_ORDER + (1 << 32),
        "largest": U64_MAX,
    }.items()
}


def flag_ways(known: int) -> Ways:
    """Return unknown flags, some beside `known` ones."""
    flags = {"low": 2, "beside-shared": 2 | H_PAGE_IN_SHARED, "high": 1 << 32, "highest": TOP_BIT}
    if not known:
        flags["shared"] = H_PAGE_IN_SHARED
    return {name: {"flags": flag} for name, flag in flags.items()}


PLACES: Final[Mapping[str, Where]] = {
    "gap": gap,
    "misaligned": run(0, 1, beyond=PAGE_SIZE // 2),
    "misaligned-by-one": run(0, 1, beyond=1),
    "beyond": last_slot(before=0, pages=1),
    "partly": last_slot(before=1, pages=2),
    "two-slots": seam,
    "far": run((1 << 48) - 1, 1),
    "wraps": run((1 << 48) - 1, 2),
    "endless": lambda _: ((0, U64_MAX),),
    "whole-machine": lambda _: ((0, 1 << 48),),
}
GPAS: Final[Ways] = {name: {"where": where} for name, where in PLACES.items()}

WHOLE_VM: Final[Aspects] = {"who": "ultravisor", "life": Life.TRANSIENT}
PAGING: Final[Aspects] = {"who": "ultravisor", "life": Life.SECURE, "order": PAGE_ORDER, "flags": 0}
FAILED: Final[Ways] = {"failed": {"life": Life.FAILED}}


async def make(_: Stage, scene: HypervisorScene, aspects: Aspects) -> Answer:
    """Make the hypercall that `aspects` describe; its code also tells of ultracalls and of runs left out."""
    lpid, vm = _named(scene, aspects)
    form: dict[str, Any] = {"lpid": lpid}
    if "where" in aspects:
        form["runs"] = PageRuns.of(*aspects["where"](vm))
        form |= {"flags": aspects["flags"], "order": aspects["order"]}
    who = caller(scene, aspects["who"], vm)
    number = scene.outside.number
    answer = await scene.outside.hypercall(REQUESTS[aspects["call"]](**form), who)
    sent = [heard.name for heard in scene.outside.heard_since(number, lpid)]
    told = [answer.code]
    if sent:
        told.append(f"and {', '.join(sent)} was sent")
    if "runs" in form and (odd := left_out(form["runs"], answer)):
        told.append(odd)
    return replace(answer, code=", ".join(told))


def left_out(runs: Iterable[tuple[int, ...]], answer: Answer) -> str:
    """Say where a refusal of all runs names some and not others: those would have been done; or return ""."""
    named = sorted((gpa, count) for gpa, count, _ in answer.refused)
    return "" if not named or named == sorted(runs) else f"of which {len(named)} runs are named"


def _named(scene: HypervisorScene, aspects: Aspects) -> tuple[int, MadeVm]:
    """Return the lpid that a message names, and the VM whose pages it speaks of."""
    life = aspects["life"]
    if life in NO_VMS:
        return NO_VMS[life](scene), scene.vm(Life.NORMAL)
    vm = scene.vm(life, radix=aspects.get("radix", True), enabled=aspects.get("enabled", True))
    return vm.lpid, vm


def caller(scene: HypervisorScene, name: str, vm: MadeVm) -> Who:
    """Return who calls."""
    callers = {
        "ultravisor": ULTRAVISOR,
        "kernel": kernel_of(vm.lpid),
        "user": user_of(vm.lpid),
        "other-vm": kernel_of(scene.vm(Life.NORMAL).lpid),
        "vmm": VMM,
    }
    return callers[name]


def subjects(aspects: Aspects) -> frozenset[Subject]:
    """Return on which subjects a message of these aspects can be made."""
    if aspects.get("host") == "without secure memory":
        return frozenset({Subject.BARE_HYPERVISOR})
    if aspects["life"] is Life.TRANSIENT:
        return frozenset({Subject.HYPERVISOR})
    return frozenset({Subject.HYPERVISOR, Subject.PAIR})


def _sheet(name: str, well: Aspects, wrong: Mapping[str, Ways]) -> Sheet:
    return Sheet(CALLS[name], HypervisorScene, {"call": name, **well}, wrong, make, subjects)


WITH: Final = {"host": "with secure memory"}
START: Final = _sheet(
    "H_SVM_INIT_START",
    {"who": "ultravisor", "life": Life.NORMAL, "radix": True, "enabled": True, **WITH},
    {
        "caller": CALLERS,
        "lpid": ABSENT,
        "state": {
            "transient": {"life": Life.TRANSIENT, "radix": True, "enabled": True, **WITH},
            "failed": {"life": Life.FAILED, "radix": True, "enabled": True, **WITH},
            "secure": {"life": Life.SECURE, "radix": True, "enabled": True, **WITH},
        },
        "secure_memory": {THE_ONE_WAY: {"host": "without secure memory"}},
        "radix": {THE_ONE_WAY: {"life": Life.NORMAL, "radix": False}},
        "authority": {THE_ONE_WAY: {"life": Life.NORMAL, "enabled": False}},
    },
)
DONE: Final = _sheet(
    "H_SVM_INIT_DONE",
    WHOLE_VM,
    {"caller": CALLERS, "started": NOT_STARTED, "state": {"secure": {"life": Life.SECURE}, **FAILED}},
)
ABORT: Final = _sheet(
    "H_SVM_INIT_ABORT",
    WHOLE_VM,
    {
        "caller": CALLERS,
        "started": {THE_ONE_WAY: {"life": Life.NORMAL}, **ABSENT},
        "state": {THE_ONE_WAY: {"life": Life.SECURE}},
    },
)
PAGE_IN: Final = _sheet(
    "H_SVM_PAGE_IN",
    {**PAGING, "where": page(Letter.P)},
    {
        "caller": CALLERS,
        "started": {**NOT_STARTED, **FAILED},
        "order": ORDERS,
        "flags": flag_ways(H_PAGE_IN_SHARED),
        "gpa": GPAS,
        "state": {
            THE_ONE_WAY: {"life": Life.SECURE, "where": page(Letter.S)},
            "transient": {"life": Life.TRANSIENT, "where": page(Letter.S)},
        },
    },
)
PAGE_OUT: Final = _sheet(
    "H_SVM_PAGE_OUT",
    {**PAGING, "where": page(Letter.S)},
    {
        "caller": CALLERS,
        "started": {**NOT_STARTED, **FAILED},
        "order": ORDERS,
        "flags": flag_ways(0),
        "gpa": GPAS,
    },
)
SHEETS: Final = (START, DONE, ABORT, PAGE_IN, PAGE_OUT)
