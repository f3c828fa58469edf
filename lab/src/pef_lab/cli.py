"""The `pef` command: parses what was typed, and hands over. Everything it does is done elsewhere."""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Final

import typer

from pef_kit.core.designs import UnknownDesign
from pef_lab import image, standing, trace
from pef_lab.between.wire import ports_of
from pef_lab.commandline import FAILED, Command, must_be_writable, run
from pef_lab.designs.report import DesignReport, write_json
from pef_lab.designs.run import Ordered, PairSource, check, fresh_pairs, run_designs, standing_pair
from pef_lab.endpoints import find_endpoints
from pef_lab.failures import WrongInput
from pef_lab.hostile.command import hostile
from pef_lab.keeping import keep_up, machine_key_at
from pef_lab.known_designs import chosen_designs
from pef_lab.minting import token_of_vm
from pef_lab.pair import NormalMemoryForm, PairPlan
from pef_lab.progress import reporting
from pef_lab.replay import drawing
from pef_lab.replay.command import draw, replay
from pef_lab.replay.counterexample import is_counterexample
from pef_lab.replay.counterexample import read as read_counterexample
from pef_lab.rows.command import rows
from pef_lab.sequence import mermaid, steps_of
from pef_lab.sizes import parse_size, show_size
from pef_lab.tables import console_for, designs_table, faults_of, sequence_table
from pef_lab.tour import tour
from pef_lab.trace import Recording
from pef_protocol.designs import SHOWN
from pef_protocol.events import Side

app: Final = Command(
    help="Two visors over HTTP: start them, tour them, and see what each design of page-in cost and break.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
images: Final = typer.Typer(help="Guest images.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(images, name="image")
tokens: Final = typer.Typer(help="Tokens.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(tokens, name="token")


@tokens.callback()
def tokens_of() -> None:
    """Mint tokens."""


MemoryOption = Annotated[
    NormalMemoryForm,
    typer.Option(help="How the Ultravisor reaches normal memory: a shared mapping, or HTTP to its owner."),
]
UltravisorOption = Annotated[
    str | None, typer.Option(help="URL of a running Ultravisor; its tokens come from the environment.")
]
HypervisorOption = Annotated[str | None, typer.Option(help="URL of a running Hypervisor.")]


@app.command()
def up(
    normal_memory: MemoryOption = NormalMemoryForm.SHM,
    secure_memory: Annotated[str, typer.Option(metavar="SIZE", help="Secure memory.")] = "16GiB",
    ultravisor_port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0: any.")] = 0,
    hypervisor_port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0: any.")] = 0,
    for_tests: Annotated[
        bool, typer.Option("--for-tests", help="Write the tokens of the two visors into pair.env, too.")
    ] = False,
) -> None:
    """Start both services on loopback and keep them up until Ctrl-C."""
    plan = PairPlan(
        parse_size(secure_memory, "--secure-memory"),
        normal_memory,
        ultravisor_port=ultravisor_port,
        hypervisor_port=hypervisor_port,
    )
    run(keep_up(plan, console_for(), for_tests=for_tests), signal_is_end=True)


@app.command()
def down() -> None:
    """Stop the services that `pef up` keeps up."""
    standing.take_down(standing.standing_file())
    console_for().print("both services are down")


@app.command()
def demo(
    normal_memory: MemoryOption = NormalMemoryForm.SHM,
    ultravisor_url: UltravisorOption = None,
    hypervisor_url: HypervisorOption = None,
) -> None:
    """Give the tour: one VM's life as both visors see it, then the designs. Under a minute."""
    endpoints = find_endpoints(ultravisor_url=ultravisor_url, hypervisor_url=hypervisor_url)
    console = console_for()
    wrong = run(tour(console, console_for(errors=True), normal_memory, endpoints))
    console.print()
    if wrong:
        console.print("[bold red]Not all came out as it should:[/]")
        for each in wrong:
            console.print(f"  ✘ {each}", markup=False)
        raise typer.Exit(FAILED)
    last = "All came out as it should: what must hold holds, and what broke in 2020 breaks here."
    console.print(last, style="bold green")


@app.command()
def designs(
    size: Annotated[str, typer.Option(metavar="SIZE", help="Memory of the VM.")] = "1GiB",
    touched: Annotated[str, typer.Option(metavar="SIZE", help="Memory written before UV_ESM.")] = "32MiB",
    design: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Run this design; may be repeated.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report.")
    ] = None,
    trace_file: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Record every event, for `pef trace`.")
    ] = None,
    normal_memory: MemoryOption = NormalMemoryForm.SHM,
    ultravisor_url: UltravisorOption = None,
    hypervisor_url: HypervisorOption = None,
) -> None:
    """Run the designs side by side, on a fresh pair each, and say what was seen."""
    chosen = tuple(chosen_designs(design or SHOWN, {}))
    ordered = Ordered(chosen, parse_size(size, "--size"), parse_size(touched, "--touched"))
    check(ordered)
    for file in (json_file, trace_file):
        must_be_writable(file)
    endpoints = find_endpoints(ultravisor_url=ultravisor_url, hypervisor_url=hypervisor_url)
    source = standing_pair(endpoints) if endpoints else fresh_pairs(ordered.size, normal_memory)
    recording = Recording(wanted=trace_file is not None)
    reports = run(_run(ordered, source, recording))
    if json_file:
        write_json(json_file, reports)
    if trace_file:
        trace.write(trace_file, f"pef designs --size {size} --touched {touched}", recording.events)
    console = console_for()
    title = f"VM of {show_size(ordered.size)}, {show_size(ordered.touched)} touched"
    console.print(designs_table(reports, title))
    for report in reports:
        for line in faults_of(report):
            console.print(line)


@app.command(name="trace")
def show_trace(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recorded run or a counterexample.")],
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid sequence diagram.")] = False,
) -> None:
    """Print a recorded run, or a counterexample, as a sequence of calls."""
    if is_counterexample(file):
        found = read_counterexample(file)
        typer.echo("\n".join(drawing.mermaid(found))) if as_mermaid else draw(found, console_for())
        return
    header, events = trace.read(file)
    steps = steps_of(events)
    if as_mermaid:
        typer.echo("\n".join(mermaid(steps)))
        return
    console = console_for()
    console.print(header.title, style="bold", markup=False)
    console.print(sequence_table(steps, console.width))


@app.command(name="replay")
def replay_counterexample(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A counterexample.")],
    ultravisor: UltravisorOption = None,
    hypervisor: HypervisorOption = None,
    between_ultravisor: Annotated[
        int | None, typer.Option(metavar="PORT", help="Where that Hypervisor calls its Ultravisor.")
    ] = None,
    between_hypervisor: Annotated[
        int | None, typer.Option(metavar="PORT", help="Where that Ultravisor calls its Hypervisor.")
    ] = None,
) -> None:
    """Play a counterexample over HTTP, on a pair of its own or a running one, and compare what is seen."""
    ports = ports_of(ultravisor, hypervisor, between_ultravisor, between_hypervisor)
    raise typer.Exit(replay(file, ports, console_for(), console_for(errors=True)))


app.command()(rows)


@tokens.command()
def guest(
    lpid: Annotated[int, typer.Argument(metavar="LPID", min=1, help="The VM.")],
    endpoint: Annotated[Side, typer.Option(help="Where the token is to be shown.")] = Side.ULTRAVISOR,
    problem_state: Annotated[
        bool, typer.Option("--problem-state", help="For a user program of the VM, not its kernel.")
    ] = False,
    ultravisor_url: UltravisorOption = None,
    hypervisor_url: HypervisorOption = None,
) -> None:
    """Print the token of a guest: the endpoint is asked which VM has the lpid now. It is good for that VM."""
    needs = frozenset({f"{endpoint}_url", f"{endpoint}_guest_key", "observer_token"})
    endpoints = find_endpoints(needs=needs, ultravisor_url=ultravisor_url, hypervisor_url=hypervisor_url)
    if endpoints is None:
        raise WrongInput("whose guest? Set what `pef up` wrote, or give --ultravisor-url or --hypervisor-url")
    typer.echo(run(token_of_vm(endpoints, endpoint, lpid, problem_state=problem_state)))


@images.command()
def build(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the image's files go.")],
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Memory of the VM.")] = "1GiB",
    machine_key: Annotated[
        str | None, typer.Option(metavar="HEX", help="The machine's public key; else a running one is asked.")
    ] = None,
    bootargs: Annotated[str, typer.Option(help="The kernel's command line.")] = "console=hvc0 svm=on",
    file: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Attach a file to the ESM blob; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(help="What kernel, initrd and RTAS are made of.")] = 1,
    ultravisor_url: UltravisorOption = None,
) -> None:
    """Build a guest: device tree, kernel, initrd, and an ESM blob sealed to one machine."""
    key = _key(machine_key) if machine_key else run(machine_key_at(ultravisor_url))
    attached = dict(_attached(each) for each in file or ())
    try:
        built = image.build_image(
            memory_size=parse_size(memory, "--memory"),
            machine_public_key=key,
            bootargs=bootargs,
            files=attached,
            seed=seed,
        )
        image.save(built, directory)
    except ValueError as fault:
        raise WrongInput(f"no image: {fault}") from None
    except OSError as fault:
        raise WrongInput(f"{directory}: {fault.strerror}") from None
    console_for().print(
        f"{directory}: kernel at {built.kernel_base:#x}, device tree at {built.fdt_address:#x}", markup=False
    )


def _add_found(to: typer.Typer) -> None:
    """Add what other packages offer as commands; one whose needs are not installed is not there.

    Where `PEF_DESIGNS` names a design that there is not, such a command says so.
    """
    for found in entry_points(group="pef.commands"):
        try:
            command = found.load()
        except ModuleNotFoundError:
            continue
        except UnknownDesign as unknown:
            anything = {"allow_extra_args": True, "ignore_unknown_options": True}
            to.command(name=found.name, context_settings=anything)(_refusing(str(unknown)))
            continue
        to.command(name=found.name)(command)


def _refusing(reason: str) -> Callable[[], None]:
    def refuse() -> None:
        raise WrongInput(reason)

    return refuse


app.command()(hostile)
_add_found(app)


async def _run(ordered: Ordered, source: PairSource, recording: Recording) -> list[DesignReport]:
    with reporting(console_for(errors=True), len(ordered.designs)) as tell:
        return [report async for report in run_designs(ordered, source, recording, tell)]


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:  # noqa: PLR2004 - an X25519 public key
        raise WrongInput(f"--machine-key: {text!r} is not a public key of 32 bytes in hexadecimal")
    return key


def _attached(text: str) -> tuple[str, bytes]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise WrongInput(f"--file: {text!r} is not NAME=PATH")
    try:
        return name, Path(path).read_bytes()
    except OSError as fault:
        raise WrongInput(f"--file: {path}: {fault.strerror}") from None
