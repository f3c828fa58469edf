"""The Ultravisor carries out an ultracall for the GFN: one rule for each cell of its table that can be met.

| ultracall | event, if no other applies |
|---|---|
| UV_PAGE_IN | what the design's row says; PAGE_IN_REQUESTED where UV_ESM asks for the GFN |
| UV_PAGE_OUT | PAGE_OUT, or PAGE_OUT_ABORTED for an aborted SVM |
| UV_PAGE_INVAL | PAGE_INVAL |
"""

from collections.abc import Iterator, Mapping
from typing import Final

from induction.design import Tables
from induction.rule import Allowed, Change, From, Rules
from induction.variables import ABSENT, NO, NONE, OUTSTANDING, YES, State, Value, others
from pef_protocol.codes import UCode
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.gfn.columns import HCALL_PENDING
from pef_ultravisor.gfn.table import Action, Event, GfnCell

IN: Final = ("PAGE_IN", "SHARE", "DONE", "PLUG", "BACK")
"""Ultracalls that are UV_PAGE_IN, by why the Hypervisor makes them."""
OUT: Final = ("OUT", "CLEAR", "ASK")
"""Ultracalls that are UV_PAGE_OUT."""
PENDING: Final = ("FETCH", "FETCH_SHARED", "IMPORT")
"""Operations of the Ultravisor that mark the GFN HCALL_PENDING."""
BUSY: Final = ("ZERO", "ZERO_IMPLICIT")
"""Operations of the Ultravisor that mark the GFN BUSY."""
CODES: Final[Mapping[UCode, Value]] = {
    UCode.U_SUCCESS: "OK",
    UCode.U_BUSY: "BUSY",
    UCode.U_P2: "P2",
    UCode.U_PARAMETER: "PARAMETER",
}
RUNS: Final = ("ACTIVE", "SECURE")

Context = tuple[Mapping[str, Allowed], Event]


def add_ultracalls(rules: Rules, tables: Tables) -> None:
    """Add what the Ultravisor does with an ultracall that has arrived."""
    _refuse(rules)
    for state in S:
        for context, event in _meanings(tables, state):
            _page_in(rules, tables, state, context, event)
        _page_out(rules, tables, state)
        _page_inval(rules, tables, state)
    _move(rules, tables)


def _refuse(rules: Rules) -> None:
    """Add the checks that come before the table."""
    every = {"ucall": (*IN, *OUT, "UNMAP"), "ucall_at": "SENT"}
    rules.add("UV: no SVM object", {**every, "uv_vm": NONE}, {"ucall_at": "PARAMETER"})
    for calls, code in ((IN, "REFUSED"), (OUT, "REFUSED"), (("UNMAP",), "P2")):
        when = {"ucall": calls, "ucall_at": "SENT", "uv_vm": others("uv_vm", NONE), "uv": ABSENT}
        rules.add("UV: the GFN is in no slot", when, {"ucall_at": code})
    aborted = {"ucall_at": "SENT", "uv_vm": "ABORT"}
    rules.add("UV: aborted", {**aborted, "ucall": "UNMAP"}, {"ucall_at": "REFUSED"})
    private, out = (S.SECURE.name, S.PAGEDOUT.name), S.PAGEDOUT.name
    for which in (
        {"ucall": IN, "uv": others("uv", ABSENT, *private)},
        {"ucall": IN, "uv": private, "imported": NO},
        {"ucall": OUT, "uv": others("uv", ABSENT, out), "imported": NO},
    ):
        rules.add("UV: aborted, and no imported page", {**aborted, **which}, {"ucall_at": "REFUSED"})
    rules.add("UV: the GFN is BUSY", {**every, "uv_op": BUSY, "uv_vm": RUNS}, {"ucall_at": "BUSY"})


def _meanings(tables: Tables, state: S) -> Iterator[Context]:
    """Yield what UV_PAGE_IN means for a GFN of a state, by the moment at which it arrives."""
    policy, imported = tables.settings, {}
    if state in {S.SECURE, S.PAGEDOUT}:
        yield {"uv_vm": "ABORT", "imported": YES}, policy.page_in
    free = others("uv_op", *BUSY)
    yield {"uv_vm": RUNS, "uv_op": "IMPORT"}, Event.PAGE_IN_REQUESTED
    if policy.exempt == HCALL_PENDING:
        yield {"uv_vm": RUNS, "uv_op": ("FETCH", "FETCH_SHARED")}, Event.PAGE_IN
        free = others("uv_op", *BUSY, *PENDING)
    rest = {"uv_vm": RUNS, "uv_op": tuple(each for each in free if each != "IMPORT")}
    if state is S.SECURE:
        yield {**rest, "esm": OUTSTANDING, "imported": YES}, policy.page_in
        imported = {"imported": NO}
    yield {**rest, "esm": OUTSTANDING, **imported}, policy.page_in_at_done
    yield {**rest, "esm": others("esm", *OUTSTANDING)}, policy.page_in


def _named(event: Event, state: S, cell: GfnCell) -> str:
    return f"{event.name} x {state.name} = {cell.next_state.name}, {cell.code.name}, {cell.action.name}"


def _page_in(rules: Rules, tables: Tables, state: S, context: Mapping[str, Allowed], event: Event) -> None:
    cell = tables.uv[event][state]
    when = {**context, "ucall": IN, "ucall_at": "SENT", "uv": state.name}
    given: dict[str, Change] = {"gone": NO}
    if cell.code is not UCode.U_SUCCESS:
        given["ucall_at"] = CODES[UCode(cell.code)]
    elif cell.action in {Action.IMPORT, Action.DECRYPT}:
        given["ucall_at"] = "MOVES"
    else:
        given |= {"ucall_at": "OK", "uv": cell.next_state.name}
        given |= {"mapped": YES} if cell.action is Action.MAP else {}
    rules.add("UV carries out UV_PAGE_IN", when, given, _named(event, state, cell))


def _page_out(rules: Rules, tables: Tables, state: S) -> None:
    aborted: dict[str, Allowed] = {"uv_vm": "ABORT"}
    if state is not S.PAGEDOUT:
        aborted["imported"] = YES
    for context, event in ((aborted, Event.PAGE_OUT_ABORTED), ({"uv_vm": RUNS}, Event.PAGE_OUT)):
        cell = tables.uv[event][state]
        when = {
            **context,
            "ucall": OUT,
            "ucall_at": "SENT",
            "uv": state.name,
            "uv_op": others("uv_op", *BUSY),
        }
        name, said = "UV carries out UV_PAGE_OUT", _named(event, state, cell)
        if cell.action in {Action.ENCRYPT, Action.RESTORE_CLEARTEXT}:
            moves = "MOVES" if cell.action is Action.ENCRYPT else "CLEARS"
            rules.add(name, {**when, "uv_op": PENDING}, {"ucall_at": "BUSY"}, said)
            rules.add(name, {**when, "uv_op": others("uv_op", *BUSY, *PENDING)}, {"ucall_at": moves}, said)
            continue
        code = CODES[UCode(cell.code)]
        rules.add(
            name,
            when,
            {"ucall_at": code, "uv": cell.next_state.name} if code == "OK" else {"ucall_at": code},
            said,
        )


def _page_inval(rules: Rules, tables: Tables, state: S) -> None:
    cell = tables.uv[Event.PAGE_INVAL][state]
    when = {
        "uv_vm": RUNS,
        "ucall": "UNMAP",
        "ucall_at": "SENT",
        "uv": state.name,
        "uv_op": others("uv_op", *BUSY),
    }
    changes = {"ucall_at": CODES[UCode(cell.code)]}
    if cell.code is UCode.U_SUCCESS:
        changes |= {"uv": cell.next_state.name} | ({"mapped": NO} if cell.action is Action.UNMAP else {})
    rules.add("UV carries out UV_PAGE_INVAL", when, changes, _named(Event.PAGE_INVAL, state, cell))


def _move(rules: Rules, tables: Tables) -> None:
    """Add what becomes of the bytes; which bytes they are the state says, which nobody else changes."""
    secure, out = {"uv": S.SECURE.name}, {"uv": S.PAGEDOUT.name}
    inward = {"ucall": IN, "ucall_at": "MOVES"}
    copied = From(("page",), lambda old: {"SEALED": "OTHER", "HOST": "GUEST"}.get(old["page"], old["page"]))
    rules.add(
        "bytes are imported", {**inward, **secure}, {"ucall_at": "OK", "frame": copied, "imported": YES}
    )
    opened = {"ucall_at": "OK", "frame": "GUEST", "uv": tables.uv[Event.PAGE_IN][S.PAGEDOUT].next_state.name}
    rules.add("bytes are decrypted", {**inward, **out, "page": "SEALED"}, opened)
    rules.add(
        "bytes are not genuine",
        {**inward, **out, "page": others("page", "SEALED")},
        {"ucall_at": "REFUSED", "frame": "ZERO"},
    )
    sealed = From(("frame",), lambda old: "OTHER" if old["frame"] == "OTHER" else "SEALED")
    left = tables.uv[Event.PAGE_OUT][S.SECURE].next_state.name
    encrypted: dict[str, Change] = {"ucall_at": "OK", "page": sealed, "frame": "ZERO", "uv": left}
    rules.add("bytes are encrypted", {"ucall": OUT, "ucall_at": "MOVES"}, encrypted)
    restored: dict[str, Change] = {"ucall_at": "OK", "page": From(("frame",), _as_it_is)}
    rules.add("bytes come back in clear", {"ucall": OUT, "ucall_at": "CLEARS"}, restored)


def _as_it_is(old: State) -> Value:
    return old["frame"]
