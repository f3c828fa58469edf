"""The designs that a session may have, each with one sentence."""

from collections.abc import Mapping
from typing import Final

from pef_lab.known_designs import ObservedDesign, known_designs
from pef_protocol.designs import Design

SENTENCES: Final[Mapping[str, str]] = {
    Design.EAGER: "All pages are brought into secure memory during UV_ESM; the Hypervisor keeps two states.",
    Design.BROKEN: "Unmigrated pages stay normal to a Hypervisor of two states, and are secure to the SVM.",
    Design.TRACKED: "The Hypervisor keeps four states, and marks unmigrated pages as secure.",
    Design.TRACKED_PAGEIN: "The Hypervisor keeps four states, and sends the unmigrated pages by UV_PAGE_IN.",
    Design.PUSHED: "Two states; the Ultravisor refuses shared pages while H_SVM_INIT_DONE is outstanding.",
    Design.PUSHED_VALID: "As pushed, but only shared pages that have a mapping are refused.",
    Design.PUSHED_INVALIDATED: "As pushed, but only shared pages that have no mapping are refused.",
    Design.PUSHED_ALWAYS: "As pushed, but shared pages are refused at any time.",
    Design.PUSHED_UNASKED: "As pushed-always, but for pages that the Ultravisor itself has asked for.",
    Design.PUSHED_FIXED: "As pushed, with a Hypervisor that asks before it gives a VM its memory back.",
}


def listed_designs() -> list[dict[str, str]]:
    """Return all designs that are known here; one from outside is described by its row."""
    return [
        {"name": name, "sentence": SENTENCES.get(name) or _of(row)} for name, row in known_designs().items()
    ]


def _of(row: ObservedDesign) -> str:
    states = "two states" if row.two_states else "four states"
    pages = (
        "its unmigrated pages have their contents"
        if row.moves_unmigrated
        else "its unmigrated pages are zero"
    )
    return f"A design from outside: the Hypervisor keeps {states}, and {pages} in the SVM."
