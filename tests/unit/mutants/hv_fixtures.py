"""One fixture per mutant of the Hypervisor: what is done, and what can be seen of it.

The Ultravisor beside it is scripted, so it may refuse.
"""

from collections.abc import Callable, Mapping
from typing import Final

from harness.held import Held
from harness.hypervisor_fixtures import HypervisorUnderTest
from harness.scripted_peer import first, honest, refuse
from harness.scripted_ultravisor import refuse_gfns
from pef_hypervisor.outcome import Outcome
from pef_protocol.codes import UCode


def begun(*, secure: bool = False) -> HypervisorUnderTest:
    """Return a VM that wrote `text` into GFN 0, which the Ultravisor has asked for."""
    world = HypervisorUnderTest()
    world.write(0, b"text")
    world.init_start()
    world.page_in((0, 1))
    if secure:
        world.init_done()
    return world


def gfn(world: HypervisorUnderTest) -> tuple[str, str, int]:
    """Tell what GFN 0 is to the Hypervisor and to the Ultravisor, and how many device pages are in use."""
    return world.states()[0], world.uv.pages.get(0, ("-", b""))[0], world.used


def read(world: HypervisorUnderTest) -> str:
    """Tell what the host finds in GFN 0."""
    seen = world.read(0, 4)
    if isinstance(seen, Outcome):
        return seen.errno.name
    return {b"text": "text", bytes(4): "zero"}.get(seen, "other")


def k1() -> object:
    world = HypervisorUnderTest(secure_guest=False)
    return world.init_start().code.name, world.init_done().code.name, world.vm.state.name


def k2() -> object:
    world = HypervisorUnderTest()
    world.plug(1, 100, 4)
    world.uv.answers("UV_REGISTER_MEM_SLOT", honest, refuse(UCode.U_P3))
    code = world.init_start().code.name
    return code, sorted(world.uv.slots), [slot.slot_id for slot in world.vm.slots if slot.registered]


def k3() -> object:
    world = begun(secure=True)
    return world.init_start().code.name, world.vm.state.name, gfn(world)


def k4() -> object:
    world = HypervisorUnderTest()
    world.write(0, b"text")
    world.init_start()
    world.uv.answers("UV_PAGE_IN", refuse(UCode.U_P2))
    return world.page_in((0, 1)).code.name, gfn(world), world.page_in((0, 1)).code.name


def k5() -> object:
    world = begun()
    world.uv.answers("UV_PAGE_IN", refuse(UCode.U_P2))
    return world.share((0, 1)).code.name, gfn(world)


def k6() -> object:
    world = begun()
    world.uv.answers("UV_PAGE_OUT", refuse_gfns(UCode.U_STATE, 0))
    world.uv.answers("UV_SVM_TERMINATE", refuse(UCode.U_PERMISSION))
    return world.init_abort().code.name, world.vm.state.name, world.uv.known, world.states()[0], world.used


def k8() -> object:
    world = HypervisorUnderTest()
    world.uv.answers("UV_REGISTER_MEM_SLOT", refuse(UCode.U_BUSY))
    return world.init_start().code.name, world.slot.registered, sorted(world.uv.slots)


def k9() -> object:
    world = begun(secure=True)
    world.uv.answers("UV_REGISTER_MEM_SLOT", refuse(UCode.U_P3))
    return world.plug(1, 100, 4).errno.name, world.vm.slots.get(1) is not None, sorted(world.uv.slots)


def k10() -> object:
    world = begun()
    return world.page_in((0, 1)).code.name, gfn(world)


def k11() -> object:
    world = begun(secure=True)
    world.uv.answers("UV_SVM_TERMINATE", refuse(UCode.U_PERMISSION))
    return world.reset().errno.name, world.states()[0], world.vm.state.name, world.vm.must_abort


def k13() -> object:
    world = HypervisorUnderTest()
    world.init_start()
    world.share((0, 1))
    return world.unmap(0).errno.name, "UV_PAGE_INVAL" in world.uv.names


def k14() -> object:
    world = begun(secure=True)
    world.page_out((0, 1))
    return world.reset().errno.name, read(world)


def k15() -> object:
    world = begun()
    world.page_out((0, 1))
    return world.init_abort().code.name, world.vm.state.name, read(world)


def k16() -> object:
    world = begun()
    world.page_out((0, 1))
    return world.page_in((0, 1)).code.name, gfn(world)


def k17() -> object:
    world = HypervisorUnderTest()
    world.init_start()
    unmapping: list[Held[Outcome]] = []
    over: list[bool] = []

    def unmap_meanwhile(_: object) -> None:
        unmapping.append(world.start(world.hv.unmap(world.lpid, 0, 1)))
        over.append(unmapping[0].ended)

    world.uv.answers("UV_PAGE_IN", first(unmap_meanwhile))
    code = world.share((0, 1)).code.name
    return code, over, unmapping[0].finish().errno.name, world.uv.names[-1]


FIXTURES: Final[Mapping[str, tuple[Callable[[], object], object, object]]] = {
    "K1": (k1, ("H_AUTHORITY", "H_UNSUPPORTED", "NORMAL"), ("H_AUTHORITY", "H_SUCCESS", "SECURE")),
    "K2": (k2, ("H_PARAMETER", [], []), ("H_PARAMETER", [1], [])),
    "K3": (k3, ("H_STATE", "SECURE", ("S", "S", 16)), ("H_SUCCESS", "TRANSIENT", ("N", "S", 0))),
    "K4": (
        k4,
        ("H_PARAMETER", ("N", "-", 0), "H_SUCCESS"),
        ("H_PARAMETER", ("S", "-", 1), "H_PARAMETER"),
    ),
    "K5": (k5, ("H_PARAMETER", ("S", "S", 1)), ("H_PARAMETER", ("P", "S", 0))),
    "K6": (k6, ("H_STATE", "TRANSIENT", True, "N", 0), ("H_PARAMETER", "NORMAL", True, "S", 1)),
    "K8": (k8, ("H_SUCCESS", True, [0]), ("H_SUCCESS", True, [])),
    "K9": (k9, ("EINVAL", False, [0]), ("OK", True, [0])),
    "K10": (k10, ("H_PARAMETER", ("S", "S", 1)), ("H_PARAMETER", ("P", "S", 0))),
    "K11": (k11, ("EINVAL", "N", "TRANSIENT", True), ("EINVAL", "N", "SECURE", False)),
    "K13": (k13, ("OK", True), ("OK", False)),
    "K14": (k14, ("OK", "zero"), ("OK", "other")),
    "K15": (k15, ("H_PARAMETER", "NORMAL", "text"), ("H_PARAMETER", "NORMAL", "other")),
    "K16": (k16, ("H_SUCCESS", ("S", "S", 1)), ("H_SUCCESS", ("P", "S", 1))),
    "K17": (
        k17,
        ("H_SUCCESS", [False], "OK", "UV_PAGE_INVAL"),
        ("H_SUCCESS", [True], "OK", "UV_PAGE_IN"),
    ),
}
"""By mutant: the fixture, what is seen of the sound Hypervisor, and what of the faulty one."""
