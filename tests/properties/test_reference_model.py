"""The pair and its slow twin, driven alike by hypothesis: after every step both are compared whole."""

from functools import cache

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.linked import LinkedPair, seeded
from harness.reference_model import CIPHERTEXT, ZERO, Denied, ReferenceModel
from pef_hypervisor.checks import Refused
from pef_hypervisor.outcome import Errno, Outcome
from pef_lab.image import GuestImage, build_image
from pef_protocol.calls import Reply
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE, Gfn, Lpid, gpa_of
from pef_protocol.states import HvGfnState
from pef_protocol.ultracalls import Esm, SharePage, UnshareAllPages, UnsharePage
from pef_ultravisor.access import AccessFailure
from pef_ultravisor.dispatch import guest_load, guest_store
from pef_ultravisor.machine_key import MachineKey
from pef_ultravisor.views import state_runs

MEMORY = 16 << 20
PAGES = MEMORY // PAGE_SIZE
PLUGGED = range(PAGES, PAGES + 4)
SEED = 7
ENTRY = 0


@cache
def image() -> GuestImage:
    """Return the one guest image that all examples boot, sealed to the machine of seed SEED."""
    key = MachineKey.generate(seeded(SEED)(32))
    return build_image(
        memory_size=MEMORY,
        machine_public_key=key.public_bytes,
        bootargs="twin",
        files={},
        seed=1,
        kernel_size=2 * PAGE_SIZE,
        initrd_size=PAGE_SIZE,
    )


def gfns_of(gpa: int, size: int) -> set[int]:
    """Return the frames of an extent."""
    return set(range(gpa // PAGE_SIZE, -(-(gpa + size) // PAGE_SIZE)))


@cache
def bounce_pages() -> frozenset[int]:
    """Return where the Ultravisor puts its bounce pages: it is observed once, and then expected always."""
    pair, lpid = booted()
    assert pair.guest_call(lpid, "UV_ESM", Esm(image().kernel_base, image().fdt_address)).code == 0
    return frozenset(gfn for gfn, state in uv_states(pair, lpid).items() if state == "SHARED_IMPLICIT")


def booted() -> tuple[LinkedPair, int]:
    """Return a pair with one VM whose image is loaded."""
    pair = LinkedPair(secure_pages=4 * PAGES, seed=SEED)
    created = pair.run(pair.hv.create_vm(Design.TRACKED, secure_guest=True, radix=True))
    lpid = created.outputs["lpid"]
    assert pair.run(pair.hv.add_slot(lpid, 0, 0, MEMORY)).errno is Errno.OK
    load_image(pair, lpid)
    return pair, lpid


def load_image(pair: LinkedPair, lpid: int) -> None:
    """Write the image's pieces as the VMM."""
    for piece in image().layout:
        assert pair.run(pair.hv.host_write(lpid, piece.gpa, piece.content)).errno is Errno.OK


def uv_states(pair: LinkedPair, lpid: int) -> dict[int, str]:
    """Return the Ultravisor's states by GFN."""
    svm = pair.uv.svm(lpid)
    runs = [run for slot in (svm.slots if svm else ()) for run in state_runs(slot)]
    return {int(first) + at: str(name) for first, count, name in runs for at in range(int(count))}


def hv_states(pair: LinkedPair, lpid: int) -> dict[int, str]:
    """Return the Hypervisor's states by GFN."""
    slots = pair.hv.store.vms[lpid].slots
    return {
        slot.first + at: HvGfnState(int(state)).name for slot in slots for at, state in enumerate(slot.state)
    }


def text(label: str) -> bytes:
    """Return a page that says `label` throughout."""
    return (label.encode() + b"\n").ljust(64, b".") * (PAGE_SIZE // 64)


class Machine(RuleBasedStateMachine):
    """Drives one VM of a linked pair, and the twin."""

    @initialize()
    def boot(self) -> None:
        self.pair, self.lpid = booted()
        self.labels = 0
        rtas = gfns_of(image().rtas_address, len(image().rtas))
        measured = set().union(*(gfns_of(piece.gpa, len(piece.content)) for piece in image().layout))
        self.reference_model = ReferenceModel(frozenset(measured), bounce_pages(), frozenset(rtas))
        self.reference_model.plug(range(PAGES))
        self._label_image()
        self.plugged = False
        self.calls: list[str] = []
        self.pair.witness = lambda ask, reply: self.calls.append(ask.name)

    def _label_image(self) -> None:
        for gfn in self.reference_model.image:
            self.reference_model.pages[gfn].normal = f"image {gfn}"

    def _interesting(self) -> list[int]:
        fixed = [
            0,
            1,
            min(self.reference_model.bounce),
            min(self.reference_model.rtas),
            image().kernel_base // PAGE_SIZE,
            90,
            91,
            92,
        ]
        return [*fixed, *(PLUGGED[:2] if self.plugged else ())]

    def _gfn(self, pick: int) -> int:
        gfns = self._interesting()
        return gfns[pick % len(gfns)]

    def _same(self, denied: bool, refused: bool, what: object) -> None:
        assert denied == refused, what

    def _call(self, name: str, request: object) -> Reply:
        return self.pair.guest_call(self.lpid, name, request)

    @rule()
    def esm(self) -> None:
        if not self.reference_model.secure and self._image_is_whole():
            assert (
                self._call("UV_ESM", Esm(image().kernel_base, image().fdt_address)).code.name == "U_SUCCESS"
            )
            self.reference_model.esm()

    def _image_is_whole(self) -> bool:
        return all(
            self.reference_model.pages[gfn].normal == f"image {gfn}" for gfn in self.reference_model.image
        )

    @rule(pick=st.integers(0, 20))
    def guest_store(self, pick: int) -> None:
        gfn = self._gfn(pick)
        if not self.reference_model.secure and gfn in self.reference_model.image:
            return
        self.labels += 1
        label = f"text {self.labels}"
        try:
            self.reference_model.store(gfn, label)
            denied = False
        except Denied:
            denied = True
        self._same(denied, not self._store(gfn, text(label)), gfn)

    def _store(self, gfn: int, content: bytes) -> bool:
        if not self.reference_model.secure:
            refusal = self.pair.run(self.pair.hv.store_bytes(self.lpid, gpa_of(gfn), content))
            return refusal is None
        try:
            self.pair.run(guest_store(self.pair.uv, Lpid(self.lpid), gpa_of(gfn), content))
        except AccessFailure:
            return False
        return True

    @rule(pick=st.integers(0, 20))
    def guest_load(self, pick: int) -> None:
        gfn = self._gfn(pick)
        seen = self._load(gfn)
        try:
            expected = self.reference_model.load(gfn)
        except Denied:
            assert seen is None
            return
        assert seen is not None
        self._compare(gfn, expected, seen)

    def _load(self, gfn: int) -> bytes | None:
        if not self.reference_model.secure:
            loaded = self.pair.run(self.pair.hv.load(self.lpid, gpa_of(gfn), PAGE_SIZE))
            return None if isinstance(loaded, Refused) else bytes(loaded)
        try:
            return bytes(self.pair.run(guest_load(self.pair.uv, Lpid(self.lpid), gpa_of(gfn), PAGE_SIZE)))
        except AccessFailure:
            return None

    def _compare(self, gfn: int, expected: str, seen: bytes) -> None:
        if expected == ZERO:
            assert seen == bytes(PAGE_SIZE)
        elif expected.startswith("text"):
            assert seen == text(expected)
        elif expected.startswith("image"):
            assert seen != bytes(PAGE_SIZE)
            assert not seen.startswith(b"text")
        else:
            assert expected == CIPHERTEXT
            assert b"text" not in seen[:64]
            assert seen != bytes(PAGE_SIZE)

    @precondition(lambda self: self.reference_model.secure)
    @rule(pick=st.integers(0, 20), num=st.integers(0, 3), shares=st.booleans())
    def share_or_unshare(self, pick: int, num: int, shares: bool) -> None:
        gfn = self._gfn(pick)
        name, request = ("UV_SHARE_PAGE", SharePage) if shares else ("UV_UNSHARE_PAGE", UnsharePage)
        gfns = range(gfn, gfn + num)
        reply = self._call(name, request(Gfn(gfn), num))
        try:
            self.reference_model.share(gfns) if shares else self.reference_model.unshare(gfns)
            denied = False
        except Denied:
            denied = True
        self._same(denied, not reply.code.succeeded, reply)

    @precondition(lambda self: self.reference_model.secure)
    @rule()
    def unshare_all(self) -> None:
        assert self._call("UV_UNSHARE_ALL_PAGES", UnshareAllPages()).code.succeeded
        self.reference_model.unshare_all()

    @rule(pick=st.integers(0, 20))
    def host_read(self, pick: int) -> None:
        gfn = self._gfn(pick)
        expected = self.reference_model.host_read(gfn)
        seen = self.pair.run(self.pair.hv.host_read(self.lpid, gpa_of(gfn), PAGE_SIZE))
        assert not isinstance(seen, Outcome)
        self._compare(gfn, expected, bytes(seen))

    @rule(pick=st.integers(0, 20))
    def host_write(self, pick: int) -> None:
        gfn = self._gfn(pick)
        if not self.reference_model.secure and gfn in self.reference_model.image:
            return
        self.labels += 1
        label = f"text {self.labels}"
        self.reference_model.host_write(gfn, label)
        outcome = self.pair.run(self.pair.hv.host_write(self.lpid, gpa_of(gfn), text(label)))
        assert outcome.errno is Errno.OK

    @rule(pick=st.integers(0, 20), count=st.integers(1, 3))
    def unmap(self, pick: int, count: int) -> None:
        gfn = self._gfn(pick)
        gfns = range(gfn, gfn + count)
        outcome = self.pair.run(self.pair.hv.unmap(self.lpid, gpa_of(gfn), count))
        try:
            self.reference_model.unmap(gfns)
            denied = False
        except Denied:
            denied = True
        self._same(denied, outcome.errno is not Errno.OK, outcome)

    @rule()
    def plug(self) -> None:
        if not self.plugged:
            size = len(PLUGGED) * PAGE_SIZE
            outcome = self.pair.run(self.pair.hv.add_slot(self.lpid, 1, gpa_of(PLUGGED[0]), size))
            assert outcome.errno is Errno.OK
            self.reference_model.plug(PLUGGED)
            self.plugged = True

    @rule()
    def unplug(self) -> None:
        if self.plugged:
            assert self.pair.run(self.pair.hv.remove_slot(self.lpid, 1)).errno is Errno.OK
            self.reference_model.unplug(PLUGGED)
            self.plugged = False

    @rule()
    def reset(self) -> None:
        assert self.pair.run(self.pair.hv.reset(self.lpid)).errno is Errno.OK
        self.reference_model.reset()
        load_image(self.pair, self.lpid)
        self._label_image()

    @invariant()
    def both_sides_are_as_the_reference_model_says(self) -> None:
        if not hasattr(self, "reference_model"):
            return
        uv, hv = self.reference_model.states()
        assert uv_states(self.pair, self.lpid) == uv
        assert hv_states(self.pair, self.lpid) == hv

    @invariant()
    def nothing_is_broken(self) -> None:
        if hasattr(self, "pair"):
            assert self.pair.broken() == []


Machine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestMachine = Machine.TestCase
