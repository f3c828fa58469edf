"""What the networks hold apart, tried from a container of each; tokens decide the rest."""

import json
from typing import Final

import pytest

from compose.containers import SIDES, Project, inside

TRY: Final = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def reached(door):
    side, host, port = door
    try:
        socket.create_connection((host, port), 2).close()
    except OSError:
        return None
    return side
doors = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(doors)) as threads:
    print(*sorted({side for side in threads.map(reached, doors) if side}))
"""
REACHED: Final = {
    "visors": {"ultravisor", "hypervisor"},
    "guests": {"ultravisor", "hypervisor"},
    "vmm": {"hypervisor"},
    "outside": set[str](),
}


def open_ports(pair: Project) -> list[tuple[str, str, int]]:
    """Return (side, address, port) of every door: each side's addresses in all networks, and its names."""
    found = []
    for side, port in SIDES.items():
        for name, network in pair.inspected(side)["NetworkSettings"]["Networks"].items():
            short = name.removeprefix(f"{pair.name}_")
            found += [(side, network["IPAddress"], port), (side, f"{side}.{short}", port), (side, side, port)]
    return sorted(set(found))


@pytest.mark.parametrize("network", REACHED)
def test_who_is_reached_from_a_network(pair: Project, network: str) -> None:
    """Given a pair of containers.

    When another container tries each port from one network,
    then it reaches those of that network's callers alone.
    """
    program = TRY.replace("sys.argv[1]", repr(json.dumps(open_ports(pair))))
    options = (
        f"--network={pair.name}_{network}",
        "--dns=127.0.0.1",
        "--dns-opt=timeout:1",
        "--dns-opt=attempts:1",
    )
    assert set(inside("pef-ultravisor", program, *options).split()) == REACHED[network]


@pytest.mark.parametrize("side", SIDES)
def test_the_wire_between_the_sides_is_a_network_of_theirs(pair: Project, side: str) -> None:
    """Given a pair of containers.

    When a side looks its peer up,
    then it finds the peer in the network of both.
    """
    other = next(name for name in SIDES if name != side)
    reported = pair.python(
        side, f"import os, socket; print(os.environ['PEF_PEER_URL'], socket.gethostbyname('{other}.visors'))"
    )
    url, address = reported.split()
    assert url == f"http://{other}.visors:{SIDES[other]}"
    assert address == pair.inspected(other)["NetworkSettings"]["Networks"][f"{pair.name}_visors"]["IPAddress"]
