"""The `pef` command: parses what was typed, and hands over. Everything it does is done elsewhere.

A command imports what it works with when it runs, so that help and mistakes are answered at once.
"""

from pathlib import Path
from typing import Annotated, Final

import typer

from pef_lab import options as given
from pef_lab.commandline import FAILED, Command
from pef_lab.failures import WrongInput
from pef_lab.lazy import FoundCommands
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.numbers import number
from pef_lab.output import must_be_writable
from pef_lab.signals import run, run_until_ended
from pef_lab.version import version_line
from pef_protocol.events import Side

REQUEST_SECONDS: Final = 15.0
"""Seconds that one request of a protocol row may take."""

app: Final = Command(
    cls=FoundCommands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
images: Final = typer.Typer(help="Guest images.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(images, name="image")
tokens: Final = typer.Typer(help="Tokens.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(tokens, name="token")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version_line())
        raise typer.Exit


@app.callback()
def pef(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show version and commit."),
    ] = False,
) -> None:
    """Two visors over HTTP: start them, tour them, and see what each design of page-in cost and broke."""


@tokens.callback()
def tokens_of() -> None:
    """Mint tokens."""


@app.command()
def up(
    normal_memory: given.NormalMemory = NormalMemoryForm.SHM,
    secure_memory: given.SecureMemory = "16GiB",
    ultravisor_port: given.UltravisorPort = 0,
    hypervisor_port: given.HypervisorPort = 0,
    for_tests: given.ForTests = False,
) -> None:
    """Start both services on loopback and keep them up until Ctrl-C."""
    from pef_lab.sizes import parse_size

    secure = parse_size(secure_memory, "--secure-memory")
    from pef_lab.keeping import keep_up
    from pef_lab.pair import PairPlan
    from pef_lab.tables import console_for

    plan = PairPlan(secure, normal_memory, ultravisor_port=ultravisor_port, hypervisor_port=hypervisor_port)
    run_until_ended(keep_up(plan, console_for(), for_tests=for_tests))


@app.command()
def down() -> None:
    """Stop the services that `pef up` keeps up."""
    from pef_lab import standing

    standing.take_down(standing.standing_file())
    typer.echo("both services are down")


@app.command()
def demo(
    normal_memory: given.NormalMemory = NormalMemoryForm.SHM,
    ultravisor_url: given.UltravisorUrl = None,
    hypervisor_url: given.HypervisorUrl = None,
    section: given.Section = None,
    pause: given.WithPauses = False,
) -> None:
    """Give the tour: one VM's life as both visors see it, then the designs. Under a minute without pauses.

    Its sections: 1 both services, 2 a normal VM, 3 UV_ESM, 4 one page in two views, 5 out and in, 6 sharing,
    7 hot-plug, 8 reboot, 9 UV_ESM again, 10 the designs. With --section the ones before it are done, and not
    shown.
    """
    from pef_lab.endpoints import find_endpoints

    endpoints = find_endpoints(ultravisor_url=ultravisor_url, hypervisor_url=hypervisor_url)
    from pef_lab.tables import console_for
    from pef_lab.tour import tour

    console = console_for()
    from pef_lab.waiting import enter

    goes_on = enter(console) if pause else None
    guided = tour(
        console, console_for(errors=True), normal_memory, endpoints, section=section, goes_on=goes_on
    )
    wrong = run(guided)
    console.print()
    if wrong:
        console.print("[bold red]Not all came out as it should:[/]")
        for each in wrong:
            console.print(f"  ✘ {each}", markup=False)
        raise typer.Exit(FAILED)
    last = "All came out as it should: what must hold holds, and what broke in 2020 breaks here."
    if section is not None:
        last = f"All came out as it should in section {section}."
    console.print(last, style="bold green")


@app.command()
def designs(
    size: given.Size = "1GiB",
    touched: given.Touched = "32MiB",
    design: given.DesignNames = None,
    json_file: given.JsonFile = None,
    trace_file: given.TraceFile = None,
    normal_memory: given.NormalMemory = NormalMemoryForm.SHM,
    ultravisor_url: given.UltravisorUrl = None,
    hypervisor_url: given.HypervisorUrl = None,
) -> None:
    """Run the designs side by side, on a fresh pair each, and say what was seen."""
    from pef_lab.endpoints import find_endpoints
    from pef_lab.known_designs import GROUPS, chosen_designs
    from pef_lab.sizes import parse_size
    from pef_protocol.designs import SHOWN

    chosen = tuple(chosen_designs(design or SHOWN, GROUPS))
    sizes = parse_size(size, "--size"), parse_size(touched, "--touched")
    for file in (json_file, trace_file):
        must_be_writable(file)
    endpoints = find_endpoints(ultravisor_url=ultravisor_url, hypervisor_url=hypervisor_url)
    from pef_lab.comparing import compare
    from pef_lab.designs.run import Ordered

    title = f"pef designs --size {size} --touched {touched}"
    compare(Ordered(chosen, *sizes), endpoints, normal_memory, json_file, trace_file, title)


@app.command(name="trace")
def show_trace(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recorded run or a counterexample.")],
    as_mermaid: given.AsMermaid = False,
) -> None:
    """Print a recorded run, or a counterexample, as a sequence of calls."""
    from pef_lab.showing import show_recorded

    show_recorded(file, as_mermaid=as_mermaid)


@app.command(name="replay")
def replay_counterexample(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A counterexample.")],
    ultravisor_url: given.UltravisorUrl = None,
    hypervisor_url: given.HypervisorUrl = None,
    between_ultravisor: given.BetweenUltravisor = None,
    between_hypervisor: given.BetweenHypervisor = None,
) -> None:
    """Play a counterexample over HTTP, on a pair of its own or a running one, and compare what is seen."""
    from pef_lab.between.wire import ports_of
    from pef_lab.replay.command import replay
    from pef_lab.tables import console_for

    ports = ports_of(ultravisor_url, hypervisor_url, between_ultravisor, between_hypervisor)
    raise typer.Exit(replay(file, ports, console_for(), console_for(errors=True)))


@app.command()
def rows(
    ultravisor_url: given.UltravisorUrl = None,
    hypervisor_url: given.HypervisorUrl = None,
    peer_port: given.PeerPort = None,
    bind: given.Bind = None,
    ids: given.Ids = None,
    json_file: given.JsonFile = None,
    junit: given.JunitFile = None,
    waive: given.Waivers = None,
    request_seconds: given.RequestSeconds = REQUEST_SECONDS,
    listed: given.Listed = False,
) -> None:
    """Play the protocol rows against a pair, or one side alone, and say which promises are kept."""
    from pef_lab.rows.command import rows as run_rows

    run_rows(
        ultravisor_url, hypervisor_url, peer_port, bind, ids, json_file, junit, waive, request_seconds, listed
    )


@app.command()
def hostile(
    ultravisor_url: given.UltravisorUrl = None,
    hypervisor_url: given.HypervisorUrl = None,
    between_ultravisor: given.BetweenUltravisor = None,
    between_hypervisor: given.BetweenHypervisor = None,
    bind: given.Bind = None,
    give_up: given.GiveUp = 0,
    ids: given.Ids = None,
    json_file: given.JsonFile = None,
) -> None:
    """Stand between both services as a Hypervisor that lies, and try the attacks of the catalogue."""
    from pef_lab.hostile.command import hostile as tried

    between = (between_ultravisor, between_hypervisor)
    tried(ultravisor_url, hypervisor_url, *between, bind, give_up, ids, json_file)


@tokens.command()
def guest(
    lpid: Annotated[int, typer.Argument(metavar="LPID", parser=number(1), help="The VM.")],
    endpoint: Annotated[Side, typer.Option(help="Where the token is to be shown.")] = Side.ULTRAVISOR,
    problem_state: given.ProblemState = False,
    ultravisor_url: given.UltravisorUrl = None,
    hypervisor_url: given.HypervisorUrl = None,
) -> None:
    """Print the token of a guest: the endpoint is asked which VM has the lpid now. It is good for that VM."""
    from pef_lab.endpoints import find_endpoints

    needs = frozenset({f"{endpoint}_url", f"{endpoint}_guest_key", "observer_token"})
    endpoints = find_endpoints(needs=needs, ultravisor_url=ultravisor_url, hypervisor_url=hypervisor_url)
    if endpoints is None:
        raise WrongInput("whose guest? Set what `pef up` wrote, or give --ultravisor-url or --hypervisor-url")
    from pef_lab.minting import token_of_vm

    typer.echo(run(token_of_vm(endpoints, endpoint, lpid, problem_state=problem_state)))


@images.command()
def build(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the image's files go.")],
    size: given.Size = "1GiB",
    machine_key: given.MachineKey = None,
    bootargs: given.Bootargs = "console=hvc0 svm=on",
    attach: given.Attached = None,
    image_seed: given.ImageSeed = 1,
    ultravisor_url: given.UltravisorUrl = None,
) -> None:
    """Build a guest: device tree, kernel, initrd, and an ESM blob sealed to one machine."""
    from pef_lab.building import build_into

    build_into(directory, size, machine_key, bootargs, attach or (), image_seed, ultravisor_url)
