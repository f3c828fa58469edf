"""Lesson 7: the corruption of 2020: break the design `broken`."""

from typing import Final

from pef_explorer.actions.names import ActionName
from pef_explorer.plan import Part, Plan
from pef_lessons.history import History
from pef_lessons.lesson import Lesson, Milestone, Solution
from pef_protocol.designs import Design

FINDS: Final = "the_guest_finds_what_it_wrote"
TEXT: Final = """
## The question

Until 2020 UV_ESM asked the Hypervisor for *every* page of the VM. For 100 GB this took about seven minutes. So developers
made it ask only for the pages that it needs: the kernel, the device tree, and some more. All other pages become secure
pages of zeroes, and nothing is moved for them. This is much faster, and it is wrong as it stands.

The design `broken` is exactly this. What did they forget, and how does a guest notice?

## Predict

- GFN 1 is a page for which nobody asks. After UV_ESM, what does each side say of GFN 1?
- Before UV_ESM the guest has stored something in GFN 1. Where are these bytes after UV_ESM?
- Name one event in the life of a VM after which the guest could meet these bytes again.

## Do

Break the invariant `the_guest_finds_what_it_wrote`, and end where no call is open.

1. Give GFN 1 some contents while the VM is a normal one.
2. Let UV_ESM go to its end (`j`). Read both tables. This is the first time that you see red: no call is open, and the
   tables differ. One invariant is broken by now. Which one?
3. Nothing is lost yet. Find the event that brings the old bytes back to the guest.

If you are on a wrong way, press `k` and try another move. All that you tried stays in the tree.

## What it means

The Hypervisor was never told that GFN 1 belongs to the secure VM. It says NORMAL, keeps the old page, and does not scrub
it when the VM is reset. So the next life of the VM finds bytes of an earlier one. It could as well be the host that reads
them: what the guest stored before UV_ESM stays readable.

The lesson of 2020: when a side stops asking, the other side must *learn what happened instead*. Linux 5.9 took the design
`tracked`: at H_SVM_INIT_DONE the Hypervisor marks each remaining page as secure. Fork your session on `tracked` and see
where the same moves end there.
"""


def _corrupt(history: History) -> bool:
    return bool(history.broken(FINDS))


LESSON: Final = Lesson(
    number="7",
    name="corruption-of-2020",
    title="The corruption of 2020",
    goal="Break the design `broken`: end in a quiescent state, with a guest that finds what it did not write.",
    text=TEXT,
    hints=(
        "GFN 1 is unmigrated: UV_ESM does not ask for it. See what the Hypervisor says of it after UV_ESM.",
        "The old bytes are in the normal page of GFN 1. The guest uses normal pages whenever its VM is a normal VM.",
        "A VM becomes a normal VM again by a reboot, or by a reset. The Hypervisor then scrubs the pages that it holds as"
        " secure.",
        "`guest 0: store 1`, then `guest 0: UV_ESM` to its end, then `guest 0: reboot` to its end. `guest 0: load 1` shows"
        " the bytes.",
    ),
    meaning="The Hypervisor never learnt that the page had become secure, so old bytes came back: the corruption of 2020.",
    plan=Plan(Design.BROKEN, (Part.BROUGHT, Part.UNMIGRATED), plug=1),
    milestones=(
        Milestone(
            "the VM was secure",
            "The VM has not become secure yet: let the guest make UV_ESM, and step to its end.",
            lambda history: bool(history.actions(ActionName.ESM.value, word="U_SUCCESS")),
        ),
        Milestone(
            "the guest finds what it did not write",
            "The invariant the_guest_finds_what_it_wrote still holds: give GFN 1 contents before UV_ESM, and find the event"
            " after which the guest meets them again.",
            _corrupt,
        ),
        Milestone(
            "no call is open",
            "It must end in a quiescent state: let the open calls go on to their ends.",
            lambda history: history.end.quiescent,
        ),
    ),
    solution=Solution(
        (
            "guest 0: store 1 ...",
            "guest 0: UV_ESM ...",
            "guest 0: reboot ...",
            "guest 0: load 1 ...",
        )
    ),
)
