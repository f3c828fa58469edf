"""The ten joint invariants of the attack catalogue, judged from outside after a step of a scenario.

Each function yields a sentence for what a step broke. It is given what an observer, the guest and the host
saw of one VM before and after; neither side is asked for a verdict. What holds of the tables of both sides is
in `pef_lab.at_rest`.

What they judge holds outside an open call, so a step is looked at once it has ended.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pef_lab import at_rest
from pef_lab.agreement import SHARED_STATES
from pef_lab.at_rest import VmAtRest, disagreements
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.states import UvGfnState

BLANK: Final = bytes(PAGE_SIZE)
NOTHING: Final = "nothing"
PRIVATE: Final = frozenset({UvGfnState.SECURE.name, UvGfnState.PAGEDOUT.name})
SHARED: Final = frozenset(state.name for state in SHARED_STATES)
PSEUDO: Final = frozenset({UvGfnState.PSEUDO_SHARED.name, UvGfnState.PSEUDO_SHARED_INV.name})


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at a VM: what each side shows of it, and the bytes that guest and host read.

    `vm` says NOTHING where a side has none. `guest` and `host` have pages that could be read without moving
    any; None in `guest` is a load that was refused.
    """

    vm: VmAtRest
    moving: int
    pools: tuple[int, int]
    digests: tuple[str, ...]
    guest: Mapping[int, bytes | None] = field(repr=False)
    host: Mapping[int, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a scenario: looks before and after it, and what else was seen.

    `refused`: the step was answered by an error. `wrote`: pages as the guest last wrote them. `leaks`:
    private canaries found where the Hypervisor can look. `copies`: for shared pages, how often normal memory
    holds them. `sealed`: every ciphertext seen before the step. `idle`: pages in use before any SVM was.
    """

    before: Observation
    after: Observation
    refused: bool
    wrote: Mapping[int, bytes] = field(repr=False)
    leaks: frozenset[str]
    copies: Mapping[int, int]
    sealed: Mapping[bytes, int] = field(repr=False)
    idle: tuple[int, int]


def no_plaintext_outside(step: Step) -> Iterator[str]:
    """1. No plaintext of a non-shared GFN is in anything that the Hypervisor can read."""
    yield from (f"leaked: {leak}" for leak in sorted(step.leaks))


def a_real_address_backs_one_gfn(step: Step) -> Iterator[str]:
    """2. A real address backs at most one GFN: what a guest wrote to a shared page lies in one page."""
    for gfn, copies in step.copies.items():
        if copies != 1:
            yield f"GFN {gfn:#x} is shared, and normal memory holds {copies} copies of it"


def a_page_in_gives_back_the_page_out(step: Step) -> Iterator[str]:
    """3. What the guest reads is what it wrote, or an error."""
    for gfn, page in step.wrote.items():
        seen = step.after.guest.get(gfn)
        if seen is not None and seen != page:
            yield f"GFN {gfn:#x} reads other than it was written"


def a_page_is_zero_when_its_owner_changes(step: Step) -> Iterator[str]:
    """4. A shared page is zero at each change of owner, both ways."""
    for gfn, (_, now) in step.after.vm.tables.items():
        was = step.before.vm.tables.get(gfn, (NOTHING, NOTHING))[1]
        if not _changed_owner(was, now):
            continue
        pages = {"host": step.after.host.get(gfn, BLANK) if now in SHARED else BLANK}
        if now not in PSEUDO:
            pages["guest"] = step.after.guest.get(gfn) or BLANK
        yield from (
            f"GFN {gfn:#x}, {was} to {now}, is not zero for the {who}"
            for who, page in pages.items()
            if page != BLANK
        )


def _changed_owner(was: str, now: str) -> bool:
    return (now in SHARED and was not in SHARED) or (now in PRIVATE and was in SHARED)


def an_error_changes_neither_side(step: Step) -> Iterator[str]:
    """5. An error changes neither side."""
    if step.refused and step.before.digests != step.after.digests:
        yield "the step was refused, and changed something"


def the_tables_agree(step: Step) -> Iterator[str]:
    """6. S with resident, P with paged out, H with a shared state, N with no SVM object."""
    yield from disagreements(step.after.vm)


def an_aborted_svm_never_runs(step: Step) -> Iterator[str]:
    """7. An aborted SVM never runs. No call is reflected yet."""
    if step.after.vm.is_aborted and any(page is not None for page in step.after.guest.values()):
        yield "a load of an aborted SVM resolved"


def no_ciphertext_comes_twice(step: Step) -> Iterator[str]:
    """8. No (key, IV) pair is used twice: a page that went out in this step looks like none before."""
    fresh: set[bytes] = set()
    for gfn, (_, now) in step.after.vm.tables.items():
        page = step.after.host.get(gfn)
        if now != UvGfnState.PAGEDOUT.name or page is None:
            continue
        stayed = step.before.vm.tables.get(gfn, (NOTHING, NOTHING))[1] == now
        if page in fresh or page in (BLANK, step.wrote.get(gfn)) or (page in step.sealed and not stayed):
            yield f"GFN {gfn:#x} went out as something that was seen before"
        fresh.add(page)


def nothing_is_left_behind(step: Step) -> Iterator[str]:
    """9. Without an SVM the pools are at their old level, and no GFN is left in the Ultravisor."""
    after = step.after
    if after.vm.ultravisor in {"NORMAL", NOTHING}:
        if after.pools != step.idle:
            yield f"no SVM, but {after.pools} pages in use, not {step.idle}"
        if any(theirs != NOTHING for _, theirs in after.vm.tables.values()):
            yield "no SVM, but the Ultravisor has GFNs of it"
        if after.vm.hypervisor not in {"NORMAL", NOTHING}:
            yield f"no SVM, but the Hypervisor lists the VM as {after.vm.hypervisor}"


def no_gfn_stays_in_between(step: Step) -> Iterator[str]:
    """10. No GFN stays in a transient state, or in flight, once no call is open."""
    if step.after.moving:
        yield f"{step.after.moving} GFNs are in flight while no call is open"
    yield from at_rest.no_gfn_stays_in_between(step.after.vm)


TEN: Final[tuple[Callable[[Step], Iterator[str]], ...]] = (
    no_plaintext_outside,
    a_real_address_backs_one_gfn,
    a_page_in_gives_back_the_page_out,
    a_page_is_zero_when_its_owner_changes,
    an_error_changes_neither_side,
    the_tables_agree,
    an_aborted_svm_never_runs,
    no_ciphertext_comes_twice,
    nothing_is_left_behind,
    no_gfn_stays_in_between,
)


def broken(step: Step) -> list[str]:
    """Return a sentence for each thing that the step broke."""
    return [f"{invariant.__name__}: {sentence}" for invariant in TEN for sentence in invariant(step)]
