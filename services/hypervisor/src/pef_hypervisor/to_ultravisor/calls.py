"""Single calls to the Ultravisor: made once or until it is no longer busy; the entry and the SVM of a VM.

Every call about an SVM names its incarnation. How a call can end:

| outcome | means |
|---|---|
| an answer | what its code says; a refusal changes nothing, busy means nothing done |
| refused as a message | nothing changed: `UNMADE`, as any refusal |
| it can't be had | nobody knows: the VM must be reset, and nothing else is done for it until then |

Source: Documentation/powerpc/ultravisor.rst, UV_WRITE_PATE and UV_SVM_TERMINATE.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from pef_hypervisor.state import Vm
from pef_kit.core.effects import Backoff, Operation, PeerCall, PeerFailure
from pef_protocol.calls import Reply
from pef_protocol.codes import Code, UCode
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import PAGE_SIZE, Lpid
from pef_protocol.ultracalls import SvmTerminate, WritePate

PEER: Final = "ultravisor"
UNMADE: Final = UCode.U_FUNCTION
"""Stands for an answer where there is none: no success, not busy, and never read as "there is nothing"."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an ultracall: code, a sentence for people, whether its outcome is `known`, outputs."""

    code: Code
    detail: str
    known: bool = True
    outputs: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Tell whether the call did what was asked."""
        return self.code is UCode.U_SUCCESS

    @property
    def unmade(self) -> bool:
        """Tell whether the message was refused as a whole, so that nothing was done."""
        return self.known and self.code is UNMADE


def call_once(
    name: str, request: object, vm: Vm | None = None, incarnation: Incarnation | None = None
) -> Operation[Answer]:
    """Make an ultracall for `vm` and say what came of it; `incarnation` is that of the SVM it is about."""
    try:
        reply: Reply = yield PeerCall(name, request, incarnation)
    except PeerFailure as failure:
        return Answer(UNMADE, note_failure(vm, failure), known=failure.done is False)
    detail = f"{name}: {reply.code.name} {reply.detail}".rstrip()
    return Answer(reply.code, detail, outputs=reply.outputs)


def note_failure(vm: Vm | None, failure: PeerFailure) -> str:
    """Note that `vm` must be reset, where the outcome of a call for it can't be had; return the sentence."""
    if vm is not None and failure.done is not False:
        vm.must_reset = True
    return str(failure)


def call_with_retry(
    name: str, request: object, vm: Vm | None = None, incarnation: Incarnation | None = None
) -> Operation[Answer]:
    """Make an ultracall; while it is answered with U_BUSY, try again as long as there is time."""
    answer = yield from call_once(name, request, vm, incarnation)
    for attempt in count():
        if answer.code is not UCode.U_BUSY:
            break
        again: bool = yield Backoff(attempt)
        if not again:
            break
        answer = yield from call_once(name, request, vm, incarnation)
    return answer


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why an operation on whole slots stopped: a sentence, or "" where nothing stopped it.

    `busy`: it can be tried again, and will go on where it stopped.
    """

    why: str = ""
    busy: bool = False

    def __bool__(self) -> bool:
        return bool(self.why)


RADIX: Final = 1 << 63
"""HR of the first double word, GR of the second: the tables are radix trees."""
TABLES: Final = 1 << 24
"""Real address (bytes) from which each VM has two pages for its tables, below normal memory for guests."""
NO_SVM: Final = frozenset({UCode.U_PARAMETER, UCode.U_INVALID})
"""Answers to UV_SVM_TERMINATE by which there is nothing to end."""


def write_pate(lpid: Lpid, *, radix: bool, vm: Vm | None = None) -> Operation[Answer]:
    """Write the entry of a VM, if it is there: where its partition-scoped and its process table stand."""
    return call_with_retry("UV_WRITE_PATE", _entry(lpid, radix=radix), vm)


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
    answer = yield from call_with_retry("UV_WRITE_PATE", entry, vm)
    for attempt in count():
        if answer.code is not UCode.U_PERMISSION:
            break
        again: bool = yield Backoff(attempt)
        if not again:
            break
        answer = yield from end_svm(vm)
        if not answer.succeeded:
            break
        answer = yield from call_with_retry("UV_WRITE_PATE", entry, vm)
    return answer


def end_svm(vm: Vm, incarnation: Incarnation | None = None) -> Operation[Answer]:
    """End the SVM of a VM, or only the one that `incarnation` names; that there is none is as good.

    The answer names the earliest SVM that may begin from now on: a H_SVM_INIT_START for one before is late.
    """
    answer = yield from call_with_retry("UV_SVM_TERMINATE", SvmTerminate(vm.lpid), vm, incarnation)
    vm.next_svm = Incarnation.parse(str(answer.outputs.get("incarnation"))) or vm.next_svm
    return Answer(UCode.U_SUCCESS, answer.detail) if answer.code in NO_SVM else answer
