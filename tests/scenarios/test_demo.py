"""The tour: everything comes out as it should. How long it takes is for the benchmarks."""

from pathlib import Path

import pytest

from scenarios.pef_command import pef

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

CHAPTERS = (
    *("Two visors, two processes", "A normal VM", "UV_ESM: the VM becomes secure", "One page, two views"),
    *("Out and in", "Sharing a page", "Memory hot-plug", "Reboot", "And again"),
    "Five designs, one question, one repair",
)


def test_the_demo_ends_well(tmp_path: Path) -> None:
    ran = pef("demo", runtime=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    places = [ran.stdout.index(f". {chapter}") for chapter in CHAPTERS]
    assert places == sorted(places)
    told = ran.stdout[: places[-1]]
    assert told.count("✔") > 40
    assert "✘" not in told
    assert "in the host's eyes" in told
    assert "All came out as it should" in ran.stdout


def test_a_pair_that_is_half_named_is_one_clear_line(tmp_path: Path) -> None:
    ran = pef("demo", "--ultravisor-url", "http://127.0.0.1:9", runtime=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(
        "pef: a running pair is named, but not all that it takes: set PEF_HYPERVISOR_URL"
    )
    assert ran.stderr.count("\n") == 1
