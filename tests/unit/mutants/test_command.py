"""`python -m pef_mutants` lists the mutants, explores with them, and keeps up a pair that has one."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pef_lab.cli import app as cli
from pef_lab.endpoints import Endpoints, find_endpoints
from pef_lab.failures import Refusal
from pef_lab.pair import PairPlan, started
from pef_lab.replay.counterexample import read
from pef_lab.vmm import Vmm
from pef_mutants.__main__ import app, line_of
from pef_mutants.all_mutants import APPLICABLE
from pef_protocol.designs import Design
from scenarios.pef_command import environment

FAULT = "hv/outside-is-zero"


def test_each_mutant_is_listed_with_its_side_and_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([]) == 0
    listed = [re.split(r"  +", line, maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert listed == [[each.id, each.side.capitalize(), each.sentence] for each in APPLICABLE.values()]


def test_it_explores_with_a_mutant_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mutant is in every process, and in this one only while it explores."""
    report, kept = tmp_path / "report.json", tmp_path / "kept"
    words = ["--design", "pushed-fixed", "--slots", "1", "--limit", "3500"]
    assert app.run(["explore", "D12", *words, "--json", str(report), "--keep", str(kept)]) == 1
    found = json.loads(report.read_text())
    assert found["command"].startswith("python -m pef_mutants explore D12 --design pushed-fixed")
    assert "a_page_in_gives_back_the_page_out" in capsys.readouterr().out
    assert {read(file).mutant for file in kept.iterdir()} == {"D12"}
    assert cli.run(["explore", *words]) == 0


def test_a_name_that_no_mutant_has_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["serve", FAULT, "K99"]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (
        "",
        "pef: no such mutant: K99; `python -m pef_mutants` lists them\n",
    )


def test_the_page_quotes_what_is_printed_first() -> None:
    page = (Path(__file__).parents[3] / "docs" / "mutants.md").read_text(encoding="utf-8")
    assert f"$ .venv/bin/python -m pef_mutants serve K4\n{line_of(APPLICABLE['K4'])}\n" in page


async def first_page(endpoints: Endpoints) -> bytes:
    """Return what the VMM reads of a VM that has no memory."""
    async with Vmm(endpoints) as vmm:
        return await vmm.read(await vmm.create(Design.TRACKED), 0, 8)


@pytest.mark.sockets
@pytest.mark.slow
async def test_a_pair_has_the_fault_that_its_plan_names_and_a_pair_without_has_none() -> None:
    async with started(PairPlan(1 << 26, mutants=(FAULT,))) as pair:
        assert await first_page(pair.endpoints) == bytes(8)
    async with started(PairPlan(1 << 26)) as pair:
        with pytest.raises(Refusal):
            await first_page(pair.endpoints)


@contextmanager
def served(runtime: Path, name: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `python -m pef_mutants serve` and yield it with what it has printed, once it has printed all."""
    words = [sys.executable, "-m", "pef_mutants", "serve", name]
    with subprocess.Popen(words, env=environment(runtime), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            printed = ""
            while "Ctrl-C" not in printed:
                line = process.stdout.readline()
                assert line, printed
                printed += line
            yield process, printed
        finally:
            process.terminate()


@pytest.mark.sockets
@pytest.mark.slow
def test_a_pair_with_a_fault_is_kept_up_until_a_signal_and_others_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path, FAULT) as (process, printed):
        assert printed.startswith(f"{line_of(APPLICABLE[FAULT])}\n")
        tokens = Path(re.findall(r"kept in (\S+),", printed)[0])
        for name, value in re.findall(r"(PEF_\w+)=(\S+)", tokens.read_text()):
            monkeypatch.setenv(name, value)
        endpoints = find_endpoints()
        assert endpoints is not None
        assert asyncio.run(first_page(endpoints)) == bytes(8)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert not tokens.exists()
