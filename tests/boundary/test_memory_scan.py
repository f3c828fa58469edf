"""A guest's secrets lie in frames, and nowhere else in the Ultravisor's memory once its calls were answered.

Each step hands the Ultravisor a canary of its own; then all of its memory is searched, what a freed buffer
still holds as well as what is in use. `ALLOWED` names what has to lie elsewhere.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from harness.live import LivePair, LivePlan, live_pair
from harness.live_vm import FREE, LiveVm, live_vm
from harness.process_memory import Place, may_read, places_of
from pef_lab.hostile.canaries import CANARY_BYTES
from pef_protocol.quantities import PAGE_SIZE, gpa_of
from pef_protocol.ultracalls import EsmbGetFile

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

LARGE = (100 << 10, 3 << 20)
"""Bytes of the larger accesses: more than a page, and more than any buffer of a connection."""
SCANS = 3
"""Most scans after a step: the guest may read an answer before the service has forgotten it."""
KEY_BYTES = 32
KNOWN_ENTROPY = Path(__file__).with_name("known_entropy")

NOT_FOUND: set[Place] = set()
FRAMES = {Place.FRAMES}
NORMAL_MEMORY = {Place.NORMAL_MEMORY}
SHARED_OVER_HTTP = "what a shared page held, as it came over HTTP"
ALLOWED = {
    "an attached file that the SVM has not read yet": {Place.HEAP},
    "the page key of a living SVM": {Place.HEAP},
    "the machine's private key": {Place.HEAP},
    SHARED_OVER_HTTP: {Place.HEAP},
}
"""What lies outside of frames; ARCHITECTURE, "Threat model", says why. What it need not name fails."""


@dataclass
class Scans:
    """Where the secret of each step was found, and where it should have been."""

    pair: LivePair
    found: dict[str, set[Place]] = field(default_factory=dict)
    expected: dict[str, set[Place]] = field(default_factory=dict)

    def expect(self, step: str, secret: bytes, places: set[Place]) -> None:
        """Search for `secret` after a step until it is in `places` only, SCANS times at most.

        The end of a secret is what is sought: a free list writes addresses over the beginning.
        """
        self.expected[step] = places
        needle = {step: secret[len(secret) // 2 :]}
        for _ in range(SCANS):
            self.found[step] = places_of(self.pair.ultravisor.pid, self.pair.normal_memory, needle)[step]
            if self.found[step] == places:
                return

    def expect_allowed(self, step: str, secret: bytes) -> None:
        """Search for what may lie outside of frames."""
        self.expect(step, secret, ALLOWED[step])

    def wrong(self) -> dict[str, tuple[str, str]]:
        """Return what is not where it should be: by step, where it is and where it should be."""
        return {
            step: (", ".join(sorted(found)), ", ".join(sorted(self.expected[step])))
            for step, found in self.found.items()
            if found != self.expected[step]
        }


@asynccontextmanager
async def scanned_pair(*, mapped: bool, draws: Path) -> AsyncIterator[LivePair]:
    """Start a pair whose Ultravisor writes its draws of entropy to a file."""
    variables = (("PYTHONPATH", str(KNOWN_ENTROPY)), ("PEF_TEST_DRAWS", str(draws)))
    async with live_pair(LivePlan(mapped=mapped, between=False, variables=variables)) as pair:
        if not may_read(pair.ultravisor.pid):
            pytest.skip("the Ultravisor is not dumpable: only root with CAP_SYS_PTRACE may read its memory")
        yield pair


def canary(length: int = CANARY_BYTES) -> tuple[bytes, bytes]:
    """Return a new canary, and `length` bytes full of it."""
    mark = secrets.token_bytes(CANARY_BYTES)
    return mark, mark * (length // CANARY_BYTES)


def private_key_of(public_key: bytes, draws: bytes) -> bytes:
    """Return the private half of a machine's key, made from one of the machine's draws of entropy."""
    for at in range(0, len(draws), KEY_BYTES):
        expand = HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"pef machine key version 1")
        private = expand.derive(draws[at : at + KEY_BYTES])
        if X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw() == public_key:
            return private
    pytest.fail("no draw of the machine made its key")


async def accesses(vm: LiveVm, scans: Scans) -> None:
    """Store and load, a little and much, within a page and across pages."""
    for length in (CANARY_BYTES, PAGE_SIZE, *LARGE):
        mark, content = canary(length)
        await vm.guest.store(gpa_of(FREE), content)
        scans.expect(f"stored {length} bytes", mark, FRAMES)
        assert await vm.guest.load(gpa_of(FREE), length) == content
        scans.expect(f"loaded {length} bytes", mark, FRAMES)
        await vm.guest.store(gpa_of(FREE), bytes(length))
        scans.expect(f"overwritten {length} bytes", mark, NOT_FOUND)


async def sharing(vm: LiveVm, scans: Scans) -> None:
    """Share a page that held something, use it, and take it back."""
    gfn = FREE + 60
    before, content = canary(PAGE_SIZE)
    await vm.guest.store(gpa_of(gfn), content)
    await vm.guest.share(gfn)
    scans.expect("what a page held before it was shared", before, NOT_FOUND)
    shared, content = canary(PAGE_SIZE)
    await vm.guest.store(gpa_of(gfn), content)
    mapped = scans.pair.plan.mapped
    scans.expect("stored to a shared page", shared, NORMAL_MEMORY if mapped else NOT_FOUND)
    assert await vm.load(gfn) == content
    if mapped:
        scans.expect("loaded from a shared page", shared, NORMAL_MEMORY)
    else:
        scans.expect_allowed(SHARED_OVER_HTTP, shared)
    await vm.guest.unshare(gfn)
    if mapped:
        scans.expect("what a shared page held before it was taken back", shared, NOT_FOUND)
    after, content = canary(PAGE_SIZE)
    await vm.guest.store(gpa_of(gfn), content)
    scans.expect("stored to a page that was shared", after, FRAMES)


async def paging(vm: LiveVm, scans: Scans) -> None:
    """Have a page go out, and come in again by a load."""
    gfn = FREE + 70
    mark, content = canary(PAGE_SIZE)
    await vm.guest.store(gpa_of(gfn), content)
    await vm.page_out(gfn)
    scans.expect("paged out", mark, NOT_FOUND)
    assert await vm.load(gfn) == content
    scans.expect("paged in", mark, FRAMES)


async def attached_file(vm: LiveVm, scans: Scans, disk_key: bytes) -> None:
    """Read the file of the ESM blob to its end."""
    scans.expect_allowed("an attached file that the SVM has not read yet", disk_key)
    got = await vm.guest.ultravisor.call("UV_ESMB_GET_FILE", EsmbGetFile("disk-key", 0))
    assert got.outputs["bytes"] == disk_key.hex()
    scans.expect("an attached file that the SVM has read", disk_key, NOT_FOUND)


@pytest.mark.verify
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "over_http"])
async def test_what_a_guest_hands_over_is_found_in_frames_only(tmp_path: Path, *, mapped: bool) -> None:
    """Given a guest that hands a canary of its own over in each step.

    When all of the Ultravisor's memory is searched after each step,
    then each canary is found in frames, or where `ALLOWED` says, and nowhere else.
    """
    disk_key, _ = canary()
    draws = tmp_path / "draws"
    async with scanned_pair(mapped=mapped, draws=draws) as pair:
        scans = Scans(pair)
        async with live_vm(pair, disk_key=disk_key) as vm:
            drawn = draws.stat().st_size
            machine_key = private_key_of(await pair.watch.machine_public_key(), draws.read_bytes())
            await vm.boot()
            page_key = draws.read_bytes()[drawn : drawn + KEY_BYTES]
            await attached_file(vm, scans, disk_key)
            await accesses(vm, scans)
            await sharing(vm, scans)
            await paging(vm, scans)
            last, content = canary(PAGE_SIZE)
            await vm.guest.store(gpa_of(FREE), content)
            scans.expect("stored last", last, FRAMES)
            scans.expect_allowed("the page key of a living SVM", page_key)
        scans.expect("stored last, by an SVM that is no more", last, NOT_FOUND)
        scans.expect("the page key of an SVM that is no more", page_key, NOT_FOUND)
        scans.expect_allowed("the machine's private key", machine_key)
        assert scans.wrong() == {}
        assert scans.expected.keys() >= ALLOWED.keys() - ({SHARED_OVER_HTTP} if mapped else set())
