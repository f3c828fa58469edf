"""The path of a live session as a file: a counterexample, a diagram, JSON, or requests for a shell.

Trust: requests name the variables that tokens are in, never a token.
"""

import json
import shlex
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from pef_console.live.tree import MoveNode
from pef_console.live.verdicts import Verdicts
from pef_console.live.vm import SYSTEM, LiveVm
from pef_console.stage import Exported, ExportKind, Frame, Move, NotPossible
from pef_lab.replay.counterexample import FORMAT, GO_ON, Counterexample
from pef_lab.replay.drawing import mermaid
from pef_lab.replay.verdict import NO_INVARIANT
from pef_protocol.designs import DesignName
from pef_protocol.http import GUEST_PATH, JSON, OCTETS, ULTRACALL_PATH, VMM_PATH
from pef_protocol.quantities import gpa_of
from pef_protocol.version import VERSION

TEXT: Final = "text/plain; charset=utf-8"


def exported(
    kind: ExportKind,
    path: Sequence[MoveNode],
    design: DesignName,
    vm: LiveVm | None,
    verdicts: Verdicts,
    frame: Frame,
) -> Exported:
    """Return a path as a file; raise NotPossible where that kind of file can't have it."""
    if kind == "json":
        return Exported(json.dumps(frame, indent=1), JSON, "live-frame.json")
    if vm is None:
        raise NotPossible("this session only watches a VM: it has no moves")
    if kind == "curl":
        return Exported("\n".join(requests_of(path, vm)) + "\n", TEXT, "live-session.sh")
    found = counterexample_of(path, design, vm, verdicts)
    if kind == "mermaid":
        return Exported("\n".join(mermaid(found)) + "\n", TEXT, "live-session.mmd")
    content = found.model_dump_json(indent=1, exclude={"system": {"measured_plug"}})
    return Exported(content, JSON, "live-session.json")


def counterexample_of(
    path: Sequence[MoveNode], design: DesignName, vm: LiveVm, verdicts: Verdicts
) -> Counterexample:
    """Return a path as a counterexample file; raise NotPossible where it has a move that no file has."""
    steps = [node for node in path if node.move is not None]
    if not steps:
        raise NotPossible("nothing was done: a counterexample has steps")
    breach = next(iter(verdicts.broken), None)
    numbers = {node.n: number for number, node in enumerate(steps, start=1)}
    content = {
        "format": FORMAT,
        "title": "A session of the live stage",
        "design": design,
        "mutant": None,
        "invariant": breach.invariant if breach else NO_INVARIANT,
        "sentence": breach.sentence if breach else "every invariant that can be seen from outside holds",
        "found_by": {"command": "pef console", "commit": VERSION},
        "system": SYSTEM.model_dump(),
        "steps": [_step(node, vm) for node in steps],
        "violated_after": numbers.get(breach.step or 0, len(steps)) if breach else len(steps),
        "tables": {},
        "observations": {},
    }
    try:
        return Counterexample.model_validate_json(json.dumps(content))
    except ValidationError as refusal:
        first = refusal.errors(include_url=False, include_input=False)[0]
        raise NotPossible(f"a counterexample file can't have this path: {first['msg']}") from None


def _step(node: MoveNode, vm: LiveVm) -> dict[str, Any]:
    assert node.move is not None  # noqa: S101 - only the start has none
    gfn = None if node.move.gfn is None else vm.small_gfn(node.move.gfn)
    return {**node.move.model_dump(), "gfn": gfn, "leads_to": node.outcome}


def requests_of(path: Sequence[MoveNode], vm: LiveVm) -> list[str]:
    """Return the requests by which a person begins the same actions, for a shell."""
    lines = [
        "# Needs PEF_ULTRAVISOR_URL, PEF_HYPERVISOR_URL, PEF_VMM_TOKEN, and a guest's tokens:",
        "# PEF_GUEST_TOKEN_U at the Ultravisor, PEF_GUEST_TOKEN_H at the Hypervisor, by `pef token guest`.",
    ]
    for node in path:
        if node.move is None or node.move.action == GO_ON:
            lines += [f"# {node.label}"] if node.n else []
        else:
            lines += [f"# {node.label}: {node.outcome}", *_requests(node.move, vm)]
    return lines


def _requests(move: Move, vm: LiveVm) -> list[str]:
    """Return what begins an action, as lines for a shell."""
    lpid, gpa = vm.small.lpid, gpa_of(move.gfn or 0)
    vms = f'"$PEF_HYPERVISOR_URL{VMM_PATH}vms/{lpid}'
    one = json.dumps({"gfn": move.gfn, "num": 1})
    esm = json.dumps({"kernel_base": vm.small.image.kernel_base, "fdt": vm.small.image.fdt_address})
    secure = vm.small.is_secure
    guest_url, token = ("ULTRAVISOR", "GUEST_TOKEN_U") if secure else ("HYPERVISOR", "GUEST_TOKEN_H")
    access = f'"$PEF_{guest_url}_URL{GUEST_PATH}'
    known = {
        "load": _post(token, f'{access}load?gpa={gpa}&length=8"', octets=True),
        "store": _post(token, f'{access}store?gpa={gpa}"', "bytes-to-write", octets=True),
        "share": _ultracall("UV_SHARE_PAGE", one),
        "unshare": _ultracall("UV_UNSHARE_PAGE", one),
        "unshare all": _ultracall("UV_UNSHARE_ALL_PAGES", "{}"),
        "UV_ESM": _ultracall("UV_ESM", esm),
        "host read": _post("VMM_TOKEN", f'{vms}/read?gpa={gpa}&length=8"', octets=True),
        "page out": _post("VMM_TOKEN", f'{vms}/read?gpa={gpa}&length=8"', octets=True),
        "host write": _post("VMM_TOKEN", f'{vms}/write?gpa={gpa}"', "bytes-to-write", octets=True),
        "unmap": _post("VMM_TOKEN", f'{vms}/unmap"', json.dumps({"gpa": gpa, "count": 1})),
        "reset": _post("VMM_TOKEN", f'{vms}/reset"', "{}"),
    }
    return [known.get(move.action, f"# no single request does that: {move.action}")]


def _ultracall(name: str, body: str) -> str:
    return _post("GUEST_TOKEN_U", f'"$PEF_ULTRAVISOR_URL{ULTRACALL_PATH}{name}"', body)


def _post(token: str, url: str, body: str = "", *, octets: bool = False) -> str:
    media = OCTETS if octets else JSON
    shown = f" --data {shlex.quote(body)}" if body else " --data ''"
    return f'curl -H "Authorization: Bearer $PEF_{token}" -H "Content-Type: {media}"{shown} {url}'
