"""`pef explore`, `pef simulate` and `pef step`, as they are typed. Each imports its work when it runs."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pef_lab import options as given
from pef_lab.failures import WrongInput

STEPS: Final = 600
"""Actions of a seed."""
SERVICES: Final = ("pef_ultravisor", "pef_hypervisor")


def explore(
    design: given.DesignNames = None,
    slots: given.Slots = "2,1",
    vcpus: given.Vcpus = 1,
    calls: given.Calls = 2,
    faults: given.Faults = 0,
    wire: given.Wire = "once",
    lost_answers: given.LostAnswers = 0,
    late: given.Late = 0,
    deaths: given.Deaths = 0,
    destroys: given.Destroys = 0,
    guest_waits: given.GuestWaits = False,
    extras: given.With = "",
    limit: given.Limit = 0,
    minutes: given.Minutes = 0,
    state: given.State = None,
    json_file: given.JsonFile = None,
    keep: given.Keep = None,
    processes: given.Processes = None,
    scheduler: given.Scheduler = None,
) -> None:
    """Explore every interleaving of a small VM under each design, and print which invariants are violated."""
    _require_services()
    from pef_explorer.plan import Delivery, Troubles
    from pef_explorer.search.command import explore_designs, extras_of, slots_of
    from pef_explorer.search.exploration import Bounds

    troubles = Troubles(lost_answers, late, deaths, destroys)
    system = slots_of(slots), vcpus, calls, faults
    bounds = Bounds(
        *system,
        limit,
        minutes * 60,
        troubles,
        Delivery(wire),
        guest_waits,
        extras_of(extras),
    )
    explore_designs(design, bounds, state, json_file, keep, processes, scheduler)


def simulate(
    seeds: given.Seeds = None,
    first: given.FirstSeed = 1,
    design: given.DesignNames = None,
    processes: given.Processes = None,
    scheduler: given.Scheduler = None,
    steps: given.Steps = STEPS,
    json_file: given.JsonFile = None,
    keep: given.Keep = None,
    file: given.FailureFile = None,
) -> None:
    """Simulate systems of 4 VMs at random, with lost, delayed and doubled messages, and judge every step.

    One design is run: tracked, where --design names none.
    """
    _require_services()
    from pef_explorer.simulation.command import simulate_design

    keep = keep or Path()
    simulate_design(seeds, first, design, processes, scheduler, steps, json_file, keep, file)


def step(
    file: given.SteppedFile = None,
    design: given.DesignNames = None,
    image: given.Image = "brought,unmigrated",
    plug: given.Plug = 1,
    vcpus: given.Vcpus = 1,
    extras: given.With = "",
    save: given.SaveSession = None,
) -> None:
    """Step through a small VM: make any next move, go back, go on otherwise, and see what it breaks.

    Both services' own code runs in this process. The screen shows what each side has noted of every GFN, the
    calls as they nest, what can happen now, and each invariant. FILE is a counterexample, whose steps j goes
    along, or a session that --save wrote; with --design its moves are made on that design, as far as they
    can be. Without FILE a new VM is made, of the design that --design names: tracked, where it names none.

    Keys: j forward, k back, 1 2 ... a move, f the same moves on another design, ? all keys, q quit. Where
    standard input is no terminal its lines are the keys: `echo jjk | pef step FILE`.
    """
    _require_services()
    from pef_explorer.search.command import extras_of
    from pef_explorer.stepping.command import step as stepped

    stepped(file, design, image, plug, vcpus, extras_of(extras), save)


def _require_services() -> None:
    """Raise WrongInput where the services are not installed, whose own code is explored."""
    if missing := [name for name in SERVICES if find_spec(name) is None]:
        raise WrongInput(f"{' and '.join(missing)} not installed: this command takes pef-lab[explorer]")
