"""Lesson 5: sharing, and the zeroes at each change of owner."""

from typing import Final

from pef_explorer.actions.names import ActionName
from pef_explorer.plan import Part, Plan
from pef_lessons.history import ActionDone, History, states_of
from pef_lessons.lesson import Lesson, Milestone, Solution
from pef_protocol.designs import Design

UNSHARES: Final = (ActionName.UNSHARE.value, ActionName.UNSHARE_ALL.value)
TEXT: Final = """
## The question

A secure VM must talk to the outside: it needs a network card and a disk, and the host provides both. So the guest
*shares* some pages with the host by UV_SHARE_PAGE. What happens to the secret that stood in such a page before? And what
happens to the host's bytes when the guest takes the page back by UV_UNSHARE_PAGE?

## Predict

- The guest has a secret in GFN 1 and shares GFN 1. What does the host find: the secret, ciphertext, or zero?
- The guest stores a message into the shared page. What does the host find?
- The host answers by a write. The guest unshares the page. What does the guest find then?

## Do

1. `guest 0: store 1` (the secret), then `guest 0: share 1`. Step to its end and watch who calls whom.
2. `vmm: host read 1`. What does it find?
3. `guest 0: store 1` (the message), then `vmm: host read 1`.
4. `guest 0: unshare 1`, to its end. Then `guest 0: load 1`.

## What it means

A page changes its owner twice, and is zero each time. At the first change zeroes protect the guest's secret from the
host: sharing gives the host a *place*, never the contents. At the second change they protect the guest from the host: a
guest that unshares a page must not take bytes of the host for its own. Encryption has no part in it: a shared page is a
normal page that both sides map.

The order matters as well. The Ultravisor zeroes the page *after* the Hypervisor has given it and *before* the guest
maps it. In the sequence you see the state HV_SHARED in between: neither private nor shared. A defect of the real firmware
(`D6` in the list of mutants) was exactly there.
"""


def _shares(history: History) -> list[ActionDone]:
    """Return the shares that succeeded of a page in which the guest had stored a secret."""
    return [
        each
        for each in history.actions(ActionName.SHARE.value, word="U_SUCCESS")
        if states_of(each.before, each.gfn)[1] == "SECURE"
        and (wrote := history.last_write(each)) is not None
        and wrote.actor.startswith("guest")
    ]


def _host_finds_zero(history: History) -> bool:
    return any(
        read.gfn == share.gfn
        and read.began > share.ended
        and history.last_write(read) == history.last_write(share)
        for share in _shares(history)
        for read in history.actions(ActionName.HOST_READ.value, word="zero")
    )


def _message_arrives(history: History) -> bool:
    return any(
        states_of(read.before, read.gfn)[1] == "SHARED"
        and (wrote := history.last_write(read)) is not None
        and wrote.actor.startswith("guest")
        and states_of(wrote.before, wrote.gfn)[1] == "SHARED"
        for read in history.actions(ActionName.HOST_READ.value, word="as written")
    )


def _private_and_zero(history: History) -> bool:
    return any(
        load.began > unshare.ended
        and unshare.gfn in {load.gfn, -1}
        and states_of(unshare.before, load.gfn)[1] == "SHARED"
        and (wrote := history.last_write(load)) is not None
        and wrote.ended < unshare.began
        and states_of(wrote.before, load.gfn)[1] == "SHARED"
        for unshare in history.actions(*UNSHARES, word="U_SUCCESS")
        for load in history.actions(ActionName.LOAD.value, word="zero")
    )


LESSON: Final = Lesson(
    number="5",
    name="sharing",
    title="Sharing, and the zeroes at each change of owner",
    goal="Share a page that holds a secret, pass a message through it, take it back, and see a zero page at both changes.",
    text=TEXT,
    hints=(
        "Three things must be seen: zero after the share, the message while the page is shared, zero after the unshare.",
        "Let the VMM read the page right after the share, before anybody writes into it.",
        "`guest 0: store 1`, `guest 0: share 1`, `vmm: host read 1`, `guest 0: store 1`, `vmm: host read 1`,"
        " `guest 0: unshare 1`, `guest 0: load 1`, each to its end.",
    ),
    meaning="A page is zero at each change of its owner: so no secret goes out, and no byte of the host comes in.",
    plan=Plan(Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED), plug=0),
    opening=("vmm: host write 0 ...", "guest 0: UV_ESM ..."),
    milestones=(
        Milestone(
            "the host found zero where the secret was",
            "The host has not found zero in a page that held a secret: let the guest store into a private page and share"
            " it, and then let the VMM read it before anybody writes.",
            _host_finds_zero,
        ),
        Milestone(
            "a message went through the shared page",
            "No message went through a shared page yet: let the guest store into it while it is shared, and let the VMM"
            " read it.",
            _message_arrives,
        ),
        Milestone(
            "after the unshare the guest found zero",
            "The guest has not taken the page back yet: let it unshare the page that holds the message, and load it"
            " before it stores.",
            _private_and_zero,
        ),
    ),
    solution=Solution(
        (
            "guest 0: store 1 ...",
            "guest 0: share 1 ...",
            "vmm: host read 1 ...",
            "guest 0: store 1 ...",
            "vmm: host read 1 ...",
            "guest 0: unshare 1 ...",
            "guest 0: load 1 ...",
        )
    ),
)
