"""What the Ultravisor does with the GFN for its SVM: accesses, shares, page faults, and pages of the image.

While one of these is open the GFN is marked, or in a transient state; so there is one at a time, however many
vCPUs there are. An access to bytes is one step: its GFN is BUSY while they move.
"""

from collections.abc import Mapping
from typing import Final

from induction.design import Tables
from induction.rule import Allowed, Change, Rules
from induction.variables import NO, NONE, YES, Value, others
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.gfn.table import OPEN_CALLS, Action, Event, GfnCell

FREE: Final[Mapping[str, Allowed]] = {"uv_op": NONE, "ucall_at": others("ucall_at", "MOVES", "CLEARS")}
"""Nobody has the GFN in flight at the Ultravisor."""
WHO: Final[tuple[Mapping[str, Allowed], ...]] = ({"uv_vm": "SECURE"}, {"uv_vm": "ACTIVE", "esm": "PHASES"})
"""Who may act on the GFN: the guest of a secure VM, or UV_ESM between two of its hypercalls."""
ENDED: Final[Mapping[str, Change]] = {"uv_op": NONE, "hcall_at": NONE}
RESOLVED: Final = tuple(state for state in S if state not in OPEN_CALLS)


def add_ultravisor_steps(rules: Rules, tables: Tables) -> None:
    """Add all steps of the Ultravisor that concern the GFN alone."""
    for state in RESOLVED:
        _touch(rules, tables, state)
        _share(rules, tables, state)
        _unshare(rules, tables, state)
    _import(rules)
    _fetched(rules)
    _shared(rules, tables)
    _unshared(rules, tables)


def _named(event: Event, state: S, cell: GfnCell) -> str:
    return f"{event.name} x {state.name} = {cell.next_state.name}, {cell.code.name}, {cell.action.name}"


def _fault(rules: Rules, name: str, when: Mapping[str, Allowed], cell: GfnCell, said: str) -> bool:
    """Add the page fault that comes first, if one does."""
    wanted = {Action.PAGE_IN: "FETCH", Action.PAGE_IN_SHARED: "FETCH_SHARED"}.get(cell.action)
    if wanted is not None:
        rules.add(name, when, {"uv_op": wanted, "hcall_at": "SENT"}, said)
    return wanted is not None


def _touch(rules: Rules, tables: Tables, state: S) -> None:
    cell = tables.uv[Event.TOUCH][state]
    said = _named(Event.TOUCH, state, cell)
    for who in WHO:
        if _fault(rules, "UV: page fault", {**FREE, **who, "uv": state.name}, cell, said):
            continue
        when = {**FREE, "uv_vm": "SECURE", "uv": state.name}
        if who is WHO[0] and cell.action is Action.USE_FRAME:
            _stores_to_frame(rules, when, said)
        if who is WHO[0] and cell.action is Action.USE_NORMAL:
            seen = {"page": "GUEST", "zero_ok": NO, "secret": NO}
            rules.add("the SVM stores", {**when, "page": ("ZERO", "GUEST", "HOST")}, seen, said)


def _stores_to_frame(rules: Rules, when: Mapping[str, Allowed], said: str) -> None:
    stored = {"frame": "GUEST", "zero_ok": NO, "secret": YES}
    rules.add("the SVM stores", {**when, "page": ("ZERO", "HOST", "OTHER")}, stored, said)
    rules.add("the SVM stores", {**when, "page": ("GUEST", "SEALED")}, {**stored, "page": "OTHER"}, said)


def _share(rules: Rules, tables: Tables, state: S) -> None:
    cell = tables.uv[Event.SHARE][state]
    said = _named(Event.SHARE, state, cell)
    for who, uv_op in zip(WHO, ("SHARE", "SHARE_IMPLICIT"), strict=True):
        when = {**FREE, **who, "uv": state.name}
        if _fault(rules, "UV: page fault of a share", when, cell, said):
            continue
        if cell.action is Action.REQUEST_CHANGE:
            changes = {"uv_op": uv_op, "hcall_at": "SENT", "uv": cell.next_state.name}
            rules.add("UV asks to share", when, changes, said)
        elif cell.action is Action.ZERO:
            rules.add("UV zeroes a shared page", when, {"page": "ZERO", "zero_ok": YES, "secret": NO}, said)


def _unshare(rules: Rules, tables: Tables, state: S) -> None:
    for event, uv_op in ((Event.UNSHARE, "UNSHARE"), (Event.UNSHARE_ALL, "UNSHARE_ALL")):
        cell = tables.uv[event][state]
        when, said = {**FREE, **WHO[0], "uv": state.name}, _named(event, state, cell)
        if _fault(rules, "UV: page fault of an unshare", when, cell, said):
            continue
        if cell.action is Action.REQUEST_CHANGE:
            changes = {"uv_op": uv_op, "hcall_at": "SENT", "uv": cell.next_state.name}
            rules.add(f"UV: {event.name}", when, changes, said)
        elif cell.action is Action.SCRUB:
            rules.add("UV scrubs a secure page", when, {"frame": "ZERO", "zero_ok": YES, "secret": NO}, said)


def _import(rules: Rules) -> None:
    """Add H_SVM_PAGE_IN of UV_ESM for a GFN that was not imported yet."""
    when = {**FREE, **WHO[1], "uv": S.SECURE.name, "imported": NO}
    rules.add("UV_ESM asks for the GFN", when, {"uv_op": "IMPORT", "hcall_at": "SENT"})
    rules.add("UV_ESM has the GFN", {"uv_op": "IMPORT", "hcall_at": "OK"}, {**ENDED, "imported": YES})
    rules.add("UV_ESM asks again later", {"uv_op": "IMPORT", "hcall_at": "BUSY"}, ENDED)
    failed = {**ENDED, "uv_vm": "ABORT", "esm": "ABORT_SENT"}
    rules.add("UV_ESM can't have the GFN", {"uv_op": "IMPORT", "hcall_at": "REFUSED"}, failed)


def _fetched(rules: Rules) -> None:
    when = {"uv_op": ("FETCH", "FETCH_SHARED"), "hcall_at": ("OK", "BUSY", "REFUSED")}
    rules.add("UV: a page fault has ended", when, ENDED)


def _shared(rules: Rules, tables: Tables) -> None:
    kinds: tuple[tuple[Value, Value, Event], ...] = (
        ("SHARE", "ZERO", Event.COMMIT_SHARED),
        ("SHARE_IMPLICIT", "ZERO_IMPLICIT", Event.COMMIT_IMPLICIT),
    )
    for uv_op, zeroes, commit in kinds:
        runs = {"uv_op": uv_op, "hcall_at": "OK", "uv_vm": ("ACTIVE", "SECURE")}
        rules.add(
            "UV zeroes what was offered",
            {**runs, "uv": S.HV_SHARED.name},
            {"uv_op": zeroes, "hcall_at": NONE},
        )
        none = {"uv_vm": "ABORT", **ENDED}
        rules.add("UV: nothing was offered", {**runs, "uv": S.HV_SHARING.name}, {**none, "uv": S.SECURE.name})
        for state, when in ((S.HV_SHARED, {"uv_op": zeroes}), (S.HV_SHARED_INV, runs)):
            cell = tables.uv[commit][state]
            changes: dict[str, Change] = {**ENDED, "uv": cell.next_state.name, "zero_ok": YES, "secret": NO}
            changes |= {"page": "ZERO"} if state is S.HV_SHARED else {}
            changes |= {"frame": "ZERO"} if cell.action is Action.SCRUB else {}
            alive = {**when, "uv": state.name, "uv_vm": ("ACTIVE", "SECURE")}
            rules.add("UV commits a share", alive, changes, _named(commit, state, cell))
        for state in OPEN_CALLS:
            _share_failed(rules, tables, (uv_op, zeroes), state)


def _share_failed(rules: Rules, tables: Tables, uv_ops: tuple[Value, Value], state: S) -> None:
    back = tables.uv[Event.REVERT_SHARE][state]
    refused = {"uv_op": uv_ops[0], "hcall_at": ("BUSY", "REFUSED"), "uv": state.name}
    if state is S.HV_SHARING:
        when = {**refused, "uv_vm": ("ACTIVE", "SECURE")}
        changes = {**ENDED, "uv": back.next_state.name}
        said = _named(Event.REVERT_SHARE, state, back)
        rules.add("UV reverts a share", when, changes, said)
        if uv_ops[0] == "SHARE_IMPLICIT":
            failed = {**changes, "uv_vm": "ABORT", "esm": "ABORT_SENT"}
            rules.add("UV_ESM can't share", {**when, "hcall_at": "REFUSED"}, failed, said)
    cell = tables.uv[Event.ABORT_SHARE][state]
    changes = {**ENDED, "uv": cell.next_state.name, "mapped": NO}
    for which in ({"uv_op": uv_ops[0], "hcall_at": ("OK", "BUSY", "REFUSED")}, {"uv_op": uv_ops[1]}):
        when = {**which, "uv_vm": "ABORT", "uv": state.name}
        rules.add("UV: aborted, a share ends", when, changes, _named(Event.ABORT_SHARE, state, cell))


def _unshared(rules: Rules, tables: Tables) -> None:
    for uv_op in ("UNSHARE", "UNSHARE_ALL"):
        for state in (S.HV_UNSHARING, S.HV_UNSHARING_INV):
            when: dict[str, Allowed] = {"uv_op": uv_op, "uv": state.name}
            runs = {**when, "uv_vm": ("ACTIVE", "SECURE")}
            granted = tables.uv[Event.UNSHARE_GRANTED][state]
            secure = tables.uv[Event.COMMIT_UNSHARE][granted.next_state]
            changes: dict[str, Change] = {**ENDED, "uv": secure.next_state.name, "zero_ok": YES, "secret": NO}
            changes |= {"mapped": NO} if granted.action is Action.UNMAP else {}
            said = _named(Event.UNSHARE_GRANTED, state, granted)
            rules.add("UV: an unshare is granted", {**runs, "hcall_at": "OK"}, changes, said)
            _unshare_failed(rules, tables, when, uv_op)


def _unshare_failed(rules: Rules, tables: Tables, when: Mapping[str, Allowed], uv_op: Value) -> None:
    state = S[str(when["uv"])]
    back = tables.uv[Event.REVERT_UNSHARE][state]
    kept = {**ENDED, "uv": back.next_state.name, "mapped": NO}
    said = _named(Event.REVERT_UNSHARE, state, back)
    aborts = {"uv_vm": "ABORT"} if uv_op == "UNSHARE" else {}
    rules.add("UV: an unshare is refused", {**when, "hcall_at": "REFUSED"}, {**kept, **aborts}, said)
    rules.add(
        "UV: aborted, an unshare ends", {**when, "hcall_at": ("OK", "BUSY"), "uv_vm": "ABORT"}, kept, said
    )
    busy = {**when, "hcall_at": "BUSY", "uv_vm": ("ACTIVE", "SECURE")}
    begun = tables.uv[Event.UNSHARE_BUSY][state]
    changes = {**ENDED, "uv": begun.next_state.name}
    if state is S.HV_UNSHARING:
        rules.add(
            "UV: an unshare has not begun",
            {**busy, "mapped": YES},
            changes,
            _named(Event.UNSHARE_BUSY, state, begun),
        )
        rules.add("UV: an unshare has not begun", {**busy, "mapped": NO}, kept, said)
    else:
        rules.add("UV: an unshare has not begun", busy, kept, said)
