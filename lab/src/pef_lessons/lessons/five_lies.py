"""Lesson 9: be the Hypervisor: five kinds of lie."""

from typing import Final

from pef_explorer.actions.names import ActionName, ExtraActionName
from pef_explorer.machines.faults import Fault
from pef_explorer.plan import Extra, Part, Plan, Troubles
from pef_explorer.world.network import AGAIN, NETWORK
from pef_lessons.history import ActionDone, History, states_of
from pef_lessons.lesson import Lesson, Milestone, Solution
from pef_protocol.designs import Design

MESSAGES: Final = 12
"""Messages that may be refused or answered busy in one session."""
COPIES: Final = 4
SAFE: Final = (
    "no_plaintext_outside",
    "a_page_in_gives_back_the_page_out",
    "a_spoiled_page_is_not_taken",
    "the_guest_finds_what_it_wrote",
    "a_message_acts_once",
)
"""The invariants that no lie may break."""
TEXT: Final = """
## The question

So far the Hypervisor was honest, and the rest of the host was curious. Now *you are the Hypervisor*, and you lie. What can
you reach? Can you read a secret? Can you make the guest take wrong bytes for its own? Can you stop the guest?

## Predict

Here are five kinds of lie. For each, write down: *does the guest lose a secret, take wrong bytes, or just wait or fail?*

1. **Refuse**: you answer a call of the Ultravisor with an error, and do nothing.
2. **Be busy**: you answer "busy", although you are not.
3. **Change**: you write over a page that is out.
4. **Go back in time**: you give an older ciphertext of a page.
5. **Repeat**: you send a message of yours a second time, later.

## Do

Tell each of the five lies at least once, in one session. Let every load of the guest that follows come to its end.

- Lies 1 and 2 are variants of `go on`: when a call H_SVM_... is on its way, the list has `refuse H_SVM_PAGE_IN` and
  `answer H_SVM_PAGE_IN busy`. The guest causes such a call when it loads a page that is out.
- Lies 3 and 4 are those of lesson 4. Use one GFN for each.
- Lie 5: when a call UV_... of yours is on its way, choose `deliver UV_PAGE_OUT, and keep a copy`. From then on the network
  can let the copy arrive again: `network: UV_PAGE_OUT arrives again`.

Keep an eye on the verdicts: which invariant breaks?

## What it means

None, of those that are judged: after a message that went wrong three of them are not. Lies 1 and 2 cost the guest time, or the access; lies 3 and 4 cost it the page; lie 5 is not even noticed, because
each message carries its place in a sequence, and a message acts once. None of the five gave you a secret, and none made the
guest take wrong bytes.

This is the border of the promise: **secrecy, integrity and freshness against any Hypervisor; availability against none.**
If your product needs the VM to go on running, choose a host that you trust for *that*.

Five lies by hand prove nothing about the sixth one. `pef hostile` tries a whole catalogue of attacks over HTTP, and
`pef explore` tries every order of events of a small VM.
"""


def _lied(history: History, fault: Fault) -> bool:
    """Tell whether a call that was on its way to the Hypervisor was answered by a fault."""
    leads_to: dict[str, str] = {}
    for each in history.made:
        actor = each.move.actor
        if each.move.fault is fault and leads_to.get(actor, "").startswith("asks H_"):
            return True
        leads_to[actor] = each.outcome
    return False


def _refused_after(history: History, write: ActionDone) -> bool:
    loads = [
        each
        for each in history.actions(ActionName.LOAD.value)
        if each.gfn == write.gfn and each.began > write.ended
    ]
    return any(each.word == "refused" for each in loads)


def _attacked(history: History, name: str) -> bool:
    return any(
        states_of(write.before, write.gfn)[1] == "PAGEDOUT" and _refused_after(history, write)
        for write in history.actions(name, word="OK")
    )


def _repeated(history: History) -> bool:
    return any(
        each.move.actor == NETWORK and each.move.action.startswith("UV_") and each.move.action.endswith(AGAIN)
        for each in history.made
    )


LESSON: Final = Lesson(
    number="9",
    name="five-lies",
    title="Be the Hypervisor: five kinds of lie",
    goal="Tell five kinds of lie as the Hypervisor, in one session, and see that no secret and no page is given to you.",
    text=TEXT,
    hints=(
        "Have GFN 0 paged out first, and let the guest load it: now H_SVM_PAGE_IN is on its way, and you can refuse it, or be"
        " busy.",
        "For the repeated message: `vmm: host read 1`, then `deliver UV_PAGE_OUT, and keep a copy` instead of `j`. After the"
        " read has ended, `network: UV_PAGE_OUT arrives again` is in the list.",
        "Tell the lies 1, 2 and 5 first: the lies 3 and 4 destroy a page each. Take GFN 0 for lie 3, and GFN 1 for lie 4.",
    ),
    meaning="Five lies, and the guest lost time, an access and two pages, but no secret, and it took no wrong byte.",
    plan=Plan(
        Design.TRACKED,
        (Part.BROUGHT, Part.UNMIGRATED),
        plug=0,
        faults=MESSAGES,
        troubles=Troubles(late=COPIES),
        extras=frozenset({Extra.OLD_CIPHERTEXT}),
    ),
    opening=("vmm: host write 0 ...", "guest 0: UV_ESM ..."),
    milestones=(
        Milestone(
            "lie 1: refused",
            "You have not refused a call of the Ultravisor yet: let the guest load a page that is out, and refuse"
            " H_SVM_PAGE_IN.",
            lambda history: _lied(history, Fault.REFUSED),
        ),
        Milestone(
            "lie 2: busy",
            "You have not pretended to be busy yet: answer an H_SVM_ call busy.",
            lambda history: _lied(history, Fault.BUSY),
        ),
        Milestone(
            "lie 3: changed",
            "No changed ciphertext was refused yet: write over a page that is out, and let the guest load it to its end.",
            lambda history: _attacked(history, ActionName.HOST_WRITE.value),
        ),
        Milestone(
            "lie 4: an older page",
            "No older ciphertext was refused yet: write a kept ciphertext over a page that is out, and let the guest load it"
            " to its end.",
            lambda history: _attacked(history, ExtraActionName.WRITE_KEPT.value),
        ),
        Milestone(
            "lie 5: repeated",
            "No message was repeated yet: keep a copy of a UV_ call of yours, and let it arrive again.",
            _repeated,
        ),
        Milestone(
            "no promise was broken, and no call is open",
            "It must end in a quiescent state in which no promise is broken: let the open calls go on to their ends.",
            lambda history: history.end.quiescent and not history.broken(*SAFE),
        ),
    ),
    solution=Solution(
        (
            "guest 0: store 0 ...",
            "guest 0: store 1 ...",
            "vmm: host read 0 ...",
            "guest 0: load 0",
            "guest 0: go on (refused)",
            "guest 0: go on ...",
            "guest 0: load 0",
            "guest 0: go on (busy)",
            "guest 0: go on ...",
            "vmm: keep ciphertext 1",
            "vmm: go on (kept)",
            "vmm: go on ...",
            "network: UV_PAGE_OUT arrives again 0 ...",
            "guest 0: store 1 ...",
            "vmm: host read 1 ...",
            "vmm: write kept ciphertext 1 ...",
            "guest 0: load 1 ...",
            "vmm: host read 0 ...",
            "vmm: host write 0 ...",
            "guest 0: load 0 ...",
        )
    ),
)
