"""What the VMM and host memory management leave in the pages of the guest."""

from pef_explorer.actions.action import PRIVATE, Kept, Target, may_be_kept
from pef_explorer.actions.oracle import HOST, ZERO
from pef_explorer.actions.outcome import ENDED, succeeded
from pef_hypervisor.outcome import Errno
from pef_protocol.states import HvVmState, UvVmState
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.state import Svm


def reset(world: Target, _: range) -> bytes:
    """Zero the pages of an SVM."""
    if world.oracle.secure or world.system.svm is not None:
        for gfn in range(world.system.plan.pages):
            world.oracle.also(gfn, ZERO)
    return ZERO


def was_reset(world: Target, _: int, __: frozenset[bytes], outcome: str) -> None:
    """Note what a reset has taken from the SVM: all of it, or, where it was refused, what is gone by then."""
    succeeded = outcome == Errno.OK.name
    for gfn in range(world.system.plan.pages):
        if succeeded or world.at_uv(gfn) is None:
            world.oracle.tainted[gfn] = world.oracle.absent[gfn] = False
    if succeeded or world.system.svm is None:
        world.oracle.secure = False


def was_made(world: Target, _: int, __: frozenset[bytes], outcome: str) -> None:
    """Note that the VM is a new one, if it was created."""
    if outcome == Errno.OK.name:
        world.oracle.is_new()


def host_write(world: Target, gfns: range) -> bytes:
    """Write a token."""
    return world.token(HOST, gfns.start)


def host_wrote(world: Target, gfn: int, values: frozenset[bytes], outcome: str) -> None:
    """Note what the host wrote over: ciphertext, or a page that the guest sees or gets back later."""
    if outcome == ENDED:  # cut off by a death, perhaps when it had written
        world.oracle.may[gfn] |= values
    if outcome != Errno.OK.name:
        return
    svm, state = world.system.svm, world.at_uv(gfn)
    world.oracle.tainted[gfn] |= state is S.PAGEDOUT
    if svm is not None and (svm.state is UvVmState.ABORT or _is_half_reset(world)):
        world.oracle.may[gfn] |= values  # the VM gets back what was imported, or what was written since
    elif state is not S.PAGEDOUT and _reaches(svm, state):
        world.oracle.may[gfn] = values


def _reaches(svm: Svm | None, state: S | None) -> bool:
    """Tell whether the guest finds what the host writes into the normal page of a GFN of this state."""
    return svm is None or svm.state is not UvVmState.SECURE or state not in {S.SECURE, None}


def _is_half_reset(world: Target) -> bool:
    """Tell whether the reset of a secure VM is under way, or has failed: only another one can follow."""
    vm, svm = world.system.vm, world.system.svm
    runs = svm is not None and svm.state is UvVmState.SECURE
    return runs and vm is not None and vm.state is not HvVmState.SECURE


def was_kept(world: Target, gfn: int, _: frozenset[bytes], outcome: str) -> None:
    """Keep the encrypted page, if one was read."""
    page = world.system.normal_page(gfn)
    if page is not None and succeeded(outcome) and may_be_kept(world, gfn) and world.at_uv(gfn) is S.PAGEDOUT:
        world.kept = Kept(gfn, world.system.memory.known[page].tobytes(), world.oracle.may[gfn])


def write_kept(world: Target, _: range) -> bytes:
    """Write the encrypted page that was kept."""
    return world.kept.page if world.kept else b""


def unmapped(world: Target, gfn: int, _: frozenset[bytes], outcome: str) -> None:
    """Note that the host has taken the page away, if it did."""
    if outcome == Errno.OK.name and world.at_uv(gfn) not in {*PRIVATE, None}:
        world.oracle.absent[gfn] = True


def plug(world: Target, _: range) -> bytes:
    """Let the pages of slot 1 be zero."""
    for gfn in world.system.plan.plugged:
        world.oracle.only(gfn, ZERO)
        world.oracle.tainted[gfn] = world.oracle.absent[gfn] = False
    return b""
