"""What must hold of calls and of the messages that they send."""

from collections.abc import Iterator
from typing import Final

from pef_explorer.actions.action import PRIVATE
from pef_explorer.actions.guest import KEPT_SHARED
from pef_explorer.actions.move import VM, Move
from pef_explorer.actions.names import ActionName, ExtraActionName
from pef_explorer.actions.outcome import succeeded
from pef_explorer.actions.table import ACTIONS, ESM_FAILS, SHARES, UV_ESM
from pef_explorer.invariants.observed import gfns, state
from pef_explorer.invariants.transition_tables import (
    EXPLICIT,
)
from pef_explorer.plan import Extra
from pef_explorer.world.step import Step

UNSHARE_ALL: Final = ActionName.UNSHARE_ALL.value
UNSHARES: Final = frozenset({ActionName.UNSHARE.value, ExtraActionName.UNSHARE_TWO.value})


def an_error_changes_neither_side(step: Step) -> Iterator[str]:
    """5. A call that is refused, and was alone, leaves both sides as they were.

    Where one of two GFNs was destroyed by the host, the other one may have come back for the call.
    """
    ended = step.ended
    if ended is None or not step.quiescent or not ended.alone or step.world.faulty or succeeded(ended.word):
        return
    if ended.move.action in {UV_ESM, ESM_FAILS} or _names_a_destroyed_one(step, ended.move):
        return
    if step.world.changed():
        yield f"{ended.move.action} was refused ({ended.word}), and changed something"


def _names_a_destroyed_one(step: Step, move: Move) -> bool:
    """Tell whether several GFNs are named, of which the host has destroyed one."""
    named = ACTIONS[move.action].gfns(move.gfn)
    return len(named) > 1 and any(step.world.oracle.tainted[gfn] for gfn in named)


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
    """15. Liveness: alone, with a cooperating host, a call from a quiescent state succeeds.

    A host that exchanges a slot of which UV_ESM asks for a page is none.
    """
    ended = step.ended
    if not step.quiescent or step.world.faulty:
        return
    if (
        step.failed
        and not any(step.world.oracle.tainted)
        and Extra.MEASURED_PLUG not in step.world.plan.extras
    ):
        yield f"UV_ESM goes back: {step.failed}"
    if ended is None or not ended.alone or succeeded(ended.word):
        return
    if step.before.aborted or step.before.hv_vm[3]:
        return
    if not _may_be_refused(step, ended.move.action, ended.move.gfn):
        where = "" if ended.move.gfn == VM else f" of GFN {ended.move.gfn}"
        yield f"{ended.move.action}{where} ended {ended.word} {ended.detail}".rstrip()


def _may_be_refused(step: Step, action: str, gfn: int) -> bool:
    """Tell whether a refusal is what the protocol wants.

    So it is for a bad image, for a page that the host has destroyed, and for a slot while UV_ESM stands.
    """
    if action in {UV_ESM, ESM_FAILS}:
        return True
    oracle = step.world.oracle
    if action == "unshare all":
        return any(oracle.tainted)
    if gfn == VM:
        return ACTIONS[action].plug and step.world.suspended is not None
    named = ACTIONS[action].gfns(gfn)
    kept = any(state(step.before.uv, each) in KEPT_SHARED for each in named)
    return any(oracle.tainted[each] for each in named) or (kept and action in {"load", "store", *UNSHARES})


def what_was_promised_is_so(step: Step) -> Iterator[str]:
    """18. After a share that succeeded alone all of it is shared, after an unshare nothing of it is."""
    ended = step.ended
    if not (ended and ended.alone and ended.word == "U_SUCCESS" and step.after.uv_vm):
        return
    action = ended.move.action
    if action not in {UNSHARE_ALL, *UNSHARES, *SHARES}:
        return
    named = gfns(step) if action == UNSHARE_ALL else ACTIONS[action].gfns(ended.move.gfn)
    for gfn in named:
        now = state(step.after.uv, gfn)
        if now in (PRIVATE if action in SHARES else EXPLICIT):
            yield f"{action} succeeded, and GFN {gfn} is {'private' if action in SHARES else 'shared'}"


def a_message_acts_once(step: Step) -> Iterator[str]:
    """19. A message acts once or not at all, however often it arrives, and never in a later epoch."""
    if step.world.system.wrong:
        yield step.world.system.wrong
