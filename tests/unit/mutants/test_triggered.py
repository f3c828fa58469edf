"""Mutants in the linked pair: everyday life goes on with each, and a trigger brings out what hides.

Nobody honest does what a trigger does, and beside sound code nothing comes of it.
"""

from collections.abc import Callable
from functools import cache

import pytest

from harness.linked import LinkedPair, seeded
from pef_hypervisor.outcome import Errno
from pef_lab.image import GuestImage, build_image
from pef_mutants.registry import MUTANTS
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE, Gfn, Gpa, Lpid, gpa_of
from pef_protocol.states import HvGfnState, UvGfnState
from pef_protocol.ultracalls import Esm, SharePage, UnshareAllPages
from pef_ultravisor.access import AccessFailure
from pef_ultravisor.dispatch import guest_load
from pef_ultravisor.machine_key import MachineKey
from pef_ultravisor.memory.sealing import KEY_BYTES

pytestmark = pytest.mark.verify

SEED = 5
MEMORY = 16 << 20


@cache
def image() -> GuestImage:
    key = MachineKey.generate(seeded(SEED)(KEY_BYTES))
    return build_image(
        memory_size=MEMORY,
        machine_public_key=key.public_bytes,
        bootargs="mutants",
        files={},
        seed=1,
        kernel_size=2 * PAGE_SIZE,
        initrd_size=PAGE_SIZE,
    )


class Booted(LinkedPair):
    """A pair with one VM whose image is loaded."""

    def __init__(self, design: Design = Design.TRACKED) -> None:
        super().__init__(seed=SEED)
        created = self.run(self.hv.create_vm(design, secure_guest=True, radix=True))
        self.lpid = Lpid(created.outputs["lpid"])
        assert self.run(self.hv.add_slot(self.lpid, 0, 0, MEMORY)).errno is Errno.OK
        for piece in image().layout:
            assert self.run(self.hv.host_write(self.lpid, piece.gpa, piece.content)).errno is Errno.OK

    def esm(self) -> str:
        """Call UV_ESM as the VM's kernel."""
        return self.guest_call(self.lpid, "UV_ESM", Esm(image().kernel_base, image().fdt_address)).code.name

    def finds(self, gpa: int, content: bytes) -> bool:
        """Tell whether the guest finds `content` at `gpa`."""
        try:
            return bytes(self.run(guest_load(self.uv, self.lpid, Gpa(gpa), len(content)))) == content
        except AccessFailure:
            return False

    def states(self, gpa: int) -> tuple[str, str, str]:
        """Return the state of the VM to the Hypervisor, and of the GFN at `gpa` to either side."""
        vm, svm = self.hv.store.vms[self.lpid], self.uv.svms[self.lpid]
        own, theirs = vm.slots.holding(gpa // PAGE_SIZE), svm.slots.holding(gpa // PAGE_SIZE)
        assert own is not None
        assert theirs is not None
        at = gpa // PAGE_SIZE - own.first
        return vm.state.name, HvGfnState(int(own.state[at])).name, UvGfnState(int(theirs.state[at])).name


@pytest.mark.parametrize("design", [Design.TRACKED, Design.PUSHED])
@pytest.mark.parametrize("name", MUTANTS)
def test_everyday_life_goes_on_with_a_mutant(name: str, design: Design) -> None:
    with MUTANTS[name].applied():
        pair = Booted(design)
        assert pair.esm() == "U_SUCCESS"
        assert pair.finds(image().kernel_base, image().kernel)
        assert pair.broken() == []
        assert pair.run(pair.hv.reset(pair.lpid)).errno is Errno.OK


def the_guest_reads_its_blob() -> object:
    pair, gpa = Booted(), image().esm_blob_address
    return pair.esm(), pair.states(gpa), pair.finds(gpa, image().esm_blob)


def both_sides_call_it_shared_or_neither() -> object:
    pair, gfn = Booted(), 3
    entered = pair.esm()
    pair.guest_call(pair.lpid, "UV_SHARE_PAGE", SharePage(Gfn(gfn), 1))
    _, own, theirs = pair.states(gpa_of(Gfn(gfn)))
    return entered, own == theirs


def a_paged_out_page_is_shared_that_never_came_back() -> object:
    pair, gfn = Booted(), 3
    pair.esm()
    pair.run(pair.hv.host_read(pair.lpid, gpa_of(Gfn(gfn)), 8))
    imported: list[str] = []
    pair.witness = lambda ask, _: imported.append(ask.name)
    code = pair.guest_call(pair.lpid, "UV_SHARE_PAGE", SharePage(Gfn(gfn), 1)).code
    return code.succeeded and imported.count("UV_PAGE_IN") == 1


def the_host_denies_its_vm_to_be_secure() -> object:
    pair = Booted()
    vm = pair.hv.store.vms[pair.lpid]
    vm.secure_guest = False
    return pair.esm(), vm.state.name, pair.hv.store.pool.held, pair.uv.svm(pair.lpid) is None


def a_secure_vm_unshares_all() -> object:
    pair = Booted()
    entered = pair.esm()
    unshared = pair.guest_call(pair.lpid, "UV_UNSHARE_ALL_PAGES", UnshareAllPages()).code.name
    return entered, unshared, pair.states(image().kernel_base)


def the_guest_reads_its_kernel() -> object:
    pair = Booted()
    return pair.esm(), pair.finds(image().kernel_base, image().kernel), pair.states(image().kernel_base)


SECURE = ("SECURE", "SECURE", "SECURE")


@pytest.mark.parametrize(
    ("name", "fixture", "sound", "faulty"),
    [
        (
            "D2b",
            the_guest_reads_its_blob,
            ("U_SUCCESS", SECURE, True),
            ("U_SUCCESS", SECURE, False),
        ),
        ("D8", both_sides_call_it_shared_or_neither, ("U_SUCCESS", True), ("U_SUCCESS", False)),
        ("D11", a_paged_out_page_is_shared_that_never_came_back, False, True),
        (
            "K1",
            the_host_denies_its_vm_to_be_secure,
            ("U_STATE", "NORMAL", 0, True),
            ("U_STATE", "SECURE", MEMORY // PAGE_SIZE, False),
        ),
        (
            "K3",
            a_secure_vm_unshares_all,
            ("U_SUCCESS", "U_SUCCESS", SECURE),
            ("U_SUCCESS", "U_SUCCESS", ("TRANSIENT", "NORMAL", "SECURE")),
        ),
        (
            "K10",
            the_guest_reads_its_kernel,
            ("U_SUCCESS", True, SECURE),
            ("U_SUCCESS", True, ("SECURE", "PAGED_OUT", "SECURE")),
        ),
    ],
)
def test_only_mutant_and_trigger_together_are_seen(
    name: str, fixture: Callable[[], object], sound: object, faulty: object
) -> None:
    mutant = MUTANTS[name]
    assert fixture() == sound
    with mutant.applied():
        assert fixture() == sound
    with mutant.triggered():
        assert fixture() == sound
        with mutant.applied():
            assert fixture() == faulty
