"""Counterexamples over HTTP: real services do what the file says, and the first difference is told.

The files of `counterexamples/` here are written by hand, most of them of schedules that break nothing: they
show that every kind of step can be played.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pef_lab.between.wire import SECURE_MEMORY
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.pair import PairPlan, started
from pef_lab.ports import free_ports
from pef_lab.replay.counterexample import Counterexample, read
from pef_lab.replay.player import Difference, run_counterexample
from pef_lab.replay.verdict import bears_out
from pef_lab.replay.wire import Wire, wired
from pef_lab.service_process import LIVE
from pef_protocol.events import Side
from scenarios.pef_command import PEF, environment, pef

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

FILES = sorted((Path(__file__).parent / "counterexamples").glob("*.json"))
SHARES = next(file for file in FILES if file.stem == "share-and-unmap")
MEETS = next(file for file in FILES if file.stem == "load-meets-page-out")
HOT_ADD = next(file for file in FILES if file.stem == "broken-hot-add")


@pytest.fixture(scope="module")
async def wire() -> AsyncIterator[Wire]:
    async with wired() as one:
        yield one


def changed(file: Path, change: Callable[[dict[str, Any]], None]) -> Counterexample:
    content = json.loads(file.read_text())
    change(content)
    return Counterexample.model_validate_json(json.dumps(content))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
async def test_services_do_what_the_file_says(wire: Wire, file: Path) -> None:
    """Given the file of a schedule.

    When it is played on real services,
    then tables and observations are those of the file.
    """
    found = read(file)
    replayed = await run_counterexample(found, wire)
    assert {str(gfn): states for gfn, states in replayed.tables.items()} == found.tables
    assert len(replayed.observations) == len(found.observations)
    assert bears_out(found, replayed.breaches), replayed.breaches


def test_the_files_have_every_action_and_every_fault() -> None:
    steps = [step for file in FILES for step in read(file).steps]
    assert {step.action for step in steps} == {
        *("go on", "load", "store", "share", "unshare", "unshare all", "UV_ESM", "UV_ESM with a bad image"),
        *("reboot", "host read", "host write", "hot-add", "hot-remove", "reset", "page out", "unmap"),
    }
    assert {step.fault for step in steps} == {None, "refused", "busy", "doubled", "lost"}
    assert {step.leads_to.partition(" ")[0] for step in steps} == {
        "asks",
        "answers",
        "moves",
        "waits",
        "ends",
    }


def another_stop(content: dict[str, Any]) -> None:
    content["steps"][4]["leads_to"] = "asks H_SVM_PAGE_OUT"


def another_end(content: dict[str, Any]) -> None:
    content["steps"][-1]["leads_to"] = "ends zero"


def another_table(content: dict[str, Any]) -> None:
    content["tables"]["1"] = ["SECURE", "SECURE"]


def another_look(content: dict[str, Any]) -> None:
    content["observations"]["1"]["host"] = "other"


def a_look_that_is_refused(content: dict[str, Any]) -> None:
    content["observations"]["2"]["guest"] = "zero"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (another_stop, "step 5 (guest 0: go on): the file says 'asks H_SVM_PAGE_OUT', seen 'answers H_SUCC"),
        (another_end, "(guest 0: go on): the file says 'ends zero', seen 'ends as written'"),
        (
            another_table,
            "GFN 1: the file says 'Hypervisor SECURE, Ultravisor SECURE', seen 'Hypervisor SHARE",
        ),
        (another_look, "look of the host at GFN 1 after the last step: the file says 'other', seen 'as writ"),
        (a_look_that_is_refused, "look of the guest at GFN 2 after the last step: the file says 'zero'"),
    ],
)
async def test_the_first_difference_is_told(
    wire: Wire, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    """Given a file in which one word is wrong.

    When it is played,
    then the first difference is told with its place and both words.
    """
    with pytest.raises(Difference, match=re.escape(says)):
        await run_counterexample(changed(SHARES, change), wire)


async def test_a_wait_that_does_not_come_is_a_difference(wire: Wire) -> None:
    """The load comes before the page is on its way out, so it does not have to wait."""

    def too_early(content: dict[str, Any]) -> None:
        steps = content["steps"]
        load = next(at for at, step in enumerate(steps) if step["leads_to"] == "waits")
        steps[load - 1], steps[load] = steps[load], steps[load - 1]

    with pytest.raises(Difference, match=r"guest 0: load 1.*'waits', seen 'ends as written'"):
        await run_counterexample(changed(MEETS, too_early), wire)


async def test_what_never_comes_is_not_waited_for_for_ever(wire: Wire) -> None:
    """A load that has to wait for a page that is held on the bus comes to no other stop."""

    def expect_an_end(content: dict[str, Any]) -> None:
        step = next(step for step in content["steps"] if step["leads_to"] == "waits")
        step["leads_to"] = "asks H_SVM_PAGE_IN"

    with pytest.raises(Difference, match=r"seen 'nothing, within 0.5 s'"):
        await run_counterexample(changed(MEETS, expect_an_end), wire, time_limit=0.5)


async def test_nothing_is_left_of_a_replay_that_went_wrong(wire: Wire) -> None:
    """Given a replay that ended at a difference.

    When the right file is played on the same services,
    then it comes out as it says.
    """
    with pytest.raises(Difference):
        await run_counterexample(changed(SHARES, another_stop), wire)
    replayed = await run_counterexample(read(SHARES), wire)
    assert replayed.tables[1] == ("SHARED", "SHARED")


def test_the_command_says_what_was_broken_and_how_it_was_seen(tmp_path: Path) -> None:
    """Given the file of a counterexample.

    When `pef replay` plays it,
    then it says which invariant was broken, and how that was seen.
    """
    ran = pef("replay", HOT_ADD, runtime=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "the_tables_agree" in ran.stdout
    assert "GFN 2: Hypervisor NORMAL, Ultravisor SECURE; in the end guest reads as written, host zero" in (
        ran.stdout
    )


def test_the_command_does_not_take_the_files_word(tmp_path: Path) -> None:
    """Given a file whose steps come out as it says, and break nothing that it names.

    When `pef replay` plays it,
    then its own verdict differs, which is a finding.
    """

    def claim(content: dict[str, Any]) -> None:
        content["invariant"] = "the_tables_agree"

    wrong = tmp_path / "wrong.json"
    wrong.write_text(changed(SHARES, claim).model_dump_json())
    ran = pef("replay", wrong, runtime=tmp_path)
    assert (ran.returncode, ran.stderr) == (1, f"✘ {wrong}: what was observed does not bear the file out\n")
    assert "nothing is broken" in ran.stdout


async def test_the_command_plays_on_a_running_pair_and_fails_at_a_difference(tmp_path: Path) -> None:
    """Given a pair that runs.

    When `pef replay` plays a right file and a wrong one on it,
    then the first ends with status 0, and the second with status 1 and the difference.
    """
    wrong = tmp_path / "wrong.json"
    wrong.write_text(changed(HOT_ADD, another_table).model_dump_json())
    ports = dict(zip(Side, free_ports(2), strict=True))
    plan = PairPlan(
        SECURE_MEMORY,
        NormalMemoryForm.HTTP,
        until=LIVE,
        ultravisor_called_at=f"http://127.0.0.1:{ports[Side.ULTRAVISOR]}",
        hypervisor_called_at=f"http://127.0.0.1:{ports[Side.HYPERVISOR]}",
    )
    async with started(plan) as pair:
        where = environment(tmp_path) | pair.endpoints.environment
        words = [
            *(
                "--ultravisor-url",
                pair.endpoints.ultravisor_url,
                "--hypervisor-url",
                pair.endpoints.hypervisor_url,
            ),
            *("--between-ultravisor", str(ports[Side.ULTRAVISOR])),
            *("--between-hypervisor", str(ports[Side.HYPERVISOR])),
        ]
        right = await _ran("replay", str(HOT_ADD), *words, where=where)
        differs = await _ran("replay", str(wrong), *words, where=where)
    assert right[0] == 0, right
    assert differs[0] == 1
    assert differs[1].splitlines()[1:] == [
        "  the file says: Hypervisor SECURE, Ultravisor SECURE",
        "  seen:          Hypervisor NORMAL, Ultravisor SECURE",
    ]


async def _ran(*words: str, where: dict[str, str]) -> tuple[int | None, str]:
    """Run `pef` while this process's event loop goes on; return its status and what it says of faults."""
    process = await asyncio.create_subprocess_exec(
        str(PEF), *words, env=where, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    return process.returncode, said.decode()
