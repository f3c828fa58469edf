"""UV_ESM for a VM of a few GFNs: the services' own steps, without the image that a real guest has.

H_SVM_INIT_START, the pages that are asked for, the pages that are shared, H_SVM_INIT_DONE and the commit are
the real ones. Left out is what talks to nobody: the device tree, the ESM blob, and the measurement, which is
said to come out one way or the other.
"""

from functools import partial
from typing import Final

from pef_explorer.plan import Part, Plan
from pef_kit.operations import Operation
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE
from pef_ultravisor.boot.image import Extent
from pef_ultravisor.boot.pages import EsmFailure, bring, covering
from pef_ultravisor.from_guest import esm_steps
from pef_ultravisor.from_guest.entering import Entering, Step, together
from pef_ultravisor.sharing import Kind


def steps_for(plan: Plan) -> tuple[Step, ...]:
    """Return the steps of UV_ESM for the image of `plan`."""
    moves = {Part.BROUGHT: _bring, Part.SHARED: _share}
    in_order = (Part.SHARED, Part.BROUGHT)
    wanted = [
        partial(moves[part], gfns=[gfn for gfn, each in enumerate(plan.image) if each is part])
        for part in in_order
        if part in plan.image
    ]
    return (esm_steps.start, *wanted, measured, esm_steps.bring_rest, _done_and_committed)


def gfns_of(step: Step) -> list[int]:
    """Return the GFNs that a step names; none where it deals with the whole VM."""
    return list(getattr(step, "keywords", {}).get("gfns", ()))


def zeroed_by(plan: Plan, steps: tuple[Step, ...], place: int) -> list[int]:
    """Return the GFNs that a step may leave as zero: what it shares, or in the end what is left over."""
    image = [*plan.image, *[Part.LEFT_OVER] * plan.plug]
    if place == len(steps) - 1:
        return [gfn for gfn, part in enumerate(image) if part is Part.LEFT_OVER]
    return [gfn for gfn in gfns_of(steps[place]) if image[gfn] is Part.SHARED]


def measured(entering: Entering) -> Operation[None]:
    """Find the image to be what was promised; `not_as_promised` is the other outcome."""
    yield from ()


def not_as_promised(entering: Entering) -> Operation[None]:
    """Find the image not to be what was promised."""
    yield from ()
    raise EsmFailure(UCode.U_PERMISSION, "not what the ESM blob promises: initrd")


_done_and_committed: Final = together(esm_steps.done, esm_steps.commit)


def _extent(gfn: int) -> Extent:
    return Extent(gfn * PAGE_SIZE, PAGE_SIZE)


def _bring(entering: Entering, gfns: list[int]) -> Operation[None]:
    for gfn in gfns:
        pages = covering(entering.svm, _extent(gfn), UCode.U_P2, "the image")
        yield from bring(entering.uv, entering.svm, pages)


def _share(entering: Entering, gfns: list[int]) -> Operation[None]:
    for gfn in gfns:
        yield from esm_steps.share_extent(entering, _extent(gfn), Kind.IMPLICIT, "a bounce page")
