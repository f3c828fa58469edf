"""A violation as a counterexample: the steps that anybody could watch; calls that wait for each other."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from pef_explorer.actions.move import GO_ON, GUESTS, MEMORY, VM, VMM, Move
from pef_explorer.actions.table import UV_ESM
from pef_explorer.invariants import EVERY_CALL_ENDS
from pef_explorer.plan import Part, Plan
from pef_explorer.search.counterexample import comes_again, counterexample, trimmed
from pef_explorer.search.search import Search, Violation
from pef_explorer.session.files import plan_of
from pef_explorer.session.session import Session
from pef_explorer.world.world import World
from pef_hypervisor.dispatch import Hypervisor
from pef_kit.core.effects import Backoff, Operation
from pef_lab.replay.counterexample import Counterexample
from pef_mutants.registry import MUTANTS
from pef_protocol.designs import Design

PLAN = Plan(Design.BROKEN, (Part.BROUGHT, Part.UNMIGRATED), plug=0)
ONE = Plan(Design.TRACKED, (Part.UNMIGRATED,), plug=0)


@cache
def divided() -> Violation:
    """Return how a page that was never asked for divides the tables."""
    search = Search(PLAN)
    search.go_on(lambda _: search.nearest_violation is not None)
    (violation,) = search.found().violations
    return violation


def content_of(plan: Plan, violation: Violation) -> tuple[dict[str, Any], Counterexample]:
    """Return a violation as a file has it, and as it is read."""
    content = json.loads(json.dumps(counterexample(plan, violation, "pef explore …", "abc1234")))
    return content, Counterexample.model_validate_json(json.dumps(content))


def test_a_violation_is_told_as_a_file_that_can_be_read() -> None:
    content, found = content_of(PLAN, divided())
    assert {name: content[name] for name in ("format", "title", "mutant", "invariant", "found_by")} == {
        "format": "pef-counterexample/2",
        "title": "broken: the tables agree",
        "mutant": None,
        "invariant": "the_tables_agree",
        "found_by": {"command": "pef explore …", "commit": "abc1234"},
    }
    assert plan_of(found).image == PLAN.image
    assert ["NORMAL", "SECURE"] in content["tables"].values()
    assert set(content["tables"]) == set(content["observations"]) == {"0", "1"}


def test_the_phases_of_an_entry_are_one_action() -> None:
    steps = content_of(PLAN, divided())[0]["steps"]
    assert [step["action"] for step in steps].count(UV_ESM) == 1
    assert "suspended" not in {step["leads_to"] for step in steps}


def test_a_file_made_again_comes_out_as_it_says() -> None:
    _, found = content_of(PLAN, divided())
    again = Session.of_file(found)
    assert [node.outcome for node in again.nodes[1:]] == [step.leads_to for step in found.steps]
    gfns = again.goto(found.violated_after).gfns
    assert {str(gfn.first): (gfn.hypervisor, gfn.ultravisor) for gfn in gfns} == found.tables
    violation = Violation(found.invariant, "", again.own_moves())
    assert comes_again(plan_of(found), violation)
    assert not comes_again(plan_of(found), violation._replace(invariant="no_iv_comes_twice"))
    assert not comes_again(plan_of(found), violation._replace(moves=violation.moves[:-1]))


def test_moves_that_can_not_be_made_break_nothing() -> None:
    assert not comes_again(PLAN, Violation("the_tables_agree", "", (Move(VMM, GO_ON),)))
    assert not comes_again(PLAN, Violation("the_tables_agree", "", ()))


def one_after_the_other(plan: Plan, *actions: tuple[str, str, int]) -> tuple[Move, ...]:
    """Return the moves by which actions are made alone, each to its end."""
    world, moves = World(plan), list[Move]()
    for actor, action, gfn in actions:
        moves.append(Move(actor, action, gfn))
        while world.do(moves[-1]) is None:
            moves.append(Move(actor, action if world.suspended else GO_ON))
    return tuple(moves)


def test_stores_that_the_fall_does_not_need_are_left_out() -> None:
    vcpu, plan = GUESTS[0], replace(PLAN, design=Design.TRACKED)
    needed = (vcpu, UV_ESM, VM), (vcpu, "share", 0), (vcpu, "unshare all", VM)
    idle = (vcpu, "store", 1), (vcpu, "store", 0)
    violation = Violation("what_was_promised_is_so", "", ())
    with MUTANTS["D14"].applied():
        more = violation._replace(moves=one_after_the_other(plan, *needed[:2], *idle, needed[2]))
        assert comes_again(plan, more)
        assert trimmed(plan, more).moves == one_after_the_other(plan, *needed)
    assert not comes_again(plan, more)


def test_after_the_breach_whatever_is_open_is_let_end() -> None:
    violation = divided()
    before = violation._replace(moves=(*violation.moves, Move(MEMORY, "page out", 0)))
    content, _ = content_of(PLAN, before)
    after = content["steps"][content["violated_after"] :]
    assert after
    assert {(step["actor"], step["action"]) for step in after} == {(MEMORY, GO_ON)}
    assert after[-1]["leads_to"].startswith("ends ")


def waiting_for_the_other(self: Hypervisor, lpid: int, gpa: int, length: int) -> Operation[Any]:
    """Read only where nobody else is at work: two of these wait for each other."""
    vm = self.store.vms[lpid]
    with vm.gate.admitted():
        yield Backoff(0)
        attempt = 0
        while vm.gate.open > 1:
            yield Backoff(attempt)
            attempt += 1
    return (yield from host_read(self, lpid, gpa, length))


host_read = Hypervisor.host_read


@pytest.fixture
def deadlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hypervisor, "host_read", waiting_for_the_other)


def found_within(limit: int) -> dict[str, Violation]:
    search = Search(ONE)
    search.go_on(lambda progress: progress.transitions > limit)
    return {violation.invariant: violation for violation in search.found().violations}


@pytest.mark.usefixtures("deadlocked")
def test_calls_that_wait_for_each_other_are_found_and_told() -> None:
    violation = found_within(1000)[EVERY_CALL_ENDS]
    assert {move.action for move in violation.moves} >= {"host read", "page out"}
    assert comes_again(ONE, violation)
    world = World(ONE)
    for move in violation.moves:
        world.do(move)
    for _ in range(20):
        assert [world.do(Move(actor, GO_ON)) for actor in (VMM, MEMORY)] == [None, None]
    content, found = content_of(ONE, violation)
    assert (found.observations, content["violated_after"]) == ({}, len(content["steps"]))
    assert {step.leads_to for step in found.steps[-2:]} == {"waits"}


def test_sound_calls_do_not_wait_for_each_other() -> None:
    assert found_within(300) == {}
