"""The views tell what there is."""

from harness.hypervisor_fixtures import HypervisorUnderTest
from pef_hypervisor import views
from pef_protocol.designs import Design


def started(design: Design = Design.TRACKED) -> HypervisorUnderTest:
    """Return a transient VM with S, P, H and N."""
    world = HypervisorUnderTest(design)
    world.init_start()
    world.page_in((0, 2))
    world.page_out((1, 1))
    world.share((2, 1))
    return world


def test_the_views_say_what_there_is() -> None:
    world = started()
    world.plug(1, 100, 4)
    assert world.hv.vms() == {
        "vms": [
            {
                "lpid": 1,
                "state": "TRANSIENT",
                "design": "tracked",
                "gfns": 20,
                "slots": [
                    {"slotid": 1, "first": 100, "count": 4},
                    {"slotid": 0, "first": 0, "count": 16},
                ],
                "column_bytes": 40,
            }
        ],
        "pool": {"size": 64, "used": 5},
    }
    assert views.gfns(world.run(views.states_of(world.hv.store, 1)))["slots"][1] == {
        "slotid": 0,
        "first": 0,
        "count": 16,
        "states": [[0, 1, "SECURE"], [1, 1, "PAGED_OUT"], [2, 1, "SHARED"], [3, 13, "NORMAL"]],
        "moving": 0,
    }
    assert views.gfns(world.run(views.states_of(world.hv.store, 77))) == {"lpid": 77, "slots": []}
