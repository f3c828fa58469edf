"""Lesson 1: a host sees all of a normal VM."""

from typing import Final

from pef_explorer.actions.move import Move
from pef_explorer.actions.names import ActionName
from pef_explorer.plan import Part, Plan
from pef_lessons.history import History
from pef_lessons.lesson import Lesson, Milestone, Solution
from pef_protocol.designs import Design

ESM: Final = frozenset({ActionName.ESM.value, ActionName.BAD_ESM.value})
TEXT: Final = """
## The question

You rent a VM from somebody. Your VM stores a password in its memory. Who can read it?

## Predict

Write your prediction down before you press a key.

- The guest stores something in GFN 1. The host reads GFN 1. What does the host find: zero, what the guest stored, or
  other bytes?
- The host writes into GFN 0. The guest loads GFN 0. Does the guest notice that somebody else wrote there?

## Do

1. Choose `guest 0: store 1`. The list of moves has a number beside each move; type the number.
2. Choose `vmm: host read 1`. See how the read ended: `as written`, `zero` or `other`.
3. Choose `vmm: host write 0`, then `guest 0: load 0`. See how the load ended.

If a call is open, `j` makes its next step. `k` goes back. `?` shows all keys.

## What it means

The words are about the last writer. A read that ends `as written` found exactly what was stored last in this page. The
host read what the guest stored. Then the guest loaded what the *host* stored, and its load ended `as written`, too. The
guest can't see the difference.

There was no attack. This is how every normal VM works: the host lends the memory, so it can read and change all of it.
The tables on the left and on the right say why. The Hypervisor calls both GFNs NORMAL, and the Ultravisor knows nothing
of this VM.

In the live stage, open the page view of a GFN after the same moves. The bytes of both views are the same.
"""


def _read_by_the_other(history: History, writer: str, wrote: str, reader: str, read: str) -> bool:
    """Tell whether `reader` found in a page what `writer` wrote there last."""
    return any(
        found.actor.startswith(reader)
        and (last := history.last_write(found)) is not None
        and last.action == wrote
        and last.actor.startswith(writer)
        for found in history.actions(read, word="as written")
    )


def _host_reads(history: History) -> bool:
    return _read_by_the_other(history, "guest", "store", "vmm", "host read")


def _guest_loads(history: History) -> bool:
    return _read_by_the_other(history, "vmm", "host write", "guest", "load")


def _rule(move: Move) -> str:
    return "in this lesson the VM stays a normal VM" if move.action in ESM else ""


LESSON: Final = Lesson(
    number="1",
    name="a-host-sees-all",
    title="A host sees all of a normal VM",
    goal="Let the host read what the guest stored, and let the guest load what the host wrote.",
    text=TEXT,
    hints=(
        "Four moves are enough. Two of them are the guest's, two of them are the VMM's.",
        "For the first half the guest stores into a page, and then the VMM reads the same page.",
        "`guest 0: store 1`, `vmm: host read 1`, `vmm: host write 0`, `guest 0: load 0`.",
    ),
    meaning="The host reads and writes all of a normal VM, and the guest can't see who wrote last.",
    plan=Plan(Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED), plug=0),
    rule=_rule,
    milestones=(
        Milestone(
            "the host has read what the guest stored",
            "The host has not read yet what the guest stored: let the guest store into a page, and then let the"
            " VMM read that page.",
            _host_reads,
        ),
        Milestone(
            "the guest has loaded what the host wrote",
            "The guest has not loaded yet what the host wrote: let the VMM write into a page, and then let the"
            " guest load that page.",
            _guest_loads,
        ),
    ),
    solution=Solution(
        ("guest 0: store 1 ...", "vmm: host read 1 ...", "vmm: host write 0 ...", "guest 0: load 0 ...")
    ),
)
