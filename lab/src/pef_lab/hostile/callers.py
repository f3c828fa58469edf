"""Callers who are not who they should be, and VMs that are not what they should be.

Attacks 9 to 12, 28 to 32, 38 and 45.
"""

from typing import Final

import httpx

from pef_lab.between.fault_injections import before, claim
from pef_lab.between.passing import Passing
from pef_lab.endpoint import Endpoint
from pef_lab.hostile.attack import Attack
from pef_lab.hostile.requests import (
    ENTRIES,
    NAMES,
    NOBODY,
    guest_only,
    hypervisor_only,
    inval,
    page_in,
    page_out,
)
from pef_lab.hostile.trial import Trial
from pef_lab.hostile.victim import FREE, MEMORY, Victim
from pef_lab.minting import guest_token
from pef_protocol.calls import HYPERCALLS, ULTRACALLS
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side
from pef_protocol.http import GUEST_PATH, HYPERCALL_PATH, JSON, OBSERVER_PATH, ULTRACALL_PATH, Role
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart, SvmPageIn, SvmPageOut
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa, SlotId, gpa_of
from pef_protocol.runs import PageRuns
from pef_protocol.ultracalls import RegisterMemSlot, SvmTerminate, UnregisterMemSlot, WritePate

ONE, TWO = FREE, FREE + 1
STRANGER_HAS: Final = 30.0
"""Seconds that a stranger's request may take."""
SLOTS: Final = (
    (0, PAGE_SIZE, UCode.U_P2),
    (MEMORY - PAGE_SIZE, 2 * PAGE_SIZE, UCode.U_P2),
    (0, 1 << 46, UCode.U_P2),
    ((1 << 64) - PAGE_SIZE, PAGE_SIZE, UCode.U_P3),
    ((1 << 64) - PAGE_SIZE, 2 * PAGE_SIZE, UCode.U_P3),
    (1 << 30, (1 << 64) - PAGE_SIZE, UCode.U_P3),
    (1 << 30, 1 << 46, UCode.U_P3),
    (1 << 30, 0, UCode.U_P3),
    (1 << 30, PAGE_SIZE - 1, UCode.U_P3),
    ((1 << 30) + 4096, PAGE_SIZE, UCode.U_P2),
)
"""Slots that can't be: address and bytes, and the code that the document gives."""


async def guest_door(
    at: Trial, vm: Victim, *, problem_state: bool = False, lpid: int | None = None
) -> Endpoint:
    """Return the Ultravisor's door as a guest enters it."""
    endpoints = at.ground.endpoints
    whose = vm.lpid if lpid is None else lpid
    token = await guest_token(endpoints, Side.ULTRAVISOR, whose, problem_state=problem_state)
    return Endpoint("Ultravisor", endpoints.ultravisor_url, token)


async def wrong_lpids(at: Trial) -> None:
    """Make every call of the Hypervisor for VMs that don't exist, or can't."""
    async with at.svm() as vm:
        await vm.write(ONE)
        for lpid in (NOBODY, 0, vm.lpid + (1 << 32), (1 << 64) - 1):
            for name, request in hypervisor_only(lpid, ONE, at.ground.spare()).items():
                if name != "UV_WRITE_PATE" or lpid != NOBODY:  # that entry is the Hypervisor's to write
                    await at.foiled(request, UCode.U_PARAMETER)
        await at.guest_finds(vm)


async def stale_lpid(at: Trial) -> None:
    """End an SVM, and go on with its lpid and its ciphertext as if it lived."""
    async with at.svm() as vm:
        await vm.write(ONE)
        sealed = await at.paged_out(vm, ONE)
        await at.made(SvmTerminate(vm.lpid), UCode.U_SUCCESS)
        await at.ground.memory.poke(vm.ra(ONE), sealed)
        for make in (page_in, page_out):
            await at.foiled(make(vm.lpid, ONE, vm.ra(ONE)), UCode.U_PARAMETER)
        for request in (inval(vm.lpid, ONE), UnregisterMemSlot(vm.lpid, SlotId(0))):
            await at.foiled(request, UCode.U_PARAMETER)
        await at.foiled(SvmTerminate(vm.lpid), UCode.U_INVALID)
        at.saw("a load of what is gone", await vm.try_to_load(ONE), "not secure")
        await at.ground.vmm.reset(vm.lpid)


async def esm_of_nobody(at: Trial) -> None:
    """Make UV_ESM as partition 0, and as a user program of a VM."""
    async with at.vm() as vm:
        await vm.load_image()
        digests = await at.ground.digests()
        for who in (guest_door(at, vm, lpid=0), guest_door(at, vm, problem_state=True)):
            async with await who as guest:
                request = guest_only(ONE)["UV_ESM"]
                at.answered("UV_ESM", (await guest.call("UV_ESM", request)).code, UCode.U_PERMISSION)
        await at.digests_are(digests)
        await at.vm_is(vm, "NORMAL")


async def overwritten_entry(at: Trial) -> None:
    """Write the partition table entry of an SVM."""
    async with at.svm() as vm:
        await vm.write(ONE)
        for entry in ENTRIES:
            await at.foiled(WritePate(vm.lpid, *entry), UCode.U_PERMISSION)
        await at.guest_finds(vm)


async def entry_written_during_esm(at: Trial) -> None:
    """Write the partition table entry at each hypercall of UV_ESM."""
    async with at.vm() as vm:

        async def overwrite(_: Passing) -> None:
            for entry in ENTRIES[:2]:
                await at.foiled(WritePate(vm.lpid, *entry), UCode.U_PERMISSION)

        for name in ("H_SVM_INIT_START", "H_SVM_PAGE_IN", "H_SVM_INIT_DONE"):
            at.ground.to_hypervisor.always(name, before(at.happens(name, overwrite)))
        await vm.load_image()
        at.answered("UV_ESM", (await vm.enter()).code, UCode.U_SUCCESS)
        await at.image_is_whole(vm)


async def guest_makes_hypercalls(at: Trial) -> None:
    """Make the Ultravisor's hypercalls as the kernel of a normal VM, at the Hypervisor's door."""
    async with at.vm() as vm:
        token = await guest_token(at.ground.endpoints, Side.HYPERVISOR, vm.lpid)
        runs = PageRuns.of((gpa_of(ONE), 1))
        digests = await at.ground.digests()
        async with Endpoint("Hypervisor", at.ground.endpoints.hypervisor_url, token) as guest:
            for request in (
                *(SvmInitStart(vm.lpid), SvmInitDone(vm.lpid), SvmInitAbort(vm.lpid)),
                *(make(vm.lpid, runs, 0, PAGE_ORDER) for make in (SvmPageIn, SvmPageOut)),
            ):
                name = NAMES[type(request)]
                at.answered(name, (await guest.call(name, request)).code, HCode.H_UNSUPPORTED)
        await at.digests_are(digests)
        await at.vm_is(vm, "NORMAL")


async def guest_makes_the_hypervisors_calls(at: Trial) -> None:
    """Make the Hypervisor's ultracalls as a guest's kernel, and any as its user program."""
    async with at.svm() as vm:
        await vm.write(ONE)
        digests = await at.ground.digests()
        theirs = hypervisor_only(vm.lpid, ONE, at.ground.spare())
        for problem_state, requests in ((False, theirs), (True, theirs | guest_only(ONE))):
            async with await guest_door(at, vm, problem_state=problem_state) as guest:
                for name, request in requests.items():
                    at.answered(name, (await guest.call(name, request)).code, UCode.U_PERMISSION)
        await at.digests_are(digests)
        await at.guest_finds(vm)


async def hypervisor_makes_a_guests_calls(at: Trial) -> None:
    """Make a guest's calls, and a guest's load, as the Hypervisor."""
    async with at.svm() as vm:
        await vm.write(ONE)
        for request in guest_only(ONE).values():
            await at.foiled(request, UCode.U_PERMISSION)
        where = at.ground.endpoints.ultravisor_url
        headers = {"authorization": f"Bearer {at.ground.tokens[Role.HYPERVISOR]}"}
        async with httpx.AsyncClient(
            base_url=where, headers=headers, trust_env=False, timeout=STRANGER_HAS
        ) as client:
            form = {"gpa": gpa_of(ONE), "length": PAGE_SIZE}
            response = await client.post(GUEST_PATH + "load", params=form)
        at.answered("a guest's load", f"HTTP {response.status_code}", "HTTP 403")
        found = vm.flock.found("the answer", response.content)
        at.saw("private text in the answer", "; ".join(found) or "none", "none")
        await at.guest_finds(vm)


async def normal_vm_shares(at: Trial) -> None:
    """Make the calls of an SVM as a VM that is none."""
    async with at.vm() as vm:
        await vm.load_image()
        digests = await at.ground.digests()
        async with await guest_door(at, vm) as guest:
            for name, request in guest_only(ONE).items():
                if name != "UV_ESM":
                    at.answered(name, (await guest.call(name, request)).code, UCode.U_INVALID)
        await at.digests_are(digests)


async def slots_that_cannot_be(at: Trial) -> None:
    """Register slots that overlap, wrap, are empty, odd, or larger than any memory."""
    async with at.svm() as vm:
        kept = (await at.ground.watch.vms(Side.ULTRAVISOR))[0][vm.lpid]
        for start, size, code in SLOTS:
            await at.foiled(RegisterMemSlot(vm.lpid, Gpa(start), size, 0, SlotId(3)), code)
        now = (await at.ground.watch.vms(Side.ULTRAVISOR))[0][vm.lpid]
        at.saw("what is kept for the VM", "as before" if now == kept else f"{now}", "as before")


async def wrong_slot_ids(at: Trial) -> None:
    """Name slots by ids that none can have, that are in use, or that another SVM's slot has."""
    async with at.svm() as vm, at.svm() as other:
        await at.ground.vmm.plug(other.lpid, 5, 1 << 28, PAGE_SIZE)
        for slotid in (512, 1 << 16, (1 << 64) - 1):
            await at.foiled(RegisterMemSlot(vm.lpid, Gpa(1 << 28), PAGE_SIZE, 0, SlotId(slotid)), UCode.U_P5)
            await at.foiled(UnregisterMemSlot(vm.lpid, SlotId(slotid)), UCode.U_P2)
        await at.foiled(RegisterMemSlot(vm.lpid, Gpa(1 << 28), PAGE_SIZE, 0, SlotId(0)), UCode.U_P5)
        await at.foiled(UnregisterMemSlot(vm.lpid, SlotId(5)), UCode.U_P2)
        await at.image_is_whole(other)


async def calls_into_an_aborted_svm(at: Trial) -> None:
    """Have an SVM aborted, then call into it as the Hypervisor and as its own guest."""
    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        await at.paged_out(vm, TWO)
        at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", claim(HCode.H_SUCCESS))
        await at.refuses("UV_SHARE_PAGE", vm.guest.share(ONE), UCode.U_P2)
        await at.vm_is(vm, "ABORT")
        requests = hypervisor_only(vm.lpid, ONE, at.ground.spare())
        # The firmware lets pages out. Ours gives none of a VM that ever ran secure.
        for name in ("UV_PAGE_IN", "UV_PAGE_INVAL", "UV_REGISTER_MEM_SLOT", "UV_PAGE_OUT"):
            await at.foiled(requests[name], UCode.U_STATE)
        await at.foiled(page_in(vm.lpid, TWO, vm.ra(TWO)), UCode.U_STATE)
        await at.foiled(requests["UV_WRITE_PATE"], UCode.U_PERMISSION)
        async with await guest_door(at, vm) as guest:
            for name, request in guest_only(ONE).items():
                at.answered(name, (await guest.call(name, request)).code, UCode.U_STATE)
        for gfn in (ONE, TWO):
            at.saw("loads of an aborted SVM", await vm.try_to_load(gfn), "aborted")
        await at.gfn_is(vm, TWO, "PAGEDOUT")
        await at.ground.vmm.reset(vm.lpid)
        await at.vm_is(vm, "NORMAL")


async def forged_peers(at: Trial) -> None:
    """Knock at every door with no token, a wrong one, a cut one, another door's, and another role's."""
    async with at.svm() as vm:
        await vm.write(ONE)
        keys, right = at.ground.endpoints, at.ground.tokens[Role.HYPERVISOR]
        mine = await guest_token(keys, Side.ULTRAVISOR, vm.lpid)
        forged = (
            *(b"", b'""', right[:-1].encode(), right.encode() + b"0", keys.vmm_token.encode()),
            (await guest_token(keys, Side.HYPERVISOR, vm.lpid)).encode(),
            mine.replace(f"guest.{vm.lpid}.", f"guest.{vm.lpid + 1}.").encode(),
            *(b"\xff\xfe", b"..."),
        )
        views = ("vms", f"gfns?lpid={vm.lpid}", "digest", "invariants", "trace?after=0")
        doors = [("POST", ULTRACALL_PATH + call.name) for call in ULTRACALLS]
        doors += [("POST", f"{GUEST_PATH}{access}") for access in ("load?gpa=0&length=8", "store?gpa=0")]
        doors += [("GET", OBSERVER_PATH + view) for view in views]
        digests = await at.ground.digests()
        await _knock(at, keys.ultravisor_url, doors, *forged)
        doors = [("POST", HYPERCALL_PATH + call.name) for call in HYPERCALLS]
        await _knock(at, keys.hypervisor_url, doors, right.encode(), b"0" * 64)
        await at.digests_are(digests)
        await at.guest_finds(vm)


async def _knock(at: Trial, url: str, doors: list[tuple[str, str]], *tokens: bytes) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=STRANGER_HAS) as stranger:
        for token in tokens:
            headers: dict[bytes, bytes] = {b"content-type": JSON.encode()}
            if token:
                headers[b"authorization"] = b"Bearer " + token
            for method, path in doors:
                response = await stranger.request(method, path, content=b"{}", headers=headers)
                at.answered(path, f"HTTP {response.status_code}", "HTTP 401")


ATTACKS: Final = (
    Attack(9, "calls for VMs that don't exist", wrong_lpids),
    Attack(9, "calls for an SVM that was ended", stale_lpid),
    Attack(10, "UV_ESM as partition 0, and as a user program", esm_of_nobody),
    Attack(11, "the partition table entry of an SVM is written", overwritten_entry),
    Attack(12, "the same at each hypercall of UV_ESM", entry_written_during_esm),
    Attack(28, "a normal VM's kernel makes the Ultravisor's hypercalls", guest_makes_hypercalls),
    Attack(29, "a guest makes the Hypervisor's ultracalls", guest_makes_the_hypervisors_calls),
    Attack(29, "the Hypervisor makes a guest's calls and loads", hypervisor_makes_a_guests_calls),
    Attack(30, "a normal VM shares pages", normal_vm_shares),
    Attack(31, "slots that overlap, wrap, are odd, empty or huge", slots_that_cannot_be),
    Attack(32, "slot ids out of range, in use, another SVM's", wrong_slot_ids),
    Attack(38, "calls into an aborted SVM", calls_into_an_aborted_svm),
    Attack(45, "every door without a token, or with a forged one", forged_peers),
)
