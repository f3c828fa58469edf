"""Mutants of the fence that live in operations: each takes one rule away, and the matrix must tell.

A mutant names the part of the matrix in which it is looked for: an operation that is suspended, and a column.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import pytest

from interleavings.machines import Machines
from interleavings.matrix import SETTINGS, Report, Row, run_part
from pef_hypervisor.state import Gate
from pef_kit.core.effects import Backoff, Operation, PeerCall
from pef_kit.core.lease import Leased
from pef_kit.core.life import Life
from pef_protocol.calls import Reply
from pef_ultravisor.from_hypervisor import svm_terminate
from pef_ultravisor.memory.normal_pages import NormalPages
from pef_ultravisor.state import Svm, Ultravisor


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule that is taken away by `puts_in`, and where that is seen; `kind`: as what, where that matters."""

    name: str
    puts_in: Callable[[pytest.MonkeyPatch], None]
    step: str
    lpid: int
    column: str
    crossed: bool = False
    kind: str = ""

    def run(self) -> Report:
        """Return what comes of the mutant's part of the matrix."""
        return run_part(Row(SETTINGS[0], self.step, self.lpid), self.column, crossed=self.crossed)


def _weak_gate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gate, "ending", Gate.held)


def _bounded(patch: pytest.MonkeyPatch) -> None:
    def settled(life: Life) -> Operation[None]:
        yield from ()

    patch.setattr(svm_terminate, "wait_until_still", settled)


def _drains(patch: pytest.MonkeyPatch) -> None:
    original = svm_terminate.end_svm

    def end_svm(uv: Ultravisor, svm: Svm) -> Operation[None]:
        while svm.open_calls:
            yield Backoff(0, ignore_deadline=True)
        yield from original(uv, svm)

    patch.setattr(svm_terminate, "end_svm", end_svm)


def _no_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leased, "_over", lambda self: None)


def _no_incarnation(patch: pytest.MonkeyPatch) -> None:
    handler = Machines.handler

    def anybodys(machines: Machines, ask: PeerCall) -> Operation[Reply]:
        return handler(machines, replace(ask, incarnation=None))

    patch.setattr(Machines, "handler", anybodys)


def _not_held(patch: pytest.MonkeyPatch) -> None:
    for name in ("pin", "unpin"):
        patch.setattr(NormalPages, name, lambda self, addresses: None)


MUTANTS: Final = (
    Mutant("weak gate for destroy", _weak_gate, "store as a normal VM", 3, "destroy + create", crossed=True),
    Mutant("terminate bounded", _bounded, "store to shared and private pages", 1, "destroy + create"),
    Mutant("terminate drains operations", _drains, "UV_ESM with a bad image", 3, "create", kind="stuck"),
    Mutant("no lease", _no_lease, "unshare all", 1, "destroy + create"),
    Mutant("incarnation not compared", _no_incarnation, "unshare", 1, "reset + UV_ESM + share"),
    Mutant(
        "normal pages not held in flight",
        _not_held,
        "UV_PAGE_OUT to a spare page",
        1,
        "UV_PAGE_IN of a spare page",
    ),
)
