"""`pef hostile`: a sound pair holds against every attack, a faulty one does not, and both are told apart."""

import asyncio
import json
import os
import signal
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mutants.served import served
from pef_lab.between.wire import SECURE_MEMORY, Ports
from pef_lab.cli import app
from pef_lab.endpoints import Endpoints, variable_of
from pef_lab.hostile.attack import Attack
from pef_lab.hostile.catalogue import ATTACKS, NOT_TRIED
from pef_lab.hostile.command import attacked
from pef_lab.hostile.trial import Outcome, Trial
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.pair import Pair, PairPlan, started
from pef_lab.ports import free_ports
from pef_lab.service_process import LIVE
from scenarios.pef_command import PEF, environment, pef

pytestmark = [pytest.mark.sockets, pytest.mark.slow]


def report_in(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


@pytest.mark.verify
def test_a_sound_pair_holds_against_every_attack(tmp_path: Path) -> None:
    """Given a sound pair.

    When `pef hostile` tries each attack,
    then each is held, and the report says of each what was seen.
    """
    file = tmp_path / "report.json"
    ran = pef("hostile", "--json", file, runtime=tmp_path)
    assert ran.returncode == 0, ran.stdout
    report = report_in(file)
    assert [(row["attack"], row["tried"]) for row in report["attacks"]] == [
        (attack.number, attack.tried) for attack in ATTACKS
    ]
    assert {row["outcome"] for row in report["attacks"]} == {"held"}
    assert all(row["observations"] for row in report["attacks"])
    assert {row["attack"] for row in report["not_tried"]} == set(NOT_TRIED)
    assert f"{len(ATTACKS)} held" in ran.stdout
    how_long, *each = ran.stderr.splitlines()
    assert how_long.startswith("this takes about ")
    assert [line.partition(" of ")[0] for line in each] == [
        str(number) for number in range(1, len(ATTACKS) + 1)
    ]


@pytest.mark.parametrize(
    ("mutant", "attacks", "broken", "seen"),
    [
        ("D2b", (5, 35), {35}, "image in the guest: other bytes"),
        ("D11", (11, 18), {18}, "guest's pages: "),
        ("D14", (2, 17), {17}, "guest's page 0x0: other bytes"),
    ],
)
def test_a_fault_is_seen_by_the_attack_that_it_lets_in(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    mutant: str,
    attacks: tuple[int, ...],
    broken: set[int],
    seen: str,
) -> None:
    """Given a pair that bears a mutant.

    When `pef hostile` tries two attacks,
    then only the attack that the mutant lets in is BROKEN, and the report says what was seen.
    """
    file = tmp_path / "report.json"
    words = [word for number in attacks for word in ("--id", str(number))]
    with served(mutant):
        assert app.run(["hostile", "--json", str(file), *words]) == 1
    rows = report_in(file)["attacks"]
    assert {row["attack"] for row in rows} == set(attacks)
    assert {row["attack"] for row in rows if row["outcome"] != "held"} == broken
    wrong = [
        f"{observe['what']}: {observe['seen']}"
        for row in rows
        for observe in row["observations"]
        if not observe["ok"]
    ]
    assert any(each.startswith(seen) for each in wrong), wrong
    assert "BROKEN" in capsys.readouterr().out


def standing(ports: tuple[int, int]) -> PairPlan:
    """Return a pair that maps normal memory, whose services call each other at `ports`."""
    return PairPlan(
        SECURE_MEMORY,
        NormalMemoryForm.SHM,
        until=LIVE,
        ultravisor_called_at=f"http://127.0.0.1:{ports[0]}",
        hypervisor_called_at=f"http://127.0.0.1:{ports[1]}",
    )


async def ran(pair: Pair, ports: tuple[int, int], runtime: Path, *words: str, **instead: str) -> Any:
    """Attack a running pair; return status, output, and what was said of faults."""
    tokens = {variable_of(f"{role}_token"): token for role, token in pair.visor_tokens.items()}
    where = environment(runtime) | pair.endpoints.environment | tokens | instead
    between = ("--between-ultravisor", str(ports[0]), "--between-hypervisor", str(ports[1]))
    process = await asyncio.create_subprocess_exec(
        *(str(PEF), "hostile", *between, *words),
        env={name: value for name, value in where.items() if value},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.verify
async def test_a_running_pair_is_attacked_and_what_cannot_be_is_one_clear_line(tmp_path: Path) -> None:
    """Given a pair that runs.

    When `pef hostile` is given its URLs, or wrong ones,
    then it attacks that pair, or ends with status 2 and one line without a token.
    """
    first, second, elsewhere, nowhere = free_ports(4)
    ports = first, second
    async with started(standing(ports)) as pair:
        words = [word for number in (1, 15, 18, 21, 44) for word in ("--id", str(number))]
        held = await ran(pair, ports, tmp_path, *words)
        assert held[0] == 0, held
        assert "21 not tried: hypercalls are never answered" in held[1]
        for wrong, says in (
            ({variable_of("hypervisor_token"): ""}, "set PEF_HYPERVISOR_TOKEN"),
            ({variable_of("hypervisor_token"): "0" * 64}, "HTTP status 401"),
            ({variable_of("ultravisor_token"): "0" * 64}, "HTTP status 401"),
            ({variable_of("ultravisor_url"): f"http://127.0.0.1:{nowhere}"}, "no answer"),
        ):
            refused = await ran(pair, ports, tmp_path, "--id", "1", **wrong)
            assert (refused[0], refused[1]) == (2, ""), (wrong, refused)
            assert refused[2].startswith("pef: ")
            assert says in refused[2]
            assert refused[2].count("\n") == 1
            assert all(token not in refused[2] for token in pair.visor_tokens.values())
        absent = await ran(pair, (elsewhere, second), tmp_path, "--id", "1")
        assert absent[0] == 2, absent
        assert absent[2].startswith("pef: ")


@pytest.mark.verify
async def test_a_service_that_dies_is_neither_held_nor_broken() -> None:
    """Given an Ultravisor that is killed during an attack.

    When the attacks go on,
    then that attack and the next are trouble, neither held nor broken.
    """
    first, second = free_ports(2)
    async with started(standing((first, second))) as pair:

        async def kill(at: Trial) -> None:
            async with at.vm():
                os.kill(pair.ultravisor.pid, signal.SIGKILL)
                at.saw("nothing wrong", "so far", "so far")

        deadly = Attack(1, "the Ultravisor is killed", kill)
        endpoints = replace(
            pair.endpoints,
            **{f"{role}_token": token for role, token in pair.visor_tokens.items()},
        )
        quiet = Console(quiet=True)
        rows = await attacked(Ports(endpoints, first, second), 0, (deadly, ATTACKS[0]), quiet)
    assert [row.outcome for row in rows] == [Outcome.TROUBLE, Outcome.TROUBLE]
    assert all("no answer" in row.trial.trouble for row in rows)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--id", "99"], "--id: 99 is not tried: there is no such row"),
        (["--id", "24"], "--id: 24 is not tried: no hypercall of a guest is reflected"),
        (["--give-up", "nan"], "--give-up"),
        (["--bind", "127.0.0.2"], "takes --between-ultravisor"),
        (
            ["--between-ultravisor", "1", "--between-hypervisor", "2"],
            "takes --ultravisor-url and --hypervisor-url",
        ),
        (["--json", "/no/such/directory/file"], "/no/such/directory/file: No such file"),
    ],
)
def test_wrong_input_is_one_clear_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given options that cannot be.

    When `pef hostile` is run,
    then it ends with status 2 and one line that says why.
    """
    for part in fields(Endpoints):
        monkeypatch.delenv(variable_of(part.name), raising=False)
    assert app.run(["hostile", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1
