"""Callers who are not who they should be, and VMs that are not what they should be.

Attacks 9, 11, 12, 29 to 32, 38 and 45.
"""

import httpx
import pytest

from harness.hostile import foiled, refused_load, uv_state, vm_state
from harness.live import LivePair
from harness.live_vm import FREE, LiveVm, live_vm, secure_vm
from pef_lab.between.fault_injections import before, claim
from pef_lab.between.passing import Passing
from pef_lab.endpoint import Endpoint
from pef_lab.failures import Refusal
from pef_lab.hostile.requests import NOBODY, guest_only, hypervisor_only, inval, page_in, page_out
from pef_lab.minting import guest_token
from pef_protocol.auth import mint_guest_token
from pef_protocol.calls import CALLS, ULTRACALLS
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side
from pef_protocol.http import HYPERCALL_PATH, JSON, PROBLEM, ULTRACALL_PATH
from pef_protocol.quantities import PAGE_SIZE, Gpa, Lpid, SlotId
from pef_protocol.ultracalls import RegisterMemSlot, SvmTerminate, UnregisterMemSlot, WritePate

pytestmark = pytest.mark.sockets

ONE, TWO = FREE, FREE + 1


async def test_09_wrong_and_unknown_lpids(pair: LivePair, vm: LiveVm) -> None:
    """Given a secure VM.

    When the Hypervisor's ultracalls name numbers that no SVM has,
    then each is refused with U_PARAMETER, and neither side changes.
    """
    await vm.write(ONE)
    for lpid in (NOBODY, Lpid(0), Lpid(vm.lpid + (1 << 32)), Lpid((1 << 64) - 1)):
        for name, request in hypervisor_only(lpid, ONE, pair.spare()).items():
            if name != "UV_WRITE_PATE" or lpid != NOBODY:
                await foiled(pair, request, UCode.U_PARAMETER)
    await vm.reads_what_it_wrote()


async def test_09_a_stale_lpid(pair: LivePair) -> None:
    """Given an SVM that was ended.

    When the Hypervisor's ultracalls still name it,
    then each is refused and changes nothing, and so are the guest's loads.
    """
    async with live_vm(pair) as vm:
        await vm.boot()
        await vm.write(ONE)
        sealed = await vm.page_out(ONE)
        assert (await pair.ultracall(SvmTerminate(vm.lpid))).code is UCode.U_SUCCESS
        pair.poke(vm.ra(ONE), sealed)
        await foiled(pair, page_in(vm.lpid, ONE, vm.ra(ONE)), UCode.U_PARAMETER)
        await foiled(pair, page_out(vm.lpid, ONE, vm.ra(ONE)), UCode.U_PARAMETER)
        await foiled(pair, inval(vm.lpid, ONE), UCode.U_PARAMETER)
        await foiled(pair, UnregisterMemSlot(vm.lpid, SlotId(0)), UCode.U_PARAMETER)
        await foiled(pair, SvmTerminate(vm.lpid), UCode.U_INVALID)
        assert await refused_load(vm, ONE) == "not secure"
        await pair.vmm.reset(vm.lpid)
    assert await pair.broken() == []


async def test_11_partition_table_entry_of_an_svm_overwritten(pair: LivePair, vm: LiveVm) -> None:
    """Given an SVM.

    When the Hypervisor writes its partition-table entry,
    then each entry is refused with U_PERMISSION, and neither side changes.
    """
    await vm.write(ONE)
    for entry in ((0, 0), (1 << 24, 1 << 24), ((1 << 63) | (1 << 24), (1 << 63) | (1 << 24))):
        await foiled(pair, WritePate(vm.lpid, *entry), UCode.U_PERMISSION)
    await vm.reads_what_it_wrote()


@pytest.mark.parametrize("during", ["H_SVM_INIT_START", "H_SVM_PAGE_IN", "H_SVM_INIT_DONE"])
async def test_12_partition_table_entry_written_during_uv_esm(pair: LivePair, during: str) -> None:
    """Given a VM in UV_ESM.

    When the Hypervisor writes its partition-table entry during a hypercall,
    then it is refused with U_PERMISSION, and the VM becomes secure.
    """
    async with live_vm(pair) as vm:

        async def overwrite(_: Passing) -> None:
            for entry in ((0, 0), (1 << 24, 1 << 24)):
                reply = await pair.ultracall(WritePate(vm.lpid, *entry))
                assert reply.code is UCode.U_PERMISSION

        pair.to_hypervisor.always(during, before(overwrite))
        await vm.boot()
        pair.to_hypervisor.honest_again()
        await vm.image_is_whole()


@pytest.mark.parametrize("problem_state", [False, True])
async def test_29_a_guest_makes_the_hypervisors_calls(
    pair: LivePair, vm: LiveVm, *, problem_state: bool
) -> None:
    """Given a secure guest, in its kernel or in problem state.

    When it makes the Hypervisor's ultracalls, and in problem state its kernel's too,
    then each is refused with U_PERMISSION, and neither side changes.
    """
    await vm.write(ONE)
    token = await guest_token(pair.endpoints, Side.ULTRAVISOR, vm.lpid, problem_state=problem_state)
    await pair.vmm.plug(vm.lpid, 1, 1 << 28, PAGE_SIZE)
    before_all = await pair.digests()
    async with Endpoint("Ultravisor", pair.endpoints.ultravisor_url, token) as guest:
        for name, request in hypervisor_only(vm.lpid, ONE, pair.spare()).items():
            assert (await guest.call(name, request)).code is UCode.U_PERMISSION, name
        if problem_state:
            for name, request in guest_only(ONE).items():
                assert (await guest.call(name, request)).code is UCode.U_PERMISSION, name
    assert await pair.digests() == before_all
    await vm.reads_what_it_wrote()


async def test_29_the_hypervisor_makes_a_guests_calls(pair: LivePair, vm: LiveVm) -> None:
    """Given a secure VM.

    When the Hypervisor makes a guest's ultracalls and loads as a guest,
    then each is refused, and the guest's memory stays.
    """
    for request in guest_only(ONE).values():
        await foiled(pair, request, UCode.U_PERMISSION)
    response = await pair.as_hypervisor._client.post("/v1/guest/load", params={"gpa": 0, "length": 8})
    assert response.status_code == httpx.codes.FORBIDDEN
    await vm.image_is_whole()


async def test_30_a_normal_vm_shares(pair: LivePair) -> None:
    """Given a normal VM.

    When its kernel makes the ultracalls of an SVM,
    then each is told U_INVALID, and neither side changes.
    """
    async with live_vm(pair) as vm:
        await vm.load_image()
        token = await guest_token(pair.endpoints, Side.ULTRAVISOR, vm.lpid)
        before_all = await pair.digests()
        async with Endpoint("Ultravisor", pair.endpoints.ultravisor_url, token) as guest:
            for name, request in guest_only(ONE).items():
                if name != "UV_ESM":
                    assert (await guest.call(name, request)).code is UCode.U_INVALID, name
        assert await pair.digests() == before_all


@pytest.mark.parametrize(
    ("start", "size", "code"),
    [
        pytest.param(0, PAGE_SIZE, UCode.U_P2, id="overlaps_the_first_page"),
        pytest.param((16 << 20) - PAGE_SIZE, 2 * PAGE_SIZE, UCode.U_P2, id="overlaps_the_last_page"),
        pytest.param(0, 1 << 46, UCode.U_P2, id="covers_everything"),
        pytest.param((1 << 64) - PAGE_SIZE, PAGE_SIZE, UCode.U_P3, id="ends_at_the_end_of_all"),
        pytest.param((1 << 64) - PAGE_SIZE, 2 * PAGE_SIZE, UCode.U_P3, id="wraps"),
        pytest.param(1 << 30, (1 << 64) - PAGE_SIZE, UCode.U_P3, id="huge"),
        pytest.param(1 << 30, 1 << 46, UCode.U_P3, id="beyond_guest_memory"),
        pytest.param(1 << 30, 0, UCode.U_P3, id="empty"),
        pytest.param(1 << 30, PAGE_SIZE - 1, UCode.U_P3, id="part_of_a_page"),
        pytest.param((1 << 30) + 4096, PAGE_SIZE, UCode.U_P2, id="not_on_a_page"),
    ],
)
async def test_31_a_slot_that_cannot_be(
    pair: LivePair, vm: LiveVm, start: int, size: int, code: UCode
) -> None:
    """Given a secure VM.

    When the Hypervisor registers a slot that cannot be,
    then it is refused with the code of the wrong argument, and the SVM's slots stay.
    """
    kept = (await pair.watch.vms(Side.ULTRAVISOR))[0][vm.lpid]
    await foiled(pair, RegisterMemSlot(vm.lpid, Gpa(start), size, 0, SlotId(3)), code)
    assert (await pair.watch.vms(Side.ULTRAVISOR))[0][vm.lpid] == kept


async def test_32_slot_ids_out_of_range_and_of_others(pair: LivePair, vm: LiveVm) -> None:
    """Given two secure VMs.

    When the Hypervisor uses slot ids that are out of range, taken or the other VM's,
    then each call is refused, and neither side changes.
    """
    async with secure_vm(pair) as other:
        await pair.vmm.plug(other.lpid, 5, 1 << 28, PAGE_SIZE)
        for slot_id in (512, 1 << 16, (1 << 64) - 1):
            asked = RegisterMemSlot(vm.lpid, Gpa(1 << 28), PAGE_SIZE, 0, SlotId(slot_id))
            await foiled(pair, asked, UCode.U_P5)
            await foiled(pair, UnregisterMemSlot(vm.lpid, SlotId(slot_id)), UCode.U_P2)
        in_use = RegisterMemSlot(vm.lpid, Gpa(1 << 28), PAGE_SIZE, 0, SlotId(0))
        await foiled(pair, in_use, UCode.U_P5)
        await foiled(pair, UnregisterMemSlot(vm.lpid, SlotId(5)), UCode.U_P2)
        await other.image_is_whole()


async def test_38_calls_into_an_aborted_svm(pair: LivePair, vm: LiveVm) -> None:
    """Given an aborted SVM.

    When the Hypervisor and the guest call into it,
    then each call is refused and changes nothing, until the VM is reset.
    """
    await vm.write(ONE)
    await vm.write(TWO)
    await vm.page_out(TWO)
    pair.to_hypervisor.answers("H_SVM_PAGE_IN", claim(HCode.H_SUCCESS))
    with pytest.raises(Refusal, match="U_P2"):
        await vm.guest.share(ONE)
    assert await vm_state(vm) == "ABORT"
    requests = hypervisor_only(vm.lpid, ONE, pair.spare())
    for name in ("UV_PAGE_IN", "UV_PAGE_INVAL", "UV_REGISTER_MEM_SLOT"):
        await foiled(pair, requests[name], UCode.U_STATE)
    # The firmware lets pages out. Ours lets those out in clear that the Hypervisor itself had given to a VM
    # that never ran secure, and none of one that did.
    await foiled(pair, requests["UV_PAGE_OUT"], UCode.U_STATE)
    await foiled(pair, page_in(vm.lpid, TWO, vm.ra(TWO)), UCode.U_STATE)
    await foiled(pair, requests["UV_WRITE_PATE"], UCode.U_PERMISSION)
    token = await guest_token(pair.endpoints, Side.ULTRAVISOR, vm.lpid)
    async with Endpoint("Ultravisor", pair.endpoints.ultravisor_url, token) as guest:
        for name, request in guest_only(ONE).items():
            assert (await guest.call(name, request)).code is UCode.U_STATE, name
    assert await refused_load(vm, ONE) == await refused_load(vm, TWO) == "aborted"
    assert await uv_state(vm, TWO) == "PAGEDOUT"
    await pair.vmm.reset(vm.lpid)
    assert await vm_state(vm) == "NORMAL"


async def test_45_forged_peers(pair: LivePair, vm: LiveVm) -> None:
    """Given tokens that are missing, cut short, forged or of another role.

    When they are presented at each route,
    then each request is answered 401, and neither side changes.
    """
    await vm.write(ONE)
    keys = pair.endpoints
    forged = {
        "nothing": None,
        "an empty token": '""',
        "a token cut short": pair.tokens["HYPERVISOR"][:-1],
        "a token that is longer": pair.tokens["HYPERVISOR"] + "0",
        "a guest by the other door's key": await guest_token(keys, Side.HYPERVISOR, vm.lpid),
        "a guest whose lpid was exchanged": mint_guest_token(keys.ultravisor_guest_key, 1).replace(
            "guest.1.", f"guest.{vm.lpid + 1}."
        ),
        "the VMM": pair.tokens["VMM"],
        "no token at all": "\u00ff\u00fe",
        "dots": "...",
    }
    before_all = await pair.digests()
    paths = [ULTRACALL_PATH + call.name for call in ULTRACALLS]
    paths += ["/v1/guest/load?gpa=0&length=8", "/v1/guest/store?gpa=0", ULTRACALL_PATH + "UV_NONE"]
    async with httpx.AsyncClient(base_url=keys.ultravisor_url, trust_env=False) as stranger:
        for who, token in forged.items():
            headers = {"content-type": JSON}
            if token is not None:
                headers["authorization"] = f"Bearer {token}".encode("latin-1")  # type: ignore[assignment]
            for path in paths:
                response = await stranger.post(path, content=b"{}", headers=headers)
                assert response.status_code == httpx.codes.UNAUTHORIZED, (who, path)
                assert response.headers["content-type"] == PROBLEM
            for path in ("vms", f"gfns?lpid={vm.lpid}", "digest", "invariants", "trace?after=0"):
                response = await stranger.get(f"/v1/observer/{path}", headers=headers)
                assert response.status_code == httpx.codes.UNAUTHORIZED, (who, path)
    async with httpx.AsyncClient(base_url=keys.hypervisor_url, trust_env=False) as stranger:
        for path in [HYPERCALL_PATH + call.name for call in CALLS.values() if not call.is_ultracall]:
            for token in (pair.tokens["HYPERVISOR"], "0" * 64):
                response = await stranger.post(path, headers={"authorization": f"Bearer {token}"})
                assert response.status_code == httpx.codes.UNAUTHORIZED
    assert await pair.digests() == before_all
    await vm.reads_what_it_wrote()
