"""Rows are played one by one, and whatever happens to one of them is a verdict of its own."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
from aiohttp import web

from harness.fake_subject import (
    PATIENCE,
    SUCCESS,
    TOKENS,
    CountedScene,
    FakeSubject,
    Reply,
    answering,
    fine,
    raising,
    row,
    stage_for,
    wrong,
)
from pef_lab.between.server import drop
from pef_lab.failures import Unanswered
from pef_lab.rows.admission import admit
from pef_lab.rows.doors import HYPERVISOR, Doors
from pef_lab.rows.row import ALONE, Finding, Level, Played, Verdict
from pef_lab.rows.run import IN_A_ROW, IN_VAIN, play, printable
from pef_lab.rows.sheet import refused
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import Evidence, NoScene, Subject
from pef_protocol.http import PROBLEM, Role
from pef_protocol.quantities import Lpid
from pef_protocol.ultracalls import SvmTerminate

pytestmark = pytest.mark.sockets

LONG: Final = 60.0
"""Seconds: more than anything takes that answers."""
GOOD = answering(SUCCESS)


async def silent(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def dropping(request: web.Request) -> web.StreamResponse:
    return drop(request)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with stage_for(FakeSubject(GOOD)) as stage:
        yield stage


ANSWERS: Final[dict[str, tuple[Reply, Verdict, str]]] = {
    "good": (GOOD, Verdict.PASS, "U_SUCCESS"),
    "another code": (
        answering(SUCCESS.replace(b"U_SUCCESS", b"U_P2").replace(b":0}", b":-55}")),
        Verdict.FAIL,
        "U_P2",
    ),
    "another number": (answering(SUCCESS.replace(b":0}", b":1}")), Verdict.FAIL, "U_SUCCESS numbered 1"),
    "impossible code": (answering(SUCCESS.replace(b"U_SUCCESS", b"U_BANANA")), Verdict.FAIL, "U_BANANA"),
    "problem": (answering(b'{"detail": "a fault"}', PROBLEM, 500), Verdict.FAIL, "HTTP 500"),
    "status 500": (answering(b"no luck", "text/plain", 500), Verdict.ERROR, "HTTP status 500"),
    "HTML": (answering(b"<html>", "text/html"), Verdict.ERROR, "answered with text/html"),
    "HTML called JSON": (answering(b"<html>"), Verdict.ERROR, "not JSON"),
    "a list": (answering(b"[]"), Verdict.ERROR, "not an answer of the protocol"),
    "no code": (answering(b'{"code": null}'), Verdict.ERROR, "not an answer of the protocol"),
    "half a run": (answering(SUCCESS.replace(b"[]", b"[[1]]")), Verdict.ERROR, "not an answer"),
    "too deep": (answering(b"[" * 200_000), Verdict.ERROR, "not JSON"),
    "dropped": (dropping, Verdict.ERROR, "no answer"),
    "silent": (silent, Verdict.ERROR, "no answer"),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_whatever_a_subject_answers_is_a_verdict(what: str) -> None:
    reply, verdict, says = ANSWERS[what]
    async with stage_for(FakeSubject(reply), patience=PATIENCE if reply is silent else LONG) as stage:
        (got,) = await play(stage, [row("one")], LONG)
    assert got.verdict is verdict
    assert says in (got.finding.observed if got.finding else got.cause)


async def test_none_stops_another_and_all_come_back_in_their_order(stage: Stage) -> None:
    rows = [
        row("found", wrong),
        row("late", fine, patient=True),
        row("faulty", raising(KeyError("gone"))),
        row("without a scene", raising(NoScene("no such VM"))),
        row("elsewhere", of=Subject.PAIR),
        row("several", raising(ExceptionGroup("tasks", [ExceptionGroup("", [Unanswered("it", "down")])]))),
        row("good"),
    ]
    told: list[Played] = []
    got = await play(stage, rows, LONG, told.append)
    assert [each.row for each in got] == rows
    assert [(each.verdict, each.cause) for each in got] == [
        (Verdict.FAIL, ""),
        (Verdict.PASS, ""),
        (Verdict.ERROR, "a fault of this row: KeyError: 'gone'"),
        (Verdict.INCONCLUSIVE, "no such VM"),
        (Verdict.SKIPPED, "needs another subject: pair"),
        (Verdict.ERROR, "it: down"),
        (Verdict.PASS, ""),
    ]
    assert sorted(each.row.id for each in told) == sorted(each.id for each in rows)


async def test_a_pair_says_what_it_can_not_play() -> None:
    (got,) = await play(Stage(Subject.PAIR), [row("one")], LONG)
    assert (got.verdict, got.cause) == (Verdict.SKIPPED, ALONE)


async def test_where_the_document_is_silent_nothing_is_judged(stage: Stage) -> None:
    (got,) = await play(stage, [row("one", wrong, level=Level.EITHER)], LONG)
    assert got.verdict is Verdict.PASS
    assert got.finding is not None
    assert got.finding.observed == "U_SUCCESS"


async def test_a_row_that_never_ends_is_ended(stage: Stage) -> None:
    async def for_ever(_: Stage) -> Finding:
        await asyncio.Event().wait()
        raise AssertionError

    first, second = await play(stage, [row("one", for_ever), row("two", fine)], PATIENCE)
    assert (first.verdict, first.cause) == (Verdict.ERROR, f"not done within {4 * PATIENCE:g} s")
    assert second.verdict is Verdict.PASS


async def test_patient_rows_are_played_beside_each_other(stage: Stage) -> None:
    both = asyncio.Barrier(2)

    async def meet(_: Stage) -> Finding:
        await both.wait()
        return await fine(stage)

    rows = [row("one", meet, patient=True), row("two", meet, patient=True)]
    assert [each.verdict for each in await play(stage, rows, 5)] == [Verdict.PASS, Verdict.PASS]


async def test_after_an_error_all_scenes_are_spent(stage: Stage) -> None:
    class Ours(CountedScene):
        pass

    async def ask_for_it(stage: Stage) -> Finding:
        await stage.scene(Ours)
        return await fine(stage)

    rows = [row("one", ask_for_it), row("two", ask_for_it), row("bad", raising(ValueError("x")))]
    await play(stage, [*rows, row("three", ask_for_it)], LONG)
    assert (Ours.set_so_far, Ours.struck_so_far) == (2, 1)


async def test_a_scene_that_can_not_be_struck_is_told_and_stops_nothing(stage: Stage) -> None:
    class Stuck(CountedScene):
        async def strike(self) -> None:
            raise RuntimeError("stuck")

    async def break_it(stage: Stage) -> Finding:
        await stage.scene(Stuck)
        raise Unanswered("it", "down")

    bad, good = await play(stage, [row("bad", break_it), row("good")], LONG)
    assert bad.cause == "it: down; and its scene could not be struck: RuntimeError: stuck"
    assert good.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("tokens", "status", "evidence"),
    [(TOKENS, 200, "digest"), ({}, 200, "inferred"), (TOKENS, 404, "inferred")],
    ids=["a view", "no token for it", "no view"],
)
async def test_where_nothing_can_be_observed_a_refusal_says_that_it_inferred(
    tokens: dict[Role, str], status: int, evidence: str
) -> None:
    async def look(stage: Stage) -> Finding:
        ask = SvmTerminate(Lpid(1))
        return await refused(
            stage, CountedScene, lambda _: stage.ultravisor.call(HYPERVISOR, ask), "U_SUCCESS"
        )

    async def reply(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/digest"):
            return web.json_response({"digest": "aa"}, status=status)
        return await answering(SUCCESS)(request)

    async with stage_for(FakeSubject(reply), tokens) as stage:
        await admit(stage.sides)
        (got,) = await play(stage, [row("one", look)], LONG)
    assert got.verdict is Verdict.PASS
    assert got.finding is not None
    assert got.finding.unchanged is Evidence(evidence)


@pytest.mark.parametrize("reply", [silent, dropping], ids=["silent", "dropping"])
async def test_a_subject_that_is_gone_is_asked_once_and_no_row_after_that_waits(reply: Reply) -> None:
    subject = FakeSubject(reply, dead=True)
    rows = [row(str(number), patient=number % 5 == 0) for number in range(100)]
    async with stage_for(subject, patience=PATIENCE) as stage:
        got = await play(stage, rows, PATIENCE)
    assert {each.verdict for each in got} == {Verdict.ERROR}
    assert subject.calls == IN_A_ROW
    assert subject.asked.count("/livez") in {
        1,
        2,
    }  # a client may ask again for what is dropped, if it changes nothing
    assert sum(each.cause.startswith("not played: 3 rows before it had no answer") for each in got) == 97
    assert all("/livez" in each.cause for each in got if each.cause.startswith("not played"))


async def test_nobody_at_the_url_is_found_out_as_fast() -> None:
    async with stage_for(FakeSubject(GOOD)) as gone:
        url = gone.ultravisor.url
    stage = Stage(Subject.ULTRAVISOR, ultravisor=Doors("Ultravisor", url, TOKENS, "key", 60))
    got = await play(stage, [row(str(number)) for number in range(100)])
    await stage.close()
    assert {each.verdict for each in got} == {Verdict.ERROR}
    assert sum(each.cause.startswith("not played") for each in got) == 100 - IN_A_ROW


async def test_a_subject_that_lives_and_answers_no_call_may_waste_so_much_time_and_no_more() -> None:
    subject = FakeSubject(silent)
    async with stage_for(subject, patience=PATIENCE) as stage:
        got = await play(stage, [row(str(number)) for number in range(100)], PATIENCE)
    assert {each.verdict for each in got} == {Verdict.ERROR}
    assert 1 <= subject.calls <= IN_VAIN + 1
    assert got[-1].cause.endswith("s for answers in vain")


async def test_a_subject_that_answers_nonsense_fast_is_asked_every_row() -> None:
    subject = FakeSubject(answering(b"<html>", "text/html"))
    async with stage_for(subject) as stage:
        got = await play(stage, [row(str(number)) for number in range(20)], 60)
    assert subject.calls == 20
    assert {each.cause for each in got} == {
        "UV_SVM_TERMINATE at the Ultravisor: answered with text/html, not JSON"
    }


def test_what_a_subject_says_harms_no_terminal() -> None:
    assert printable("\x1b[31mred\nsecond\ud800") == "�[31mred second�"
    assert len(printable("x" * 10_000)) == 400
