"""A VM as the machine knows it: its partition-table entry, and the SVM that stands behind it.

Source: Documentation/powerpc/ultravisor.rst, UV_WRITE_PATE and UV_SVM_TERMINATE.
"""

from typing import Final

from pef_hypervisor.to_ultravisor import Answer, insist
from pef_kit.operations import Operation
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, Lpid
from pef_protocol.ultracalls import SvmTerminate, WritePate

RADIX: Final = 1 << 63
"""HR of the first double word, GR of the second: the tables are radix trees."""
TABLES: Final = 1 << 24
"""Real address (bytes) from which each VM has two pages for its tables, below normal memory for guests."""
NO_SVM: Final = frozenset({UCode.U_PARAMETER, UCode.U_INVALID})
"""Answers to UV_SVM_TERMINATE by which there is nothing to end."""


def write_pate(lpid: Lpid, *, radix: bool) -> Operation[Answer]:
    """Write the entry of a VM: where its partition-scoped and its process table stand."""
    tables = TABLES + lpid * 2 * PAGE_SIZE
    mode = RADIX if radix else 0
    return insist("UV_WRITE_PATE", WritePate(lpid, mode | tables, mode | (tables + PAGE_SIZE)))


def take_lpid(lpid: Lpid, *, radix: bool) -> Operation[Answer]:
    """Write the entry of a new VM; end an SVM that still has the lpid, for nobody has that one any more."""
    answer = yield from write_pate(lpid, radix=radix)
    if answer.code is not UCode.U_PERMISSION:
        return answer
    ended = yield from end_svm(lpid)
    return (yield from write_pate(lpid, radix=radix)) if ended.succeeded else ended


def clear_pate(lpid: Lpid) -> Operation[Answer]:
    """Write an empty entry: the VM is no more."""
    return insist("UV_WRITE_PATE", WritePate(lpid, 0, 0))


def end_svm(lpid: Lpid) -> Operation[Answer]:
    """End the SVM of a VM; that the Ultravisor has none is as good."""
    answer = yield from insist("UV_SVM_TERMINATE", SvmTerminate(lpid))
    return Answer(UCode.U_SUCCESS, answer.detail) if answer.code in NO_SVM else answer
