"""The system of a file as a session has it: what its steps need is switched on, and nothing is bounded."""

import json
from pathlib import Path

from harness.counterexample_file import content, step
from pef_explorer.actions.move import Move
from pef_explorer.machines.faults import Fault
from pef_explorer.plan import Delivery, Extra, Part
from pef_explorer.session.files import WITHOUT_END, goes_through, move_of, plan_of
from pef_explorer.session.session import Session
from pef_lab.replay.counterexample import Counterexample, read

FOLDER = Path(__file__).parents[4] / "docs" / "counterexamples"


def test_the_system_of_a_file() -> None:
    plan = plan_of(read(FOLDER / "broken-the-tables-agree.json"))
    assert (plan.image, plan.plug, plan.vcpus) == ((Part.BROUGHT, Part.UNMIGRATED), 1, 1)
    assert (plan.calls, plan.faults, plan.delivery) == (WITHOUT_END, WITHOUT_END, Delivery.UNRELIABLE)
    assert plan.extras == frozenset()


def test_what_steps_need_is_switched_on() -> None:
    extras = {
        name: plan_of(read(FOLDER / "mutants" / f"{name}.json")).extras
        for name in ("range-cut", "older-taken")
    }
    assert extras == {"range-cut": {Extra.RANGE}, "older-taken": {Extra.OLD_CIPHERTEXT}}
    assert Extra.MEASURED_PLUG in plan_of(read(FOLDER / "mutants" / "measured-gone.json")).extras


def test_a_step_is_a_move_and_says_whether_phases_follow() -> None:
    found = Counterexample.model_validate_json(
        json.dumps(
            content(
                steps=[
                    step("guest 0", "UV_ESM", "asks H_SVM_INIT_START"),
                    step("guest 0", "go on", "suspended", fault="lost"),
                ],
                violated_after=2,
            )
        )
    )
    assert [move_of(each) for each in found.steps] == [
        Move("guest 0", "UV_ESM"),
        Move("guest 0", "go on", fault=Fault.LOST),
    ]
    assert [goes_through(each) for each in found.steps] == [True, False]


def test_a_file_that_says_otherwise_is_stopped_at_that_step() -> None:
    session = Session.of_file(Counterexample.model_validate_json(json.dumps(content())))
    assert session.stopped.startswith(
        "At step 1 (guest 0: share 0) the file says 'asks H_SVM_PAGE_IN', and here"
    )
    assert len(session.nodes) == 2
