"""What holds of the whole VM, of its slots, and of the calls that are made for them."""

from collections.abc import Iterator

from induction.clause import Clause, clause
from induction.design import Tables
from induction.properties import FOUND
from induction.tables import by
from induction.variables import ABSENT, EXCLUSIVE, NO, NONE, OUTSTANDING, YES, others
from induction.words import ABORTS, Words


def vm_clauses(tables: Tables, words: Words) -> Iterator[Clause]:
    """Yield what holds of the whole VM."""
    yield from _vm()
    yield from _whole_vm(tables)
    yield from _slots(tables, words)


def _vm() -> Iterator[Clause]:
    nothing = {"uv": ABSENT, "imported": NO, "mapped": NO, "frame": "ZERO", "uv_op": NONE, "hcall_at": NONE}
    yield clause("there is no SVM", {"uv_vm": NONE}, {**nothing, "esm": NONE, "secret": NO})
    ended = ({"aborting": "PLAIN"}, {"resetting": ("DROP", "RENEW")})
    sent = {"uv_vm": "ACTIVE", "uv_op": NONE, "uv": ABSENT}
    begins = {"uv_vm": "ACTIVE", "uv_op": NONE, "hv_vm": "TRANSIENT", "must_abort": YES, "imported": NO}
    plain = {"hv": "NORMAL", "sent": NO, "stand_in": NO, "ucall": (NONE, "UNMAP"), "uv": (ABSENT, "SECURE")}
    yield from by(
        "UV_ESM",
        "esm",
        {
            NONE: {"uv_vm": others("uv_vm", "ACTIVE"), "imported": NO},
            "START_SENT": tuple({**sent, **each} for each in ({"hv_vm": "NORMAL"}, *ended)),
            "START_RUNS": tuple({**begins, **plain, **each} for each in FOUND),
            "START_OK": {
                "uv_vm": "ACTIVE",
                "uv_op": NONE,
                "hv_vm": "TRANSIENT",
                "must_abort": NO,
                "imported": NO,
            },
            "START_REFUSED": {"uv_vm": "ACTIVE", "uv": ABSENT, "hv_vm": "TRANSIENT", "must_abort": YES},
            "PHASES": {"uv_vm": "ACTIVE", "hv_vm": "TRANSIENT", "must_abort": NO},
            **{
                each: {"uv_vm": "ACTIVE", "uv_op": NONE, "hv_vm": "TRANSIENT", "must_abort": NO}
                for each in OUTSTANDING
                if each != "DONE_OK"
            },
            "DONE_OK": {"uv_vm": "ACTIVE", "uv_op": NONE, "hv_vm": "SECURE", "must_abort": NO},
            "COMMITS": {
                "uv_vm": "ACTIVE",
                "uv_op": NONE,
                "hv_vm": "SECURE",
                "must_abort": NO,
                "imported": NO,
            },
            "ABORT_SENT": {"uv_vm": "ABORT", "uv_op": NONE, "hv_vm": "TRANSIENT"},
            "ABORT_RUNS": {
                "uv_vm": "ABORT",
                "uv_op": NONE,
                "hv_vm": "TRANSIENT",
                "must_abort": YES,
                "aborting": others("aborting", NONE, "PLAIN"),
            },
            "ABORT_REFUSED": {
                "uv_vm": "ABORT",
                "uv_op": NONE,
                "hv_vm": "TRANSIENT",
                "must_abort": YES,
                "aborting": NONE,
            },
        },
    )
    yield clause("a VM whose SVM has ended", {"hv_vm": others("hv_vm", "NORMAL"), "uv_vm": NONE}, *ended)
    yield clause("a secure VM", {"uv_vm": "SECURE"}, {"hv_vm": "SECURE", "must_abort": NO})
    yield clause(
        "only a VM that is not normal has an SVM", {"hv_vm": "NORMAL"}, {"uv_vm": NONE}, {"esm": "START_SENT"}
    )
    yield clause("an aborted SVM", {"uv_vm": "ABORT"}, {"esm": ABORTS}, {"hv_vm": "SECURE", "must_abort": NO})


def _whole_vm(tables: Tables) -> Iterator[Clause]:
    mine = {"esm": "ABORT_RUNS", "plugging": NONE, "slot": NONE, "hcall_at": NONE}
    back = {**mine, "here": YES, "stand_in": YES, "registered": YES, "hv": others("hv", "SECURE", "SHARED")}
    yield from by(
        "H_SVM_INIT_ABORT",
        "aborting",
        {
            "WAITS": {**mine, "ucall": (NONE, "OUT", "UNMAP")},
            "FETCH": {**mine, "ucall": (NONE, "CLEAR")},
            "ASK": {**mine, "ucall": (NONE, "ASK"), "here": YES, "hv": others("hv", "SECURE")},
            "BACK": (
                {**back, "ucall": NONE, "uv": "PAGEDOUT"},
                {**back, "ucall": "BACK", "ucall_at": ("SENT", "MOVES", "REFUSED"), "uv": "PAGEDOUT"},
                {
                    **back,
                    "ucall": "BACK",
                    "ucall_at": "OK",
                    "uv": "SECURE",
                    "imported": YES,
                    "frame": "GUEST",
                },
            ),
            "AGAIN": {
                **mine,
                "ucall": (NONE, "CLEAR"),
                "here": YES,
                "registered": YES,
                "hv": "SECURE",
                "uv": "SECURE",
                "imported": YES,
                "sent": YES,
            },
            "SCRUB": (
                {**mine, "ucall": NONE, "here": YES, "hv": "NORMAL", "stand_in": NO},
                {**mine, "ucall": NONE, "here": YES, "hv": "SHARED"},
            ),
            "TERMINATE": {**mine, "ucall": NONE, "hv": "NORMAL"},
            "PLAIN": {
                "hv_vm": "TRANSIENT",
                "must_abort": YES,
                "plugging": NONE,
                "slot": NONE,
                "ucall": NONE,
                "hv": "NORMAL",
                "resetting": (NONE, "WAITS"),
                "esm": (NONE, "START_SENT"),
                "uv": ABSENT,
            },
        },
    )
    yield clause(
        "a reset waits for H_SVM_INIT_ABORT",
        {"aborting": others("aborting", NONE)},
        {"resetting": (NONE, "WAITS")},
    )
    alone = {
        "plugging": NONE,
        "aborting": NONE,
        "ucall": NONE,
        "hcall_at": others("hcall_at", "CARRIED"),
        "esm": others("esm", *EXCLUSIVE),
    }
    yield from by(
        "reset",
        "resetting",
        {
            "UNREGISTER": {
                **alone,
                "hv_vm": others("hv_vm", "NORMAL"),
                "slot": ("UNREGISTER", "UNREGISTERED", "BUSY"),
                "registered": YES,
            },
            "TERMINATE": {**alone, "slot": NONE},
            "DROP": {
                **alone,
                "slot": NONE,
                "hv_vm": "TRANSIENT",
                "must_abort": YES,
                "esm": (NONE, "START_SENT"),
                "uv": ABSENT,
            },
            "RENEW": {
                **alone,
                "slot": NONE,
                "hv": "NORMAL",
                "stand_in": NO,
                "esm": (NONE, "START_SENT"),
                "uv": ABSENT,
                "hv_vm": others("hv_vm", "SECURE"),
            },
        },
    )
    plugs = {
        "hv_vm": others("hv_vm", "NORMAL"),
        "must_abort": NO,
        "aborting": NONE,
        "resetting": (NONE, "WAITS"),
        "esm": others("esm", *EXCLUSIVE, "START_SENT"),
    }
    registered = NO if tables.row.plugged_secure else YES
    unmigrated = () if tables.row.plugged_secure else ("NORMAL",)
    yield from by(
        "hot-plug",
        "plugging",
        {
            "PLUG": {**plugs, "slot": NONE, "here": YES, "registered": registered},
            "PLUGGED": {
                **plugs,
                "slot": NONE,
                "here": YES,
                "registered": registered,
                "hv": others("hv", *unmigrated),
            },
            "PLUG_REGISTERS": {**plugs, "slot": ("REGISTER", "REGISTERED", "REFUSED"), "registered": NO},
            "PLUG_FAILED": (
                {**plugs, "slot": NONE, "here": YES, "registered": NO},
                {**plugs, "slot": NONE, "here": YES, "resetting": "WAITS"},
            ),
            "RECLAIM": (),
            "UNPLUG": {
                "slot": ("UNREGISTER", "UNREGISTERED", "BUSY"),
                "ucall": NONE,
                "here": YES,
                "registered": YES,
                "aborting": NONE,
                "resetting": (NONE, "WAITS"),
                "esm": others("esm", *EXCLUSIVE),
            },
            "DROP": {
                "slot": NONE,
                "ucall": NONE,
                "here": YES,
                "registered": NO,
                "uv": ABSENT,
                "aborting": NONE,
                "resetting": (NONE, "WAITS"),
                "esm": others("esm", *EXCLUSIVE),
            },
        },
    )
    registers = ({"plugging": "PLUG_REGISTERS"}, {"esm": "START_RUNS"})
    removes = ({"plugging": ("RECLAIM", "UNPLUG")}, {"esm": "START_RUNS"}, {"resetting": "UNREGISTER"})
    yield from by(
        "slot calls",
        "slot",
        {
            "REGISTER": tuple({**each, "uv": ABSENT, "registered": NO} for each in registers),
            "REGISTERED": tuple({**each, "uv": others("uv", ABSENT), "registered": NO} for each in registers),
            "REFUSED": tuple({**each, "uv": ABSENT, "registered": NO} for each in registers),
            "UNREGISTER": tuple({**each, "registered": YES, "uv": others("uv", ABSENT)} for each in removes),
            "BUSY": tuple({**each, "registered": YES, "uv": others("uv", ABSENT)} for each in removes),
            "UNREGISTERED": tuple({**each, "uv": ABSENT, "registered": YES} for each in removes),
        },
    )


def _slots(tables: Tables, words: Words) -> Iterator[Clause]:
    begins = {"esm": "START_SENT"}
    there = {"uv": others("uv", ABSENT)}
    known = {"registered": YES, "uv_vm": others("uv_vm", NONE), "slot": others("slot", "UNREGISTERED")}
    yield clause("a registered slot is there", known, there, begins)
    yield clause(
        "no other slot is there", {"registered": NO, "slot": others("slot", "REGISTERED")}, {"uv": ABSENT}
    )
    started = {"hv_vm": others("hv_vm", "NORMAL"), "must_abort": NO, "here": YES, "registered": NO}
    plugs = {"plugging": ("PLUG", "PLUGGED", "PLUG_REGISTERS", "PLUG_FAILED", "DROP")}
    yield clause("each slot of a started VM is registered", started, plugs, {"resetting": "TERMINATE"})
    unknown = {"uv": ABSENT, "uv_vm": others("uv_vm", NONE), "here": YES, "plugging": NONE, "slot": NONE}
    unknown |= {"resetting": (NONE, "WAITS"), "aborting": others("aborting", "PLAIN")}
    fresh = {"hv": "NORMAL", "sent": NO, "stand_in": NO}
    yield clause("a slot that the Ultravisor does not have", unknown, *({**fresh, **each} for each in FOUND))
    new = {"hv": ("NORMAL", "SECURE"), "sent": NO, "stand_in": NO, "zero_ok": YES, "secret": NO}
    decided = ("PAGEDOUT", "SHARED_IMPLICIT", "SHARED_IMPLICIT_INV")
    untreated = {"plugging": words.untreated, "hv": "NORMAL"}
    yield clause("a GFN to be treated", untreated, {"sent": NO, "stand_in": NO, "uv": others("uv", *decided)})
    yield clause(
        "a GFN to be treated may be zero", {**untreated, "esm": others("esm", NONE)}, {"zero_ok": YES}
    )
    if tables.row.plugged_secure:
        early = {"plugging": ("PLUGGED", "PLUG_REGISTERS"), "uv": ABSENT}
        yield clause("a slot is treated before it is registered", early, {"hv": "SECURE"})
    plugged = {"plugging": ("PLUG", "PLUGGED", "PLUG_REGISTERS", "PLUG_FAILED"), "uv": ABSENT}
    yield clause("a slot that is plugged", plugged, *({**new, **each} for each in FOUND))
