"""Mutants of the Ultravisor that are neither of the real firmware nor of a family: each breaks one promise.

Source: decisions on the page cipher, on memory that changes worlds, on UV_ESM errors; ultravisor.rst.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pef_kit.core.effects import Operation
from pef_kit.core.table import Judgement
from pef_kit.runtime.auth import Authenticator, Problem
from pef_mutants import answers
from pef_mutants.exchange import attribute, everywhere, only_in
from pef_mutants.mutant import by_hand
from pef_mutants.ultravisor import calls, contents
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.http import Caller, Role
from pef_protocol.quantities import Lpid
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import Esm
from pef_ultravisor import checks
from pef_ultravisor.checks import Call, HypervisorCall
from pef_ultravisor.from_guest import esm
from pef_ultravisor.gfn.columns import BUSY, Gfns
from pef_ultravisor.memory.normal_pages import NormalPages
from pef_ultravisor.state import Svm, Ultravisor


@contextmanager
def normal_pages_kept() -> Iterator[None]:
    """Count a normal page as in use for ever, once it has backed a GFN."""
    with attribute(NormalPages, "release", lambda *_: None):
        yield


@contextmanager
def guest_for_another() -> Iterator[None]:
    """Take the call of a VM that is no SVM for one of some SVM that there is."""

    def found(call: Call[Any]) -> Svm | None:
        if isinstance(call, HypervisorCall):
            return call.uv.svm(call.lpid)
        if isinstance(call.asked, Esm):  # or no other VM would become secure
            return call.uv.svm(call.caller.lpid)
        others = (svm for svm in call.uv.svms.values() if svm.state is UvVmState.SECURE)
        return call.uv.svm(call.caller.lpid) or next(others, None)

    with attribute(Call, "found", property(found)):
        yield


@contextmanager
def unmeasured() -> Iterator[None]:
    """Become secure whatever was measured."""
    with only_in(esm, "differing", lambda *_: ()):
        yield


@contextmanager
def failure_untold() -> Iterator[None]:
    """End a UV_ESM that failed without H_SVM_INIT_ABORT."""

    def go_on(uv: Ultravisor, svm: Svm) -> Operation[str]:
        yield from ()
        return ""

    with everywhere(esm.restore_normal_vm, go_on):
        yield


@contextmanager
def tree_unedited() -> Iterator[None]:
    """Leave the guest's device tree without the Ultravisor's bounce pages."""
    with only_in(esm, "write_tree_back", answers.nothing):
        yield


@contextmanager
def lpids_cut() -> Iterator[None]:
    """Look at the low twelve bits of an lpid alone."""
    original = Ultravisor.svm

    def svm(uv: Ultravisor, lpid: int | None) -> Svm | None:
        return original(uv, None if lpid is None else Lpid(lpid & 0xFFF))

    with attribute(Ultravisor, "svm", svm):
        yield


@contextmanager
def anybody() -> Iterator[None]:
    """Take a caller without a known token for the Hypervisor; the token of a VM that has ended is known."""
    original_caller, original_current = Authenticator.caller, Authenticator.require_current
    ended: list[Problem] = []

    def require_current(authenticator: Authenticator, caller: Caller) -> None:
        try:
            original_current(authenticator, caller)
        except Problem as problem:
            ended.append(problem)
            raise

    def caller(authenticator: Authenticator, authorization: str) -> Caller:
        try:
            return original_caller(authenticator, authorization)
        except Problem as problem:
            if problem in ended:
                raise
            return Caller(Role.HYPERVISOR)

    with (
        attribute(Authenticator, "require_current", require_current),
        attribute(Authenticator, "caller", caller),
    ):
        yield


@contextmanager
def other_reason() -> Iterator[None]:
    """Name another reason for each UV_ESM that fails: U_STATE, or U_P2 where that is the reason."""
    original = esm.enter

    def enter(uv: Ultravisor, svm: Svm, phases: Operation[None]) -> Operation[Reply | None]:
        reply = yield from original(uv, svm, phases)
        if reply is None:
            return None
        other = UCode.U_P2 if reply.code is UCode.U_STATE else UCode.U_STATE
        return Reply(other, detail=reply.detail)

    with only_in(esm, "enter", enter):
        yield


@contextmanager
def busy_is_refused() -> Iterator[None]:
    """Refuse for good what is asked of a GFN whose bytes are being moved."""
    original = checks.judged

    def judged(gfns: Gfns, judgement: Judgement) -> Judgement:
        moving = gfns.slot.marked(gfns.selection, BUSY)
        reported = original(gfns, judgement)
        reported.code[moving] = UCode.U_P2
        return reported

    with only_in(checks, "judged", judged):
        yield


@contextmanager
def never_full() -> Iterator[None]:
    """Take in more pages than secure memory has."""
    with attribute(Ultravisor, "has_room", lambda *_, **__: True):
        yield


BY_HAND: Final = (
    by_hand(
        Side.ULTRAVISOR, "wrong-numbers", "a refusal has the number next to its own", answers.wrong_numbers
    ),
    by_hand(Side.ULTRAVISOR, "other-reason", "UV_ESM that fails names another reason", other_reason),
    by_hand(Side.ULTRAVISOR, "never-full", "more pages come in than there is room for", never_full),
    by_hand(Side.ULTRAVISOR, "share-unzeroed", "a shared page is not zeroed", contents.share_unzeroed),
    by_hand(
        Side.ULTRAVISOR,
        "unshare-unzeroed",
        "an unshared page holds what it held before",
        contents.unshare_unzeroed,
    ),
    by_hand(Side.ULTRAVISOR, "same-iv", "every page is sealed with the same IV", contents.same_iv),
    by_hand(
        Side.ULTRAVISOR,
        "tag-unchecked",
        "a page is decrypted and its tag not compared",
        contents.tag_unchecked,
    ),
    by_hand(Side.ULTRAVISOR, "out-in-clear", "UV_PAGE_OUT leaves plaintext", contents.out_in_clear),
    by_hand(
        Side.ULTRAVISOR, "frames-unscrubbed", "frames are given on as they are", contents.frames_unscrubbed
    ),
    by_hand(Side.ULTRAVISOR, "normal-pages-kept", "a normal page is in use for ever", normal_pages_kept),
    by_hand(Side.ULTRAVISOR, "guest-for-another", "a normal VM's call is one of some SVM", guest_for_another),
    by_hand(Side.ULTRAVISOR, "unmeasured", "a VM becomes secure whatever was measured", unmeasured),
    by_hand(Side.ULTRAVISOR, "failure-untold", "a failed UV_ESM makes no H_SVM_INIT_ABORT", failure_untold),
    by_hand(Side.ULTRAVISOR, "tree-unedited", "the device tree lacks the bounce pages", tree_unedited),
    by_hand(Side.ULTRAVISOR, "anybody", "who shows no known token is taken for the Hypervisor", anybody),
    by_hand(Side.ULTRAVISOR, "busy-is-refused", "a page in motion is refused for good", busy_is_refused),
    by_hand(
        Side.ULTRAVISOR,
        "secure-once",
        "UV_ESM of a secure VM is refused",
        calls.secure_once,
        "uv/esm/success*",
    ),
    by_hand(
        Side.ULTRAVISOR,
        "file-backwards",
        "the bytes of a file come backwards",
        calls.file_backwards,
        "uv/esmb-get-file/success*",
    ),
    by_hand(
        Side.ULTRAVISOR,
        "left-over-refused",
        "a left-over page is refused at H_SVM_INIT_DONE",
        calls.unmigrated_refused,
        "uv/page-in/success*",
    ),
    by_hand(
        Side.ULTRAVISOR,
        "plugged-in-vain",
        "a slot that is plugged into a secure VM is forgotten",
        calls.plugged_in_vain,
        "uv/register-mem-slot/success*",
    ),
    by_hand(
        Side.ULTRAVISOR,
        "none-is-one",
        "a share of no page shares one",
        calls.none_is_one,
        "uv/share-page/success*",
    ),
    by_hand(
        Side.ULTRAVISOR,
        "never-fetched",
        "a page that is out is not brought for the guest",
        calls.never_fetched,
        "uv/page-out/success*",
    ),
    by_hand(Side.ULTRAVISOR, "lpids-cut", "of an lpid only twelve bits are looked at", lpids_cut),
    by_hand(Side.ULTRAVISOR, "refused-untold", "refused runs are not named", answers.refused_runs_untold),
    by_hand(
        Side.ULTRAVISOR,
        "neighbours-refused",
        "one wrong run refuses the whole message",
        answers.neighbours_refused,
    ),
)
"""Those that many rows find come first: what is played after them has less left to prove."""
