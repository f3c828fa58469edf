"""`pef explore` and `pef simulate`, as they are typed. Each imports what it works with when it runs."""

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


def _require_services() -> None:
    """Raise WrongInput where the services are not installed, whose own code is explored."""
    if missing := [name for name in SERVICES if find_spec(name) is None]:
        raise WrongInput(f"{' and '.join(missing)} not installed: this command takes pef-lab[explorer]")
