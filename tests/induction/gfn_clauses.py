"""What holds of the GFN: its states, its marks, and what is in flight for it.

The pairs: which states of the two sides may stand together while nobody has the GFN in flight.
"""

from collections.abc import Iterator

from induction.clause import Clause, clause
from induction.tables import both, by
from induction.variables import ABSENT, NO, NONE, OUTSTANDING, YES, others
from induction.words import ABORTS, RUNS, Words


def gfn_clauses(words: Words) -> Iterator[Clause]:
    """Yield what holds of the GFN."""
    yield from _ultravisor()
    yield from _hypervisor(words)
    yield from _moves()
    yield from _in_flight(words)
    yield from _pairs(words)
    yield from _gone()
    yield from _refusals()


def _ultravisor() -> Iterator[Clause]:
    shares, unshares = ("SHARE", "SHARE_IMPLICIT"), ("UNSHARE", "UNSHARE_ALL")
    zero = {"frame": "ZERO", "secret": NO}
    yield from by(
        "the Ultravisor",
        "uv",
        {
            ABSENT: {"imported": NO, "mapped": NO, "frame": "ZERO", "uv_op": NONE},
            "SECURE": {"mapped": NO, "uv_op": (NONE, "FETCH", "IMPORT")},
            "PAGEDOUT": {"mapped": NO, "frame": "ZERO", "uv_op": (NONE, "FETCH")},
            "SHARED": {**zero, "mapped": YES, "uv_op": (NONE, "FETCH_SHARED"), "imported": NO, "esm": NONE},
            "SHARED_INV": {
                **zero,
                "mapped": NO,
                "uv_op": (NONE, "FETCH_SHARED"),
                "imported": NO,
                "esm": NONE,
            },
            "SHARED_IMPLICIT": {**zero, "mapped": YES, "uv_op": NONE},
            "SHARED_IMPLICIT_INV": {**zero, "mapped": NO, "uv_op": NONE},
            "PSEUDO_SHARED": (),
            "PSEUDO_SHARED_INV": (),
            "HV_SHARING": {"mapped": NO, "uv_op": shares},
            "HV_SHARED": {"mapped": YES, "uv_op": (*shares, "ZERO", "ZERO_IMPLICIT")},
            "HV_SHARED_INV": {"mapped": NO, "uv_op": shares},
            "HV_UNSHARING": {**zero, "uv_op": unshares},
            "HV_UNSHARING_INV": {**zero, "uv_op": unshares, "mapped": NO},
            "HV_UNSHARED": (),
        },
    )
    during = ("PHASES", *OUTSTANDING, *ABORTS)
    yield clause("imported during UV_ESM alone", {"imported": YES}, {"esm": during})
    yield clause("a secret is of a secure VM", {"secret": YES}, {"uv_vm": ("SECURE", "ABORT"), "esm": NONE})
    hidden = ({"frame": "GUEST"}, {"uv": "PAGEDOUT"}, {"uv": ABSENT})
    yield clause("a secret is in its frame, or encrypted, or gone", {"secret": YES}, *hidden)


def _hypervisor(words: Words) -> Iterator[Clause]:
    gone = {
        "registered": NO,
        "hv": "NORMAL",
        "host_populated": NO,
        "stand_in": NO,
        "sent": NO,
        "page": "ZERO",
        "zero_ok": YES,
    }
    absent = {**gone, "ucall": NONE, "plugging": NONE, "slot": NONE, "uv": ABSENT, "gone": NO}
    yield clause("the VM does not have the slot", {"here": NO}, absent)
    came = {"ucall": ("OUT", "CLEAR"), "ucall_at": "OK"}
    yield clause("a design keeps its states", {}, {"hv": words.states})
    yield clause("a page without the mark is zero", {"host_populated": NO}, {"page": "ZERO"}, came)
    yield clause("a stand-in has bytes", {"stand_in": YES}, {"host_populated": YES})
    yield clause("what is paged out has a stand-in", {"hv": "PAGED_OUT"}, {"stand_in": YES})
    scrubbed = {"host_populated": NO, "stand_in": NO, "page": "ZERO"}
    yield clause(
        "a secure page was scrubbed",
        {"hv": "SECURE"},
        scrubbed,
        {"host_populated": NO, "stand_in": NO, **came},
    )
    plain = {"hv": "NORMAL", "stand_in": NO, "sent": NO, "registered": NO, "ucall": NONE, "must_abort": NO}
    yield clause("a normal VM", {"hv_vm": "NORMAL"}, plain)
    carried, free = {"hcall_at": "CARRIED"}, {"hcall_at": others("hcall_at", "CARRIED")}
    bringing, sharing = (
        ("FETCH", "IMPORT", "UNSHARE", "UNSHARE_ALL"),
        ("FETCH_SHARED", "SHARE", "SHARE_IMPLICIT"),
    )
    private = {"hv": others("hv", "SECURE")}
    yield from by(
        "in flight at the Hypervisor",
        "ucall",
        {
            NONE: {"ucall_at": NONE},
            "PAGE_IN": {
                **carried,
                **private,
                "uv_op": bringing,
                "ucall_at": ("SENT", "MOVES", "OK", "REFUSED"),
            },
            "SHARE": {**carried, "uv_op": sharing, "ucall_at": ("SENT", "OK", "REFUSED")},
            "OUT": {**free, "hv": "SECURE", "ucall_at": ("SENT", "MOVES", "CLEARS", "OK", "BUSY", "REFUSED")},
            "UNMAP": {**free, "hv": words.shared["hv"], "ucall_at": ("SENT", "OK", "BUSY", "P2", "REFUSED")},
            "DONE": {
                "esm": "DONE_RUNS",
                "hv": "NORMAL",
                "ucall_at": ("SENT", "MOVES", "OK", "P2", "REFUSED"),
            },
            "PLUG": (),
            "CLEAR": {
                "aborting": ("FETCH", "AGAIN"),
                "hv": "SECURE",
                "sent": YES,
                "ucall_at": ("SENT", "CLEARS", "OK", "REFUSED"),
            },
            "ASK": {
                "aborting": "ASK",
                "stand_in": YES,
                "ucall_at": ("SENT", "CLEARS", "OK", "PARAMETER", "REFUSED"),
            },
            "BACK": {"aborting": "BACK", "stand_in": YES, "ucall_at": ("SENT", "MOVES", "OK", "REFUSED")},
        },
    )
    yield clause("a hypercall that is carried out, or waits to be", carried, {"ucall": ("PAGE_IN", "SHARE")})
    yield clause(
        "an SVM is there for what was sent",
        {"ucall": others("ucall", NONE)},
        {"uv_vm": others("uv_vm", NONE), "here": YES},
    )


def _moves() -> Iterator[Clause]:
    """Yield which bytes an ultracall moves, and what its answer says."""
    alone = {"uv_op": NONE, "hcall_at": NONE}
    clear = {"uv": "SECURE", "imported": YES, "uv_vm": "ABORT"}
    yield from by(
        "an ultracall",
        "ucall_at",
        {
            "MOVES": (
                {"ucall": "PAGE_IN", "uv_op": "IMPORT", "uv": "SECURE"},
                {"ucall": "PAGE_IN", "uv_op": "FETCH", "uv": "PAGEDOUT"},
                {**alone, "ucall": "DONE", "uv": ("SECURE", "PAGEDOUT")},
                {**alone, "ucall": "BACK", "uv": "PAGEDOUT", "imported": YES},
                {**alone, "ucall": "OUT", "uv": "SECURE"},
            ),
            "CLEARS": {**alone, **clear, "ucall": ("OUT", "CLEAR", "ASK")},
        },
    )
    done = {"ucall": "DONE"}
    yield clause("an unmigrated page is in", {**done, "ucall_at": "OK"}, {"uv": "SECURE"})
    yield clause(
        "an unmigrated page is shared",
        {**done, "ucall_at": "P2"},
        {"uv": ("SHARED_IMPLICIT", "SHARED_IMPLICIT_INV")},
    )
    went = {"uv": "PAGEDOUT", "page": "SEALED", "frame": "ZERO"}
    yield clause("UV_PAGE_OUT is done", {"ucall": "OUT", "ucall_at": "OK"}, went, {**alone, **clear})
    yield clause("UV_PAGE_OUT in clear is done", {"ucall": "CLEAR", "ucall_at": "OK"}, {**alone, **clear})
    asked = ({**alone, **clear}, {**alone, "uv": ("SHARED_IMPLICIT", "SHARED_IMPLICIT_INV")})
    yield clause("UV_PAGE_OUT of a stand-in is done", {"ucall": "ASK", "ucall_at": "OK"}, *asked)
    yield clause("UV_PAGE_OUT in clear", {"ucall": "CLEAR"}, {**alone, "uv": "SECURE"})
    yield clause(
        "UV_PAGE_OUT in clear is refused", {"ucall": "CLEAR", "ucall_at": "REFUSED"}, {"imported": NO}
    )
    yield clause("it is paged out", {"ucall": "ASK", "ucall_at": "PARAMETER"}, {"uv": "PAGEDOUT"})


def _in_flight(words: Words) -> Iterator[Clause]:
    """Yield what both sides say of a GFN that an operation of the Ultravisor has in flight."""
    waits = {"hcall_at": ("SENT", "BUSY", "REFUSED"), "ucall": (NONE, "UNMAP")}
    sent = {"hcall_at": "CARRIED", "ucall_at": ("SENT", "MOVES", "REFUSED")}
    done = {"hcall_at": "CARRIED", "ucall_at": "OK"}
    over = {"hcall_at": "OK"}
    image, guest = {"esm": "PHASES"}, {"esm": NONE, "uv_vm": ("SECURE", "ABORT")}
    fetch = (
        {"uv": "PAGEDOUT", **waits, **words.paged_out},
        {"uv": "PAGEDOUT", **sent, **words.paged_out},
        {"uv": "PAGEDOUT", "hcall_at": ("SENT", "BUSY"), "hv": "SECURE", "ucall": "OUT", "ucall_at": "OK"},
        {"uv": "SECURE", **done, **words.paged_out, "frame": "GUEST"},
        {"uv": "SECURE", **over, "hv": "SECURE"},
    )
    shared = (
        {"uv": "SHARED_INV", **waits, **words.shared},
        {"uv": "SHARED_INV", **sent, **words.shared},
        {"uv": ("SHARED", "SHARED_INV"), **over, **words.shared},
        {"uv": "SHARED", **done, **words.shared},
    )
    asks = {"hcall_at": ("SENT", "BUSY", "REFUSED"), "imported": NO}
    imports = (
        {"uv": "SECURE", **asks, "hv": "SECURE"},
        both({"uv": "SECURE"}, asks, words.early),
        both({"uv": "SECURE"}, sent, words.early),
        {"uv": "SECURE", **done, "hv": "NORMAL", "imported": YES, "stand_in": NO},
        {"uv": "SECURE", **over, "hv": "SECURE"},
    )
    wants = {"hcall_at": ("SENT", "BUSY", "REFUSED"), "ucall": (NONE, "OUT", "UNMAP")}
    share = (
        *(both({"uv": "HV_SHARING"}, each, wants) for each in words.private),
        *(both({"uv": "HV_SHARING"}, each, sent) for each in words.private),
        *(both({"uv": "HV_SHARED"}, each, done) for each in words.private),
        {"uv": ("HV_SHARED", "HV_SHARED_INV"), **over, **words.shared},
    )
    begun = ("HV_UNSHARING", "HV_UNSHARING_INV")
    unshare = (
        {"uv": begun, **waits, **words.shared},
        {"uv": begun, **sent, **words.shared},
        {"uv": "HV_UNSHARING", **done, **words.shared},
        {"uv": "HV_UNSHARING", **over, "hv": "SECURE"},
    )
    zeroes = {"uv": "HV_SHARED", "hcall_at": NONE, **words.shared}
    yield from by(
        "in flight at the Ultravisor",
        "uv_op",
        {
            NONE: {"hcall_at": NONE},
            "FETCH": tuple(both(each, who) for each in fetch for who in (guest, image)),
            "FETCH_SHARED": tuple(both(each, guest) for each in shared),
            "IMPORT": tuple(both(each, image) for each in imports),
            "SHARE": tuple(both(each, guest) for each in share),
            "SHARE_IMPLICIT": tuple(both(each, image) for each in share),
            "ZERO": both(zeroes, guest),
            "ZERO_IMPLICIT": both(zeroes, image),
            "UNSHARE": tuple(both(each, guest) for each in unshare),
            "UNSHARE_ALL": tuple(both(each, guest) for each in unshare),
        },
    )


def _pairs(words: Words) -> Iterator[Clause]:
    """Yield the pairs of a GFN that no operation of the Ultravisor has in flight."""
    idle = {"uv_op": NONE, "here": YES}
    out = {"hv": "SECURE", "ucall": "OUT", "ucall_at": "OK"}
    secure = (*words.private, {"hv": "NORMAL", "ucall": "DONE", "ucall_at": "OK"})
    paged = ({**words.paged_out, "ucall_at": (NONE, "SENT", "MOVES", "REFUSED", "P2")}, out)
    yield from by(
        "the pairs",
        "uv",
        {
            "SECURE": secure,
            "PAGEDOUT": paged,
            "SHARED": words.shared,
            "SHARED_INV": words.shared,
            "SHARED_IMPLICIT": words.shared,
            "SHARED_IMPLICIT_INV": words.shared,
        },
        {**idle, "uv_vm": RUNS},
    )
    yield clause(
        "a secure page that is out", {"hv": "SECURE", "uv": "PAGEDOUT"}, {"ucall": "OUT", "ucall_at": "OK"}
    )
    restored, over = {"hv": "NORMAL", "stand_in": NO}, {"hv": "NORMAL", "aborting": "TERMINATE"}
    given = {**words.paged_out, "imported": YES}
    yield from by(
        "the pairs of a UV_ESM that failed",
        "uv",
        {
            "SECURE": ({"hv": "SECURE"}, given, restored),
            "PAGEDOUT": (*paged, restored, {**words.paged_out, "ucall": "ASK"}),
            "SHARED_IMPLICIT": (words.shared, restored, over),
            "SHARED_IMPLICIT_INV": (words.shared, restored, over),
        },
        {**idle, "esm": ABORTS},
    )


def _gone() -> Iterator[Clause]:
    """Yield that nothing maps a page once the Ultravisor has answered that it does not."""
    unmapped = ({"mapped": NO}, {"uv_vm": "ABORT"})
    yield clause("a page that is gone is not mapped", {"gone": YES}, *unmapped)
    invalidated = ("SHARED_INV", "SHARED_IMPLICIT_INV", "HV_SHARED_INV", "HV_UNSHARING_INV")
    done = {"ucall": "UNMAP", "ucall_at": "OK"}
    yield clause("nor one whose unmapping is done", done, {"uv": invalidated}, {"uv_vm": "ABORT"})
    unsharing = ("HV_UNSHARING", "HV_UNSHARING_INV")
    mapped = {"uv": ("HV_SHARED", "SHARED", "SHARED_INV", "SHARED_IMPLICIT", *unsharing)}
    yield clause(
        "a page that could not be unmapped",
        {"ucall": "UNMAP", "ucall_at": "BUSY"},
        mapped,
        {"uv_vm": "ABORT"},
    )
    refused = {"ucall": "UNMAP", "ucall_at": "P2"}
    yield clause("nor one that is not shared", refused, {"uv": ("SECURE", "PAGEDOUT", ABSENT, "HV_SHARING")})


def _refusals() -> Iterator[Clause]:
    """Yield when a hypercall for the GFN is refused."""
    aborted, tainted = {"uv_vm": "ABORT"}, {"page": "OTHER", "uv_op": "FETCH"}
    yield clause("UV_PAGE_IN is refused", {"ucall": "PAGE_IN", "ucall_at": "REFUSED"}, aborted, tainted)
    yield clause("UV_PAGE_IN of a share is refused", {"ucall": "SHARE", "ucall_at": "REFUSED"}, aborted)
    yield clause("a hypercall is refused", {"hcall_at": "REFUSED"}, aborted, tainted, {"uv_op": "IMPORT"})
