"""The one place where an operation of the Ultravisor is put under a lease, and where its end is answered.

Every entry point returns such an operation, so it ends alike whatever drives it: a service, a linked pair,
an explorer. Once its SVM is over it begins nothing more, and answers as if there were none.

Source: rule 10 of ARCHITECTURE.md, "Identity and time".
"""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Final, TypeVar

from pef_kit.core.lease import Ended, Life, leased
from pef_kit.operations import Operation, Pause
from pef_protocol.calls import ULTRACALLS, Reply
from pef_protocol.codes import Code, UCode
from pef_ultravisor.gfn.columns import Svm
from pef_ultravisor.state import Ultravisor

T = TypeVar("T")


def under_lease(
    uv: Ultravisor, svm: Svm | None, operation: Operation[T], when_over: Callable[[Ended], T]
) -> Operation[T]:
    """Run `operation` for as long as the epoch and `svm` last; once the SVM is over, do as `when_over` says.

    Raise Ended where the epoch is over: nobody is left who could be answered.
    """
    lives = (uv.epoch,) if svm is None else (uv.epoch, svm.life)
    try:
        return (yield from leased(operation, *lives))
    except Ended as ended:
        if svm is None or ended.life is not svm.life:
            raise
        return when_over(ended)


NO_OBJECT: Final[Mapping[str, Code]] = {
    call.name: next(rung.code for rung in call.ladder if rung.name in {"lpid", "secure"})
    for call in ULTRACALLS
} | {"UV_ESM": UCode.U_STATE}
"""What each ultracall answers where the object that it names is not there. UV_ESM made its own: it failed."""


def no_object(name: str, ended: Ended) -> Reply:
    """Return the answer to ultracall `name` whose object ended under it."""
    return Reply(NO_OBJECT[name], detail=str(ended))


def end_svm(uv: Ultravisor, svm: Svm) -> Operation[None]:
    """End an SVM: its operations begin nothing more; once no byte of it moves, it is scrubbed.

    Nobody's operation is waited for, only bytes. It may be called again while it waits.
    """
    uv.end(svm)
    yield from _still(svm.life)
    yield from uv.scrub(svm)


def end_epoch(uv: Ultravisor) -> Operation[None]:
    """End the epoch and all its SVMs, scrub them and forget all entries. Who begins the next one sets it."""
    uv.epoch.end()
    for svm in tuple(uv.svms.values()):
        uv.end(svm)
    yield from _still(uv.epoch)
    for svm in tuple(uv.dying):
        yield from uv.scrub(svm)
    uv.pates.clear()
    for lpid in tuple(uv.incarnations):
        uv.retire(lpid)


def _still(life: Life) -> Operation[None]:
    """Wait until no byte moves for a life that is over: a thread stops at its next piece."""
    for attempt in count():
        if not life.moving:
            return
        yield Pause(attempt, patient=True)
