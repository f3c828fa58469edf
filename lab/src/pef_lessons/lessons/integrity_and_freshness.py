"""Lesson 4: integrity and freshness: change a ciphertext, and give back an older page."""

from typing import Final

from pef_explorer.actions.names import ActionName, ExtraActionName
from pef_explorer.plan import Extra, Part, Plan
from pef_lessons.history import ActionDone, History, states_of
from pef_lessons.lesson import Lesson, Milestone, Solution
from pef_protocol.designs import Design

TEXT: Final = """
## The question

The host can't read a secure page, but it keeps the ciphertext in its own memory. It can change it. It can also keep a
copy, and write this *older* ciphertext back later: every bit of it was made by the Ultravisor itself. Does the guest ever
load something that it did not store last?

## Predict

For each attack: will the guest's next load end `as written`, `other`, `zero`, or `refused`?

- Attack 1: the host writes over the ciphertext. (In the live stage you flip one bit.)
- Attack 2: the host writes back a ciphertext of the same page that is genuine, but older.

## Do

Attack 1, on GFN 0:

1. `guest 0: store 0`, then `vmm: host read 0` to its end (`j`). The page is out.
2. `vmm: host write 0`: other bytes stand there now.
3. `guest 0: load 0`, and step to its end. Which side refuses, and with which code?

Attack 2, on GFN 1:

1. `guest 0: store 1`, then `vmm: keep ciphertext 1` to its end. The host has a copy.
2. `guest 0: store 1` again, to its end: the page comes back for it. Then `vmm: host read 1` to its end: a newer ciphertext.
3. `vmm: write kept ciphertext 1`: the older one stands there now.
4. `guest 0: load 1`, and step to its end.

## What it means

Encryption alone gives *secrecy*. Attack 1 fails because of *integrity*: AES-GCM has a tag of 16 bytes per page, and the
Ultravisor keeps the tag in secure memory, where the host can't change it. Attack 2 fails because of *freshness*: the
Ultravisor also keeps the counter of the newest page-out, so a genuine but older page does not fit any more.

Both pages are lost for the guest. A host can always destroy a page, or stop the VM: *availability is not promised*. What
is promised is that the guest never takes wrong bytes for its own.

Compare `older-taken` in the list of mutants: an Ultravisor without freshness. There, attack 2 succeeds.
"""


def _refused_after(history: History, write: ActionDone) -> bool:
    """Tell whether the next load of a page after a write of the host was refused."""
    loads = [
        each
        for each in history.actions(ActionName.LOAD.value)
        if each.gfn == write.gfn and each.began > write.ended
    ]
    return bool(loads) and loads[0].word == "refused"


def _attacked(history: History, name: str) -> bool:
    return any(
        states_of(write.before, write.gfn)[1] == "PAGEDOUT" and _refused_after(history, write)
        for write in history.actions(name, word="OK")
    )


LESSON: Final = Lesson(
    number="4",
    name="integrity-and-freshness",
    title="Integrity and freshness",
    goal="Attack two pages that are out: change one ciphertext, and replace another by an older one. See each load refused.",
    text=TEXT,
    hints=(
        "Attack a page while it is out: the Ultravisor calls it PAGEDOUT. A page that is in secure memory has no ciphertext"
        " that anybody reads.",
        "For the second attack you need two ciphertexts of one page. So the page must go out, come back, change, and go out"
        " again; and the host must keep the first ciphertext by `vmm: keep ciphertext 1`.",
        "Second attack: `guest 0: store 1`, `vmm: keep ciphertext 1`, `guest 0: store 1`, `vmm: host read 1`,"
        " `vmm: write kept ciphertext 1`, `guest 0: load 1`, each to its end.",
    ),
    meaning="A changed page fails for its tag, an older one for its counter: the host can destroy a page, but not forge one.",
    plan=Plan(
        Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED), plug=0, extras=frozenset({Extra.OLD_CIPHERTEXT})
    ),
    opening=("vmm: host write 0 ...", "guest 0: UV_ESM ..."),
    milestones=(
        Milestone(
            "integrity: a changed ciphertext was refused",
            "No changed ciphertext was refused yet: have a page paged out, let the VMM write over it, and let the guest"
            " load it.",
            lambda history: _attacked(history, ActionName.HOST_WRITE.value),
        ),
        Milestone(
            "freshness: an older ciphertext was refused",
            "No older ciphertext was refused yet: keep a ciphertext, let the page come back, change and go out again, write"
            " the kept one over it, and let the guest load it.",
            lambda history: _attacked(history, ExtraActionName.WRITE_KEPT.value),
        ),
    ),
    solution=Solution(
        (
            "guest 0: store 0 ...",
            "vmm: host read 0 ...",
            "vmm: host write 0 ...",
            "guest 0: load 0 ...",
            "guest 0: store 1 ...",
            "vmm: keep ciphertext 1 ...",
            "guest 0: store 1 ...",
            "vmm: host read 1 ...",
            "vmm: write kept ciphertext 1 ...",
            "guest 0: load 1 ...",
        )
    ),
)
