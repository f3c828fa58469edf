"""Mutants of the Ultravisor in which one call, made well, does not do what it should.

Source: ultravisor.rst; decisions, "a GFN never imported", "UV_ESM on a secure VM".
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pef_kit.core.effects import Operation
from pef_kit.core.table import Cell
from pef_mutants.exchange import attribute, cells, everywhere
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import SharePage
from pef_ultravisor.checks import RangeCall
from pef_ultravisor.from_guest import esm, esmb_get_file
from pef_ultravisor.from_hypervisor import register_mem_slot
from pef_ultravisor.gfn.columns import GfnSets
from pef_ultravisor.gfn.table import GFN, Action, Event
from pef_ultravisor.state import Ultravisor


def _answering_otherwise(
    original: Callable[..., Operation[Reply]],
    default: Callable[[Ultravisor, Caller, Any, Reply], Reply],
) -> Callable[..., Operation[Reply]]:
    def handler(uv: Ultravisor, caller: Caller, asked: Any) -> Operation[Reply]:
        return default(uv, caller, asked, (yield from original(uv, caller, asked)))

    return handler


@contextmanager
def secure_once() -> Iterator[None]:
    """Refuse UV_ESM of a VM that is secure."""
    original = esm.uv_esm

    def uv_esm(uv: Ultravisor, caller: Caller, asked: Any) -> Operation[Reply]:
        svm = uv.svm(caller.lpid)
        if caller.is_vm_kernel and svm is not None and svm.state is UvVmState.SECURE:
            return Reply(UCode.U_STATE)
        return (yield from original(uv, caller, asked))

    with everywhere(original, uv_esm):
        yield


@contextmanager
def file_backwards() -> Iterator[None]:
    """Hand out the bytes of an attached file in the wrong order."""

    def reversed_bytes(_: Ultravisor, __: Caller, ___: Any, reply: Reply) -> Reply:
        if not reply.code.succeeded:
            return reply
        content = bytes.fromhex(str(reply.outputs["bytes"]))
        return Reply(reply.code, {**reply.outputs, "bytes": content[::-1].hex()})

    original = esmb_get_file.uv_esmb_get_file
    with everywhere(original, _answering_otherwise(original, reversed_bytes)):
        yield


@contextmanager
def unmigrated_refused() -> Iterator[None]:
    """Refuse a page that was never asked for while H_SVM_INIT_DONE is outstanding."""
    refused = Cell(S.SECURE, UCode.U_P2, Action.NOTHING)
    with cells(GFN, {Event.PAGE_IN_AT_DONE: {S.SECURE: refused}}):
        yield


@contextmanager
def plugged_in_vain() -> Iterator[None]:
    """Forget a slot that is registered for a secure VM."""
    original = register_mem_slot.uv_register_mem_slot

    def forgetful(uv: Ultravisor, caller: Caller, asked: Any) -> Operation[Reply]:
        reply = yield from original(uv, caller, asked)
        svm = uv.svm(asked.lpid)
        if reply.code.succeeded and svm is not None and svm.state is UvVmState.SECURE:
            slot = svm.slots.get(asked.slotid)
            if slot is not None:
                yield from uv.release_slot(svm, slot)
        return reply

    with everywhere(original, forgetful):
        yield


@contextmanager
def none_is_one() -> Iterator[None]:
    """Share one page where none is to be shared."""
    original = vars(RangeCall)["gfn_sets"]

    def gfn_sets(call: RangeCall[Any]) -> GfnSets:
        if isinstance(call.asked, SharePage) and call.asked.num == 0 and call.found is not None:
            return call.found.slots.covered(call.asked.gfn, 1) or []
        found: GfnSets = original.func(call)
        return found

    with attribute(RangeCall, "gfn_sets", property(gfn_sets)):
        yield


@contextmanager
def never_fetched() -> Iterator[None]:
    """Refuse the guest a page that is out, and do not have it brought."""
    refused = Cell(S.PAGEDOUT, UCode.U_SUCCESS, Action.DENY)
    with cells(GFN, {Event.TOUCH: {S.PAGEDOUT: refused}}):
        yield
