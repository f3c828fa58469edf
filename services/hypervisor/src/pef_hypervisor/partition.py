"""A VM as the machine knows it: its partition-table entry, and the SVM that stands behind it.

Source: Documentation/powerpc/ultravisor.rst, UV_WRITE_PATE and UV_SVM_TERMINATE.
"""

from itertools import count
from typing import Final

from pef_hypervisor.frames import Vm
from pef_hypervisor.to_ultravisor import Answer, insist
from pef_kit.operations import Operation, Pause
from pef_protocol.codes import UCode
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import PAGE_SIZE, Lpid
from pef_protocol.ultracalls import SvmTerminate, WritePate

RADIX: Final = 1 << 63
"""HR of the first double word, GR of the second: the tables are radix trees."""
TABLES: Final = 1 << 24
"""Real address (bytes) from which each VM has two pages for its tables, below normal memory for guests."""
NO_SVM: Final = frozenset({UCode.U_PARAMETER, UCode.U_INVALID})
"""Answers to UV_SVM_TERMINATE by which there is nothing to end."""


def write_pate(lpid: Lpid, *, radix: bool, vm: Vm | None = None) -> Operation[Answer]:
    """Write the entry of a VM, if it is there: where its partition-scoped and its process table stand."""
    return insist("UV_WRITE_PATE", _entry(lpid, radix=radix), vm)


def renew_pate(vm: Vm) -> Operation[Answer]:
    """Write the entry of a VM whose SVM has ended, and that is to be a normal one."""
    return _replace_pate(vm, _entry(vm.lpid, radix=vm.radix))


def clear_pate(vm: Vm) -> Operation[Answer]:
    """Write an empty entry: the VM is no more."""
    return _replace_pate(vm, WritePate(vm.lpid, 0, 0))


def _entry(lpid: Lpid, *, radix: bool) -> WritePate:
    tables = TABLES + lpid * 2 * PAGE_SIZE
    mode = RADIX if radix else 0
    return WritePate(lpid, mode | tables, mode | (tables + PAGE_SIZE))


def _replace_pate(vm: Vm, entry: WritePate) -> Operation[Answer]:
    """Write an entry of a VM whose SVM has ended; while its guest begins another one, end that too."""
    answer = yield from insist("UV_WRITE_PATE", entry, vm)
    for attempt in count():
        if answer.code is not UCode.U_PERMISSION or not (yield Pause(attempt)):
            break
        answer = yield from end_svm(vm)
        if not answer.succeeded:
            break
        answer = yield from insist("UV_WRITE_PATE", entry, vm)
    return answer


def end_svm(vm: Vm, incarnation: Incarnation | None = None) -> Operation[Answer]:
    """End the SVM of a VM, or only the one that `incarnation` names; that there is none is as good.

    The answer names the earliest SVM that may begin from now on: a H_SVM_INIT_START for one before is late.
    """
    answer = yield from insist("UV_SVM_TERMINATE", SvmTerminate(vm.lpid), vm, incarnation)
    vm.next_svm = Incarnation.parse(str(answer.outputs.get("incarnation"))) or vm.next_svm
    return Answer(UCode.U_SUCCESS, answer.detail) if answer.code in NO_SVM else answer
