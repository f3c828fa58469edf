"""A side that dies and starts anew, at any yield: a short case for each kind of promise that was broken.

All cases are played by `make crash`.
"""

from typing import Final

import pytest

from crash.hello import GET_EPOCH, POST_HELLO
from crash.kinds import Kind
from crash.matrix import Case, judge, uninterrupted
from crash.operations import OPERATIONS, Interrupted
from crash.threads import Thread, run
from crash.verdict import Judge
from pef_hypervisor.state import Vm
from pef_kit.core.effects import Operation
from pef_kit.core.fence import Kept, Run
from pef_kit.core.hello import Hello
from pef_protocol.calls import CALLS
from pef_protocol.events import Side

NUMBER: Final = {operation.name: number for number, operation in enumerate(OPERATIONS)}
WITHOUT_YIELD: Final = {"UV_ESMB_GET_FILE"}
"""Operations that are done in one step: no side can die within."""


def case(operation: str, place: int, dies: Side) -> Case:
    return Case(NUMBER[operation], place, dies)


SHORTEST: Final = {
    Kind.SVM_OUTLIVES: case("create a VM", 0, Side.HYPERVISOR),
    Kind.GUEST_SERVED: case("create a VM", 0, Side.HYPERVISOR),
    Kind.GUEST_READS: case("create a VM", 0, Side.HYPERVISOR),
    Kind.GUEST_WRITES: case("create a VM", 0, Side.HYPERVISOR),
    Kind.OLD_TOKEN: case("create a VM", 0, Side.HYPERVISOR),
    Kind.BYTES_LEFT: case("create a VM", 0, Side.HYPERVISOR),
    Kind.NEW_NOT_SECURE: case("UV_ESM where secure memory is full", 0, Side.HYPERVISOR),
    Kind.STILL_SECURE: case("create a VM", 0, Side.ULTRAVISOR),
    Kind.IMAGE_DEAD: case("create a VM", 0, Side.ULTRAVISOR),
    Kind.NORMAL_NOT_SECURE: case("create a VM", 0, Side.ULTRAVISOR),
    Kind.LATE: case("create a VM", 0, Side.ULTRAVISOR),
    Kind.AGAIN: case("reset", 0, Side.ULTRAVISOR),
}
"""For each kind the shortest case that showed it."""


@pytest.mark.parametrize("kind", SHORTEST, ids=lambda kind: kind.name.lower())
def test_a_side_that_starts_anew_breaks_no_promise(kind: Kind) -> None:
    assert [violation.detail for violation in judge(SHORTEST[kind]) if violation.kind is kind] == []


def nothing(*_: object) -> Operation[None]:
    yield from ()


def keep_state(_: object, vm: Vm) -> Operation[None]:
    yield from ()
    vm.svm_incarnation = None


RULES: Final = {
    Kind.SVM_OUTLIVES: (Side.HYPERVISOR, "pef_explorer.machines.pair.end_epoch", nothing),
    Kind.AGAIN: (Side.HYPERVISOR, "pef_kit.core.hello.Epochs.judge", lambda *_: Hello.TAKE_OVER),
    Kind.LATE: (
        Side.ULTRAVISOR,
        "pef_kit.core.fence.Fence.receive",
        lambda self, _: Run(Kept(0, b"", 0), self.life),
    ),
    Kind.STILL_SECURE: (Side.ULTRAVISOR, "pef_hypervisor.another_ultravisor._forget_svm", keep_state),
    Kind.OLD_TOKEN: (Side.HYPERVISOR, "crash.wire.Machines._lpid_of", lambda _, token: token.caller.lpid),
}
"""For some kinds who dies, a rule that excludes it, and what stands for the rule once it is broken."""


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.name.lower())
def test_a_rule_that_is_broken_is_found(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    dies, rule, instead = RULES[kind]
    monkeypatch.setattr(rule, instead)
    assert kind in {violation.kind for violation in judge(case("create a VM", 0, dies))}


def test_each_call_is_interrupted_and_each_operation_has_yields() -> None:
    found = [uninterrupted(number) for number in range(len(OPERATIONS))]
    assert frozenset().union(*[calls for _, calls in found]) == {*CALLS, GET_EPOCH, POST_HELLO}
    settled = {
        operation.name for operation, (moments, _) in zip(OPERATIONS, found, strict=True) if not moments
    }
    assert settled == WITHOUT_YIELD


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_where_nobody_dies_no_promise_is_broken(operation: Interrupted) -> None:
    host, tenants = operation.fixture()
    judge = Judge(host, tenants, [])
    run([Thread.begin(host.machines, operation.side, operation.begin(host, tenants[0]))])
    assert [*(judge.new_hypervisor() if not host.machines.hv.store.vms else judge.living_on())] == []
    assert [*judge.nothing_stays()] == []
