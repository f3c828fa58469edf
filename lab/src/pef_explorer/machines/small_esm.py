"""UV_ESM for a VM of a few GFNs: the service's own call, without the image that a real guest has.

H_SVM_INIT_START, the pages that are asked for, the pages that are shared, H_SVM_INIT_DONE, the commit and the
end of a failure are the real ones. Left out is what talks to nobody: the device tree, the ESM blob, and the
measurement, which is said to come out one way or the other.

A generator can't be copied. So each phase runs in a generator of its own, which is closed at the next `Phase`
effect; `Entering` says how many phases are done.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self, TypeAlias

from pef_explorer.plan import Part, Plan
from pef_kit.core.effects import Effect, Operation, Phase
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE
from pef_ultravisor.boot.image import EsmFailure, Extent
from pef_ultravisor.boot.pages import import_all, import_extent
from pef_ultravisor.from_guest.esm import commit, done, enter, give_up, share_extent, start
from pef_ultravisor.gfn.table import Event
from pef_ultravisor.state import Svm, Ultravisor

Step: TypeAlias = Callable[[Ultravisor, Svm], Operation[None]]
"""What is done in a phase: it ends, or raises EsmFailure."""


@dataclass(slots=True)
class Entering:
    """A UV_ESM between two phases: `place` of its `steps` are done. `reply` is None until it has ended.

    It stands for a call that `svm.open_calls` counts already; `begin` makes one that is new.
    """

    uv: Ultravisor
    svm: Svm
    steps: Sequence[Step]
    place: int = 0
    failure: EsmFailure | None = None
    reply: Reply | None = None

    @classmethod
    def begin(cls, uv: Ultravisor, svm: Svm, steps: Sequence[Step]) -> Self:
        """Begin a UV_ESM, and count it as an open call of `svm`."""
        svm.open_calls += 1
        return cls(uv, svm, steps)

    def next_phase(self) -> Operation[None]:
        """Return the operation that does the next phase: a step, or the end after a step that failed."""
        return OnePhase(self)


class OnePhase(Generator[Effect, Any, None]):
    """A UV_ESM from one `Phase` effect to the next.

    It is a class, not a generator, so that a search can look through it at where `operation` stands.
    """

    def __init__(self, entering: Entering) -> None:
        self._entering = entering
        uv, svm, failure = entering.uv, entering.svm, entering.failure
        self.operation: Operation[Reply | None]
        if failure is None:
            self.operation = _uncounted(svm, enter(uv, svm, phases(uv, svm, entering.steps, entering.place)))
        else:
            self.operation = give_up(uv, svm, failure)

    def send(self, value: Any) -> Effect:
        """Go on to the next effect; end where that is the next phase."""
        return self._go_on(lambda: self.operation.send(value))

    def throw(self, kind: Any, value: Any = None, trace: Any = None, /) -> Effect:
        """Go on with a failure to the next effect; end where that is the next phase."""
        failure = kind if isinstance(kind, BaseException) else (value or kind())
        return self._go_on(lambda: self.operation.throw(failure))

    def close(self) -> None:
        """Give the phase up."""
        self.operation.close()

    def _go_on(self, resume: Callable[[], Effect]) -> Effect:
        entering = self._entering
        try:
            effect = resume()
        except StopIteration as end:
            entering.reply = end.value or Reply(UCode.U_SUCCESS)
            entering.svm.open_calls -= 1
            raise StopIteration from None
        if not isinstance(effect, Phase):
            return effect
        if isinstance(effect.failure, EsmFailure):
            entering.failure = effect.failure
        else:
            entering.place += 1
        self.operation.close()
        raise StopIteration


def _uncounted(svm: Svm, operation: Operation[Reply | None]) -> Operation[Reply | None]:
    """Run a call that counts itself, for one that is counted already."""
    svm.open_calls -= 1
    try:
        return (yield from operation)
    finally:
        svm.open_calls += 1


def phases(uv: Ultravisor, svm: Svm, steps: Sequence[Step], place: int = 0) -> Operation[None]:
    """Do the steps from `place` on, with a `Phase` between two of them."""
    for step in steps[place:-1]:
        yield from step(uv, svm)
        yield Phase("next step")
    yield from steps[-1](uv, svm)


def steps_for(plan: Plan) -> tuple[Step, ...]:
    """Return the steps of UV_ESM for the image of `plan`."""
    moves = {Part.BROUGHT: _import, Part.SHARED: _share}
    in_order = (Part.SHARED, Part.BROUGHT)
    phases = [
        partial(moves[part], gfns=[gfn for gfn, each in enumerate(plan.parts) if each is part])
        for part in in_order
        if part in plan.parts
    ]
    return (start, *phases, measured, import_all, done_and_committed)


def gfns_of(step: Step) -> list[int]:
    """Return the GFNs that a step names; none where it deals with the whole VM."""
    return list(getattr(step, "keywords", {}).get("gfns", ()))


def name_of(step: Step) -> str:
    """Return what a phase does, in words for people."""
    kind = step.func if isinstance(step, partial) else step
    return _NAMES[kind]


def zeroed_by(plan: Plan, steps: tuple[Step, ...], place: int) -> list[int]:
    """Return the GFNs that a step may leave as zero: what it shares, or in the end unmigrated pages."""
    parts = plan.parts
    if place == len(steps) - 1:
        return [gfn for gfn, part in enumerate(parts) if part is Part.UNMIGRATED]
    return [gfn for gfn in gfns_of(steps[place]) if parts[gfn] is Part.SHARED]


def measured(_: Ultravisor, __: Svm) -> Operation[None]:
    """Find the image to be what was promised; `not_as_promised` is the other outcome."""
    yield from ()


def not_as_promised(_: Ultravisor, __: Svm) -> Operation[None]:
    """Find the image not to be what was promised."""
    yield from ()
    raise EsmFailure(UCode.U_PERMISSION, "not what the ESM blob promises: initrd")


def done_and_committed(uv: Ultravisor, svm: Svm) -> Operation[None]:
    """Make H_SVM_INIT_DONE and commit: nothing comes between the two."""
    yield from done(uv, svm)
    yield from commit(svm, {})


def _extent(gfn: int) -> Extent:
    return Extent(gfn * PAGE_SIZE, PAGE_SIZE)


def _import(uv: Ultravisor, svm: Svm, gfns: list[int]) -> Operation[None]:
    for gfn in gfns:
        yield from import_extent(uv, svm, _extent(gfn), UCode.U_P2, "the image")


def _share(uv: Ultravisor, svm: Svm, gfns: list[int]) -> Operation[None]:
    for gfn in gfns:
        yield from share_extent(uv, svm, _extent(gfn), Event.COMMIT_IMPLICIT, "a bounce page")


_NAMES: Final[Mapping[Any, str]] = {
    start: "H_SVM_INIT_START",
    _share: "bounce pages",
    _import: "pages of the image",
    measured: "measurement",
    not_as_promised: "measurement",
    import_all: "all other pages",
    done_and_committed: "H_SVM_INIT_DONE",
}
