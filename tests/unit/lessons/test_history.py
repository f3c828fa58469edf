from harness.lesson_tried import history_after
from pef_lessons.all_lessons import LESSONS
from pef_lessons.history import agree, history_of, runs_secure, states_of
from pef_lessons.script import make_moves
from pef_protocol.designs import Design

LESSON = LESSONS["7"]


def test_a_history_is_the_path_to_the_cursor_and_no_other_branch() -> None:
    session = LESSON.session()
    make_moves(session, ["guest 0: store 1"])
    session.back()
    make_moves(session, ["guest 0: store 0", "vmm: host read 0"])
    history = history_of(session)
    assert [(each.move.action, each.move.gfn, each.outcome) for each in history.made] == [
        ("store", 0, "ends resolved"),
        ("host read", 0, "ends as written"),
    ]
    assert len(session.nodes) == 4


def test_an_action_has_the_frames_around_it() -> None:
    history = history_after(LESSON, "guest 0: store 1", "guest 0: UV_ESM ...")
    (esm,) = history.actions("UV_ESM", word="U_SUCCESS")
    assert (esm.actor, esm.gfn, esm.began) == ("guest 0", -1, 1)
    assert esm.ended == len(history.made) - 1
    assert (runs_secure(esm.before), runs_secure(esm.after)) == (False, True)
    assert states_of(esm.after, 1) == ("NORMAL", "SECURE")
    assert states_of(esm.after, 99) == ("nothing", "nothing")


def test_an_action_that_is_open_is_not_done() -> None:
    history = history_after(LESSON, "guest 0: UV_ESM", "guest 0: go on")
    assert history.actions() == ()
    assert not history.end.quiescent


def test_the_last_write_is_one_that_had_ended_before() -> None:
    history = history_after(LESSON, "guest 0: store 1", "vmm: host write 1", "vmm: host read 1")
    (read,) = history.actions("host read")
    wrote = history.last_write(read)
    assert wrote is not None
    assert (wrote.actor, wrote.action) == ("vmm", "host write")
    (write,) = history.actions("host write")
    assert history.last_write(write) == history.actions("store")[0]


def test_whether_states_agree_is_a_matter_of_the_design() -> None:
    assert agree(Design.TRACKED, "PAGED_OUT", "PAGEDOUT")
    assert not agree(Design.TRACKED, "NORMAL", "PAGEDOUT")
    assert agree(Design.PUSHED, "NORMAL", "PAGEDOUT")
    assert agree(Design.TRACKED, "nothing", "nothing")
    assert not agree(Design.TRACKED, "nothing", "SECURE")
