"""Every promised row of the attack catalogue has a test that bears its number."""

import ast
from pathlib import Path

from pef_lab.hostile.catalogue import ATTACKS

RESERVED = {
    1: "replay an older encrypted page",
    2: "swap ciphertext of two GFNs",
    3: "ciphertext from another SVM",
    4: "bit flip or truncated page",
    5: "page-in over a resident secure GFN",
    6: "same RA for two GFNs, two SVMs",
    7: "RA that points into secure memory",
    8: "page-out into another SVM's shared page",
    9: "wrong, unknown or stale lpid",
    11: "PATE overwrite of an SVM",
    12: "PATE write during ESM",
    13: "invalidate a secure page",
    14: "stale translation after inval, page-out",
    15: "share, then change under the reader",
    16: "stale secrets at share",
    17: "implant at unshare",
    18: "Hypervisor reports shared without UV_PAGE_IN",
    19: "Hypervisor refuses unshare",
    20: "page-out while unshare is pending",
    29: "guest or user calls Hypervisor-only ultracall",
    30: "normal VM calls share, unshare",
    31: "overlapping, wrapping or huge slot",
    32: "slot id out of range, other SVM's slot",
    33: "slot removed under a mapped GFN",
    34: "tampered ESM blob or kernel",
    35: "page replaced after measurement, before commit",
    36: "bytes implanted outside the ESM range",
    37: "START twice, DONE first, ABORT after DONE",
    38: "call into aborted SVM",
    40: "ciphertext side channel",
    41: "secure-memory exhaustion",
    44: "plaintext in logs, traces, error bodies",
    45: "forged peer, missing auth",
    46: "Hypervisor restarts under SVMs",
    47: "token of a destroyed VM",
    48: "late UV_SVM_TERMINATE, UV_PAGE_OUT",
    49: "lost answer, the call again",
    50: "long body to a short call",
    51: "sharing terabytes that nobody touched",
    52: "connections that never finish a request",
    53: "body announced behind an upgrade, never sent",
    54: "page-out's target mapped for somebody else",
    55: "a guest's busy vCPUs against its end",
    56: "delayed, repeated, overtaken hello",
    57: "hello with other roles' tokens",
    58: "two Hypervisors at one Ultravisor",
    59: "forged numbers of slots, sessions",
    60: "H_SVM_INIT_START, H_SVM_INIT_ABORT never delivered",
    61: "body that trickles while its VM is destroyed",
}
"""Rows by number, in the catalogue's words. The others are about calls that are not there yet."""

FIRST_TRIED_BY_THE_LAB = 45
"""Rows after this one need no test of their own where `pef hostile` tries them."""
TESTS = Path(__file__).parents[2]


def numbers() -> set[int]:
    """Return the numbers that names of tests begin with."""
    folders = "scenarios", "boundary", "limits", "unit/ultravisor"
    names = [
        node.name
        for folder in folders
        for path in (TESTS / folder).rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {int(name[5:7]) for name in names if name.startswith("test_") and name[5:7].isdigit()}


def test_each_row_has_a_test() -> None:
    shown = numbers() | {attack.number for attack in ATTACKS if attack.number > FIRST_TRIED_BY_THE_LAB}
    assert not [f"{number}: {words}" for number, words in RESERVED.items() if number not in shown]


def test_each_numbered_test_is_of_a_promised_row() -> None:
    assert numbers() <= RESERVED.keys()
