"""The judge of a replay: each invariant that an observer can see is found broken, and no other."""

from collections.abc import Callable

import pytest

from pef_lab.at_rest import VmAtRest
from pef_lab.replay.counterexample import NOTHING, System
from pef_lab.replay.judge import JUDGED, OF_BYTES, Judge
from pef_lab.replay.words import AS_WRITTEN, EITHER, OTHER, ZERO, Fate
from pef_protocol.designs import Design

SYSTEM = System(image=("brought", "shared", "unmigrated"), plug=1, vcpus=1)
BROUGHT, OWN, UNMIGRATED, PLUGGED = range(4)
SECURE = ("SECURE", "SECURE")
Script = Callable[[Judge], None]


def rest(**states: tuple[str, str]) -> VmAtRest:
    """Return a secure VM at rest; states by the name of a GFN, SECURE on both sides where none is given."""
    names = ("brought", "own", "unmigrated")
    tables = {gfn: states.get(name, SECURE) for gfn, name in enumerate(names)}
    vm = states.get("vm", SECURE)
    return VmAtRest(*vm, tables | {PLUGGED: (NOTHING, NOTHING)}, Design.TRACKED)


NORMAL = VmAtRest("NORMAL", NOTHING, dict.fromkeys(range(4), ("NORMAL", NOTHING)), Design.TRACKED)
SHARED = rest(unmigrated=("SHARED", "SHARED"))


def done(judge: Judge, action: str, gfn: int | None = None, word: str = "OK", fate: Fate = Fate.OPEN) -> None:
    """Have an action begin and end alone."""
    judge.begins("vmm", action, gfn)
    judge.ends("vmm", word, fate)


def tables_differ(judge: Judge) -> None:
    judge.rests(1, rest(brought=("NORMAL", "SECURE")))


def one_side_is_secure(judge: Judge) -> None:
    judge.rests(1, rest(vm=("TRANSIENT", "SECURE")))


def stays_in_between(judge: Judge) -> None:
    judge.rests(1, rest(vm=("TRANSIENT", "ACTIVE"), brought=("NORMAL", "HV_SHARING")))


def error_changes(judge: Judge) -> None:
    judge.rests(1, SHARED)
    done(judge, "host write", UNMIGRATED, fate=Fate.ASTRAY)  # a reason to be refused
    done(judge, "load", UNMIGRATED, "refused")
    judge.rests(2, rest(unmigrated=("SHARED", "SHARED_INV")))


def refused_without_reason(judge: Judge) -> None:
    judge.rests(1, rest())
    done(judge, "load", BROUGHT, "refused")
    judge.rests(2, rest())


def still_shared(judge: Judge) -> None:
    judge.rests(1, SHARED)
    done(judge, "unshare all", None, "U_SUCCESS")
    judge.rests(2, SHARED)


def still_mapped(judge: Judge) -> None:
    judge.rests(1, SHARED)
    done(judge, "unmap", UNMIGRATED)
    judge.rests(2, SHARED)


def loads_other_bytes(judge: Judge) -> None:
    judge.guest_found(BROUGHT, OTHER)


def loads_nothing(judge: Judge) -> None:
    judge.rests(1, rest())
    judge.guest_found(BROUGHT, "refused")


def loads_zero(judge: Judge) -> None:
    done(judge, "store", BROUGHT, "resolved", Fate.WRITTEN)
    judge.guest_found(BROUGHT, ZERO)


def comes_back(judge: Judge) -> None:
    done(judge, "store", UNMIGRATED, "resolved", Fate.WRITTEN)
    done(judge, "UV_ESM", None, "U_SUCCESS")
    judge.guest_found(UNMIGRATED, EITHER)


def host_reads_a_secret(judge: Judge) -> None:
    judge.rests(1, rest())
    done(judge, "store", BROUGHT, "resolved", Fate.WRITTEN)
    done(judge, "host read", BROUGHT, AS_WRITTEN)


BROKEN: dict[Script, str] = {
    tables_differ: "the_tables_agree",
    one_side_is_secure: "the_vm_lives_by_its_table",
    stays_in_between: "no_gfn_stays_in_between",
    error_changes: "an_error_changes_neither_side",
    refused_without_reason: "what_is_asked_succeeds",
    still_shared: "what_was_promised_is_so",
    still_mapped: "nothing_maps_a_page_taken_away",
    loads_other_bytes: "the_guest_finds_what_it_wrote",
    loads_nothing: "the_guest_finds_what_it_wrote",
    loads_zero: "the_guest_finds_what_it_wrote",
    comes_back: "the_guest_finds_what_it_wrote",
    host_reads_a_secret: "no_plaintext_outside",
}


def judged(script: Script, *, faulty: bool = False) -> set[str]:
    judge = Judge(SYSTEM, Design.TRACKED, faulty=faulty)
    judge.rests(0, NORMAL)
    script(judge)
    return set(judge.breaches)


@pytest.mark.parametrize("script", BROKEN, ids=lambda script: str(script.__name__))
def test_what_is_broken_is_seen_and_nothing_else(script: Script) -> None:
    assert judged(script) == {BROKEN[script]}


def test_each_invariant_that_is_judged_can_be_found_broken() -> None:
    assert {*BROKEN.values()} == JUDGED


@pytest.mark.parametrize("script", BROKEN, ids=lambda script: str(script.__name__))
def test_after_a_message_went_wrong_only_bytes_are_judged(script: Script) -> None:
    known = set() if script is loads_nothing else {BROKEN[script]}
    assert judged(script, faulty=True) == known & OF_BYTES


def mapped_again(judge: Judge) -> None:
    judge.rests(1, SHARED)
    done(judge, "unmap", UNMIGRATED)
    judge.offered([UNMIGRATED])
    judge.rests(2, SHARED)


def ciphertext_is_tainted(judge: Judge) -> None:
    judge.rests(1, rest(brought=("PAGED_OUT", "PAGEDOUT")))
    done(judge, "host write", BROUGHT, fate=Fate.ASTRAY)
    done(judge, "load", BROUGHT, "refused")
    judge.rests(2, rest(brought=("PAGED_OUT", "PAGEDOUT")))


def bounce_page_is_denied(judge: Judge) -> None:
    judge.rests(1, rest(own=("SHARED", "SHARED_IMPLICIT")))
    done(judge, "load", OWN, "refused")
    judge.rests(2, rest(own=("SHARED", "SHARED_IMPLICIT")))


def shared_page_is_zero(judge: Judge) -> None:
    judge.rests(1, rest())
    done(judge, "store", UNMIGRATED, "resolved", Fate.WRITTEN)
    done(judge, "share", UNMIGRATED, "U_SUCCESS")
    judge.guest_found(UNMIGRATED, ZERO)


def shared_page_is_no_secret(judge: Judge) -> None:
    judge.rests(1, SHARED)
    done(judge, "store", UNMIGRATED, "resolved", Fate.WRITTEN)
    judge.host_found(UNMIGRATED, AS_WRITTEN)


def calls_that_meet_may_be_refused(judge: Judge) -> None:
    judge.rests(1, rest())
    judge.begins("guest 0", "load", BROUGHT)
    done(judge, "host read", BROUGHT, "EBUSY")
    judge.ends("guest 0", "refused")
    judge.rests(2, rest(brought=("PAGED_OUT", "PAGEDOUT")))


def aborted_vm_waits(judge: Judge) -> None:
    judge.rests(1, rest(vm=("SECURE", "ABORT")))
    done(judge, "load", BROUGHT, "refused")
    judge.rests(2, rest(vm=("SECURE", "ABORT")))


def reset_zeroes(judge: Judge) -> None:
    judge.rests(1, rest())
    done(judge, "store", BROUGHT, "resolved", Fate.WRITTEN)
    done(judge, "reset")
    judge.rests(2, NORMAL)
    judge.guest_found(BROUGHT, ZERO)


@pytest.mark.parametrize(
    "script",
    [
        mapped_again,
        ciphertext_is_tainted,
        bounce_page_is_denied,
        shared_page_is_zero,
        shared_page_is_no_secret,
        calls_that_meet_may_be_refused,
        aborted_vm_waits,
        reset_zeroes,
    ],
    ids=lambda script: str(script.__name__),
)
def test_what_the_protocol_allows_is_no_breach(script: Script) -> None:
    assert judged(script) == set()
