"""The rows of a pair: every step under every design that keeps its promises, on a pair alone."""

from pef_lab.joint import NO_SVM
from pef_lab.rows import pair
from pef_lab.rows.hypervisor.vms import SOUND
from pef_lab.rows.pair.joint_view import Joint, in_design
from pef_lab.rows.pair.steps import FAILURES, STEPS
from pef_lab.rows.row import Level
from pef_lab.rows.subject import Subject
from pef_protocol.designs import Design

ROWS = tuple(pair.rows())


def test_there_is_a_row_for_each_step_and_failure_under_each_sound_design() -> None:
    steps = [f"pair/{name}:{design}" for design in SOUND for name in STEPS]
    failures = [f"pair/esm-fails/{name}:{design}" for design in SOUND for name in FAILURES]
    assert sorted(row.id for row in ROWS) == sorted(steps + failures)
    assert set(SOUND) == {Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED_FIXED}


def test_they_take_both_sides_and_must_hold() -> None:
    assert {row.of for row in ROWS} == {frozenset({Subject.PAIR})}
    assert {row.level for row in ROWS} == {Level.MUST}


def test_a_design_of_two_states_says_normal_of_all_that_is_not_secure() -> None:
    assert [in_design(joint, Design.TRACKED) for joint in Joint] == list(Joint)
    assert {joint: in_design(joint, Design.PUSHED_FIXED) for joint in Joint} == {
        Joint.NORMAL: f"NORMAL and {NO_SVM}",
        Joint.SECURE: "SECURE and SECURE",
        Joint.OUT: "NORMAL and PAGEDOUT",
        Joint.SHARED: "NORMAL and SHARED",
        Joint.WITHDRAWN: "NORMAL and SHARED_INV",
        Joint.NOWHERE: "no slot and no slot",
    }
