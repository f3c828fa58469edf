"""Where the guest's bytes are, and what is elsewhere."""

from collections.abc import Iterator

from induction.clause import Clause, clause
from induction.properties import FOUND, IN_FRAME
from induction.variables import ABSENT, NO, NONE, OUTSTANDING, YES, others
from induction.words import ABORTS, BEFORE_DONE, RUNS, Words


def byte_clauses(words: Words) -> Iterator[Clause]:
    """Yield where the guest's bytes are, and what is elsewhere."""
    yield clause("no frame holds anything else", {}, {"frame": ("ZERO", "GUEST")})
    came = {"ucall": ("OUT", "CLEAR"), "ucall_at": "OK"}
    yield clause("ciphertext stands in for a page", {"page": ("SEALED", "OTHER")}, {"stand_in": YES}, came)
    yield clause("what was written over may be zero", {"page": "OTHER"}, {"zero_ok": YES})
    implicit = ("SHARED_IMPLICIT", "SHARED_IMPLICIT_INV")
    yield clause(
        "a shared page holds them", {"uv": ("SHARED", "SHARED_INV", *implicit), "uv_vm": RUNS}, *FOUND
    )
    yield clause("a bounce page holds them", {"uv": implicit, "esm": ABORTS}, *FOUND)
    begun = {"uv": ("HV_UNSHARING", "HV_UNSHARING_INV"), "hcall_at": others("hcall_at", "OK")}
    yield clause("a page that is being unshared holds them", begun, *FOUND)
    private = ("SECURE", "HV_SHARING", "HV_SHARED", "HV_SHARED_INV")
    early = ({"uv_vm": "ACTIVE", "imported": NO, **each} for each in FOUND)
    yield clause("a private page", {"uv": private, "uv_vm": RUNS}, *IN_FRAME, *early)
    offered = ("HV_SHARING", "HV_SHARED", "HV_SHARED_INV")
    yield clause("an offered page is no ciphertext", {"uv": offered}, {"page": ("ZERO", "GUEST", "HOST")})
    sealed = ({"page": "SEALED"}, {"page": "OTHER"})
    yield clause("a page that is out holds ciphertext", {"uv": "PAGEDOUT", "uv_vm": RUNS}, *sealed)
    may_fail = {"esm": (*BEFORE_DONE, "DONE_TREATED", *ABORTS), "imported": NO}
    zeroes = {"zero_ok": YES}
    for pair in (
        {"uv": ("SECURE", "HV_SHARING"), "hv": "SECURE"},
        {"uv": "PAGEDOUT"},
        {"uv": "SECURE", "stand_in": YES},
    ):
        yield clause("what nobody imported may be zero", {**may_fail, **pair}, zeroes)
    yield clause(
        "what was not sent may be zero", {"esm": may_fail["esm"], "hv": "SECURE", "sent": NO}, zeroes
    )
    yield clause("so may what was not imported at the end", {"esm": OUTSTANDING, "imported": NO}, zeroes)
    failed = {"esm": ABORTS, "uv": "SECURE"}
    yield clause("a page of a UV_ESM that failed", {**failed, "hv": "SECURE"}, *IN_FRAME)
    yield clause("one that was imported", {**failed, "imported": YES}, *IN_FRAME)
    left = {"esm": ABORTS, "hv": "NORMAL", "stand_in": NO, "resetting": (NONE, "WAITS")}
    yield clause(
        "one that is normal again", {**left, "plugging": others("plugging", "UNPLUG", "DROP")}, *FOUND
    )
    yield clause("one that is normal again", {**left, "uv": others("uv", ABSENT)}, *FOUND)
    out = {"esm": ABORTS, "uv": "PAGEDOUT", **words.paged_out}
    yield clause("one that is out", out, {"page": "SEALED"}, zeroes)
    for when in ({"hv_vm": "NORMAL"}, {"resetting": "RENEW"}, {"aborting": ("TERMINATE", "PLAIN")}):
        yield clause("the page of a normal VM", {**when, "here": YES}, *FOUND)
    dropped = ({"zero_ok": YES, **each} for each in (*FOUND, {"stand_in": YES}))
    yield clause("the page of a VM that is reset", {"resetting": "DROP"}, *dropped)
    yield clause("a page in clear, or shared", {"ucall": ("CLEAR", "ASK"), "ucall_at": "OK"}, *FOUND)
    yield clause("what is refused may be zero", {"ucall": ("ASK", "BACK"), "ucall_at": "REFUSED"}, zeroes)
    yield clause("a bounce page may be zero", {"uv": implicit}, zeroes)
    yield clause("the commit", {"esm": "COMMITS", "uv": private}, *IN_FRAME)
    unseen = {"page": others("page", "GUEST", "OTHER")}
    plugged = {"hv_vm": "SECURE", "hv": "NORMAL", "here": YES}
    yield clause("the page of a slot that is plugged", {**plugged, "uv": private, "uv_vm": RUNS}, unseen)
    registers = {**plugged, "uv": ABSENT, "plugging": "PLUG_REGISTERS"}
    yield clause("the page of a slot that is registered", registers, unseen)
