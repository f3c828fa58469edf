"""What must hold of calls and of the messages that they send."""

from collections.abc import Iterator

from pef_explorer.actions.move import VM
from pef_explorer.actions.outcome import succeeded
from pef_explorer.actions.table import ESM_FAILS, UV_ESM
from pef_explorer.invariants.observed import gfns, state
from pef_explorer.invariants.transition_tables import (
    EXPLICIT,
)
from pef_explorer.world.step import Step
from pef_protocol.states import UvGfnState as S


def an_error_changes_neither_side(step: Step) -> Iterator[str]:
    """5. A call that is refused, and was alone, leaves both sides as they were."""
    ended = step.ended
    if ended is None or not step.quiescent or not ended.alone or step.world.faulty or succeeded(ended.word):
        return
    if ended.move.action in {UV_ESM, ESM_FAILS}:
        return
    if step.world.changed():
        yield f"{ended.move.action} was refused ({ended.word}), and changed something"


def an_aborted_svm_never_runs(step: Step) -> Iterator[str]:
    """7. No load or store of an aborted SVM resolves; a VM that never became secure is a normal one."""
    aborted, ended = step.before.aborted and step.world.oracle.secure, step.ended
    if aborted and ended is not None and ended.move.action in {"load", "store"} and ended.word != "refused":
        yield f"a {ended.move.action} of an aborted SVM resolved"


def no_iv_comes_twice(step: Step) -> Iterator[str]:
    """8. No (key, IV) pair is used twice."""
    same = step.after.generation == step.before.generation and step.after.uv_vm and step.before.uv_vm
    if same and step.after.used < step.before.used:
        yield "IVs that had been used are free again"
    if step.world.iv_again:
        yield "a page is sealed with an IV that its key has been used with"


def what_is_asked_succeeds(step: Step) -> Iterator[str]:
    """15. Liveness: alone, with a cooperating host, a call from a quiescent state succeeds."""
    ended = step.ended
    if not step.quiescent or step.world.faulty:
        return
    if step.failed and not any(step.world.oracle.tainted):
        yield f"UV_ESM goes back: {step.failed}"
    if ended is None or not ended.alone or succeeded(ended.word):
        return
    if step.before.aborted or step.before.hv_vm[3]:
        return
    if not _may_be_refused(step, ended.move.action, ended.move.gfn):
        where = "" if ended.move.gfn == VM else f" of GFN {ended.move.gfn}"
        yield f"{ended.move.action}{where} ended {ended.word} {ended.detail}".rstrip()


def _may_be_refused(step: Step, action: str, gfn: int) -> bool:
    """Tell whether a refusal is what the protocol wants: a bad image, a page that the host has destroyed."""
    if action in {UV_ESM, ESM_FAILS}:
        return True
    oracle = step.world.oracle
    if action == "unshare all":
        return any(oracle.tainted)
    if gfn == VM:
        return False
    kept = state(step.before.uv, gfn) in {S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV}
    return oracle.tainted[gfn] or (kept and action in {"load", "store", "unshare"})


def what_was_promised_is_so(step: Step) -> Iterator[str]:
    """18. After an unshare that succeeded alone, of a GFN or of all, nothing of it is shared."""
    ended = step.ended
    if not (ended and ended.alone and ended.word == "U_SUCCESS" and step.after.uv_vm):
        return
    for gfn in gfns(step):
        meant = ended.move.action == "unshare all" or (
            ended.move.action == "unshare" and ended.move.gfn == gfn
        )
        if meant and state(step.after.uv, gfn) in EXPLICIT:
            yield f"{ended.move.action} succeeded, and GFN {gfn} is shared"


def a_message_acts_once(step: Step) -> Iterator[str]:
    """19. A message acts once or not at all, however often it arrives, and never in a later epoch."""
    if step.world.system.wrong:
        yield step.world.system.wrong
