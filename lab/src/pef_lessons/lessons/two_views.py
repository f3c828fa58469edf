"""Lesson 3: one page, two views; two ciphertexts of one page."""

from itertools import pairwise
from typing import Final

from pef_explorer.actions.names import ActionName
from pef_explorer.plan import Part, Plan
from pef_lessons.history import ActionDone, History, states_of
from pef_lessons.lesson import Lesson, Milestone, Solution
from pef_protocol.designs import Design

READS: Final = (ActionName.HOST_READ.value, ActionName.PAGE_OUT.value)
OPAQUE: Final = "other"
"""How a host read ends that found neither zero nor what the guest stored."""
TEXT: Final = """
## The question

The VM is secure now. The guest stores a secret in GFN 1, and the host reads GFN 1. The Hypervisor does not refuse. So
what does the host get?

And if the host reads the same page a second time, with the same secret in it: does it get the same bytes?

## Predict

- How does the first host read end: `zero`, `as written`, or `other`?
- Which state has GFN 1 on each side after it?
- Two host reads of the same contents: equal bytes, or different bytes?

## Do

1. `guest 0: store 1`.
2. `vmm: host read 1`. Press `j` until it ends. Watch the calls: the Hypervisor can't read a secure page, so it makes
   UV_PAGE_OUT. The Ultravisor encrypts the page and hands the ciphertext over.
3. `guest 0: load 1`, and `j` until it ends. The page comes back (H_SVM_PAGE_IN, and UV_PAGE_IN inside). The load must
   end `as written`.
4. `vmm: host read 1` again, and `j` until it ends. Compare what stands in normal memory now with what stood there after
   step 2.

## What it means

There is one page, and there are two views of it. The guest sees its secret; the host sees ciphertext. No call was
refused: secrecy comes from encryption at the boundary, not from a refusal.

The second ciphertext differs from the first one, although the contents are the same. The Ultravisor counts the
page-outs, and each one gets a new *initialisation vector* (IV). With AES-GCM, the same IV twice under one key would tell
the host how two pages differ, and would let it forge pages. "Each IV once" is an invariant that the verdicts at the
bottom judge at every step: `no_iv_comes_twice`.

In the live stage, open the page view after the steps 2 and 4: the bytes are real AES-256-GCM.
"""


def _page_outs(history: History) -> list[ActionDone]:
    """Return the host reads that had a secure page encrypted."""
    return [
        each
        for each in history.actions(*READS, word=OPAQUE)
        if states_of(each.before, each.gfn)[1] == "SECURE"
        and states_of(each.after, each.gfn)[1] == "PAGEDOUT"
    ]


def _one(history: History) -> bool:
    return any(history.last_write(each) is not None for each in _page_outs(history))


def _pairs(history: History) -> list[tuple[ActionDone, ActionDone]]:
    """Return each two page-outs of one page after each other that encrypted the same contents."""
    outs = _page_outs(history)
    return [
        (first, second)
        for gfn in sorted({each.gfn for each in outs})
        for first, second in pairwise([each for each in outs if each.gfn == gfn])
        if (wrote := history.last_write(second)) is not None and wrote == history.last_write(first)
    ]


def _came_back(history: History) -> bool:
    return any(
        first.ended < load.began and load.ended < second.began
        for first, second in _pairs(history)
        for load in history.actions(ActionName.LOAD.value, word="as written")
        if load.gfn == first.gfn
    )


def _differ(history: History) -> bool:
    return any(history.ciphertext(first) != history.ciphertext(second) for first, second in _pairs(history))


LESSON: Final = Lesson(
    number="3",
    name="one-page-two-views",
    title="One page, two views, two ciphertexts",
    goal="Get two different ciphertexts of one page whose contents did not change, with the page back in between.",
    text=TEXT,
    hints=(
        "A host read of a secure page makes the Hypervisor call UV_PAGE_OUT. A second read of a page that is out already"
        " encrypts nothing: the page must come back first.",
        "A guest that touches a page that is out gets it back.",
        "`guest 0: store 1`, `vmm: host read 1` to its end, `guest 0: load 1` to its end, `vmm: host read 1` to its end.",
    ),
    meaning="The guest sees its secret and the host sees ciphertext, another one at each page-out: each IV is used once.",
    plan=Plan(Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED), plug=0),
    opening=("vmm: host write 0 ...", "guest 0: UV_ESM ..."),
    milestones=(
        Milestone(
            "the host has got ciphertext of what the guest stored",
            "The host has no ciphertext yet: let the guest store into a page, let the VMM read it, and step to the end"
            " of the read.",
            _one,
        ),
        Milestone(
            "the page was out twice with the same contents",
            "Only one ciphertext of these contents is there: bring the page back by a load of the guest, without a new"
            " store, and let the VMM read it again.",
            lambda history: bool(_pairs(history)),
        ),
        Milestone(
            "in between, the guest found what it had stored",
            "Between both reads the guest must load the page and find what it stored (`as written`).",
            _came_back,
        ),
        Milestone(
            "the two ciphertexts differ",
            "Both ciphertexts are the same: this breaks `no_iv_comes_twice`, so please report it.",
            _differ,
        ),
    ),
    solution=Solution(
        (
            "guest 0: store 1 ...",
            "vmm: host read 1 ...",
            "guest 0: load 1 ...",
            "vmm: host read 1 ...",
        )
    ),
)
