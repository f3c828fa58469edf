"""A Hypervisor that gives back other pages than it was given, or to other places: attacks 1 to 8, 13, 40."""

import secrets

import numpy as np
import pytest

from harness.hostile import foiled, hv_state, nothing_leaked, refused_load, uv_state
from harness.live import LivePair
from harness.live_vm import BLANK, FREE, LiveVm, secure_vm
from pef_kit.runtime.bus import NORMAL_BASE
from pef_lab.between.fault_injections import instead
from pef_lab.between.passing import Passing
from pef_lab.failures import Refusal
from pef_lab.hostile.requests import inval, page_in, page_out
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import PAGE_SIZE, SECURE_BIT

pytestmark = pytest.mark.sockets

ONE, TWO, THREE = FREE, FREE + 1, FREE + 2


async def test_01_replay_of_an_older_encrypted_page(pair: LivePair, vm: LiveVm) -> None:
    """Given a page that was paged out twice.

    When the Hypervisor gives back the older ciphertext,
    then that is refused with U_P3, and the newer one is taken.
    """
    await vm.write(ONE, "the older text")
    older = await vm.page_out(ONE)
    await vm.write(ONE, "the newer text")
    newer = await vm.page_out(ONE)
    pair.poke(vm.ra(ONE), older)
    await foiled(pair, page_in(vm.lpid, ONE, vm.ra(ONE)), UCode.U_P3)
    assert await uv_state(vm, ONE) == "PAGEDOUT"
    assert "H_SVM_PAGE_IN" in await refused_load(vm, ONE)
    pair.poke(vm.ra(ONE), newer)
    await vm.reads_what_it_wrote()
    nothing_leaked(vm)


async def test_02_ciphertext_of_two_gfns_swapped(pair: LivePair, vm: LiveVm) -> None:
    """Given two paged-out pages.

    When the Hypervisor swaps their ciphertext,
    then each is refused with U_P3, and each is taken in its own place.
    """
    await vm.write(ONE)
    await vm.write(TWO)
    one, two = await vm.page_out(ONE), await vm.page_out(TWO)
    pair.poke(vm.ra(ONE), two)
    pair.poke(vm.ra(TWO), one)
    await foiled(pair, page_in(vm.lpid, ONE, vm.ra(ONE)), UCode.U_P3)
    await foiled(pair, page_in(vm.lpid, TWO, vm.ra(TWO)), UCode.U_P3)
    await foiled(pair, page_in(vm.lpid, ONE, vm.ra(ONE), 2), UCode.U_P3)
    pair.poke(vm.ra(ONE), one)
    pair.poke(vm.ra(TWO), two)
    await vm.reads_what_it_wrote()


async def test_03_ciphertext_from_another_svm(pair: LivePair, vm: LiveVm) -> None:
    """Given a paged-out page of each of two SVMs.

    When the Hypervisor gives one of them the other's ciphertext,
    then that is refused with U_P3, and both guests read what they wrote.
    """
    async with secure_vm(pair) as other:
        await vm.write(ONE)
        await other.write(ONE)
        mine, theirs = await vm.page_out(ONE), await other.page_out(ONE)
        pair.poke(vm.ra(ONE), theirs)
        await foiled(pair, page_in(vm.lpid, ONE, vm.ra(ONE)), UCode.U_P3)
        await foiled(pair, page_in(vm.lpid, ONE, pair.spare()), UCode.U_P3)
        pair.poke(vm.ra(ONE), mine)
        await vm.reads_what_it_wrote()
        await other.reads_what_it_wrote()


@pytest.mark.parametrize("bit", [0, 7, 8 * 4096 + 3, 8 * PAGE_SIZE - 1])
async def test_04_a_bit_flipped(pair: LivePair, vm: LiveVm, bit: int) -> None:
    """Given a paged-out page.

    When a bit of its ciphertext is flipped,
    then that is refused with U_P3, and taken once the bit is flipped back.
    """
    await vm.write(ONE)
    sealed = bytearray(await vm.page_out(ONE))
    sealed[bit // 8] ^= 1 << bit % 8
    pair.poke(vm.ra(ONE), bytes(sealed))
    await foiled(pair, page_in(vm.lpid, ONE, vm.ra(ONE)), UCode.U_P3)
    sealed[bit // 8] ^= 1 << bit % 8
    pair.poke(vm.ra(ONE), bytes(sealed))
    await vm.reads_what_it_wrote()


async def test_04_a_page_moved_within_itself(pair: LivePair, vm: LiveVm) -> None:
    """Given a paged-out page.

    When its ciphertext is turned, cut or replaced by zeroes,
    then each is refused with U_P3, and the ciphertext itself is taken.
    """
    await vm.write(ONE)
    sealed = await vm.page_out(ONE)
    for forged in (sealed[1:] + sealed[:1], sealed[: PAGE_SIZE // 2].ljust(PAGE_SIZE, b"\0"), BLANK):
        pair.poke(vm.ra(ONE), forged)
        await foiled(pair, page_in(vm.lpid, ONE, vm.ra(ONE)), UCode.U_P3)
    pair.poke(vm.ra(ONE), sealed)
    await vm.reads_what_it_wrote()


async def test_05_page_in_over_a_resident_secure_page(pair: LivePair, vm: LiveVm) -> None:
    """Given a resident page that the guest wrote and one that it did not.

    When the Hypervisor brings other bytes for them,
    then each is refused with U_P2, and the guest reads what it has.
    """
    await vm.write(ONE)
    pair.poke(pair.spare(), secrets.token_bytes(PAGE_SIZE))
    await foiled(pair, page_in(vm.lpid, ONE, pair.spare()), UCode.U_P2)
    await foiled(pair, page_in(vm.lpid, TWO, pair.spare()), UCode.U_P2)
    assert await vm.load(TWO) == BLANK
    await vm.reads_what_it_wrote()
    await vm.image_is_whole()


async def test_06_one_real_address_for_two_gfns(pair: LivePair, vm: LiveVm) -> None:
    """Given a shared page, a paged-out one and a secure one.

    When the Hypervisor names the shared page's real address for the others,
    then each call is refused with U_P2, and the guest reads what it wrote.
    """
    await vm.guest.share(ONE)
    await vm.write(TWO)
    await vm.page_out(TWO)
    await foiled(pair, page_in(vm.lpid, TWO, vm.ra(ONE)), UCode.U_P2)
    await foiled(pair, page_out(vm.lpid, THREE, vm.ra(ONE)), UCode.U_P2)

    async def offer_the_same_page(_: Passing) -> None:
        reply = await pair.ultracall(page_in(vm.lpid, THREE, vm.ra(ONE)))
        assert reply.code is UCode.U_P2

    kept = await vm.write(THREE)
    pair.to_hypervisor.answers("H_SVM_PAGE_IN", instead(offer_the_same_page, HCode.H_PARAMETER))
    with pytest.raises(Refusal, match="U_P2"):
        await vm.guest.share(THREE)
    assert await vm.load(THREE) == kept
    await vm.reads_what_it_wrote()


async def test_06_one_real_address_for_two_svms(pair: LivePair, vm: LiveVm) -> None:
    """Given two SVMs, each with a shared page.

    When the Hypervisor offers one SVM's page to the other,
    then that is refused with U_P2, and the other reads nothing of it.
    """
    async with secure_vm(pair) as other:
        await vm.guest.share(ONE)
        await other.guest.share(ONE)
        await foiled(pair, page_in(other.lpid, ONE, vm.ra(ONE)), UCode.U_P2)
        await foiled(pair, inval(other.lpid, TWO), UCode.U_P2)
        shared = await vm.write(ONE, "for the host, of one VM alone")
        assert await vm.host_read(ONE) == shared
        assert await other.load(ONE) == BLANK


@pytest.mark.parametrize(
    "ra",
    [
        pytest.param(SECURE_BIT, id="secure_memory"),
        pytest.param(SECURE_BIT | NORMAL_BASE, id="secure_memory_beside_normal"),
        pytest.param(0, id="zero"),
        pytest.param(NORMAL_BASE - PAGE_SIZE, id="below_normal_memory"),
        pytest.param(NORMAL_BASE + (1 << 30), id="beyond_normal_memory"),
        pytest.param(NORMAL_BASE + (1 << 30) - 4096, id="not_on_a_page"),
        pytest.param((1 << 64) - PAGE_SIZE, id="the_last_page_of_all"),
    ],
)
async def test_07_real_address_in_secure_memory(pair: LivePair, vm: LiveVm, ra: int) -> None:
    """Given secure, paged-out and shared pages.

    When the Hypervisor pages them in or out at an address that is no page of normal memory,
    then each call is refused with U_P2, and nothing leaked.
    """
    await vm.write(ONE)
    await vm.write(TWO)
    await vm.page_out(TWO)
    await vm.guest.share(THREE)
    for gfn in (ONE, TWO, THREE):
        await foiled(pair, page_in(vm.lpid, gfn, ra), UCode.U_P2)
        await foiled(pair, page_out(vm.lpid, gfn, ra), UCode.U_P2)
    await vm.reads_what_it_wrote()
    nothing_leaked(vm)


async def test_08_page_out_into_another_svms_shared_page(pair: LivePair, vm: LiveVm) -> None:
    """Given an SVM with a secure page, and a shared page of another SVM.

    When the Hypervisor pages the first out into the second,
    then that is refused with U_P2, and both guests read what they wrote.
    """
    async with secure_vm(pair) as other:
        await other.guest.share(ONE)
        shared = await other.write(ONE)
        await vm.write(ONE)
        await foiled(pair, page_out(vm.lpid, ONE, other.ra(ONE)), UCode.U_P2)
        await foiled(pair, page_out(vm.lpid, ONE, other.ra(ONE) - PAGE_SIZE, 2), UCode.U_P2)
        assert await other.load(ONE) == shared == await other.host_read(ONE)
        await vm.reads_what_it_wrote()
        assert await uv_state(vm, ONE) == "SECURE"


async def test_13_invalidating_a_secure_page(pair: LivePair, vm: LiveVm) -> None:
    """Given a secure page and a paged-out one.

    When the Hypervisor invalidates them,
    then each call is refused with U_P2, and the guest reads what it wrote.
    """
    await vm.write(ONE)
    await vm.write(TWO)
    await vm.page_out(TWO)
    await foiled(pair, inval(vm.lpid, ONE), UCode.U_P2)
    await foiled(pair, inval(vm.lpid, TWO), UCode.U_P2)
    await vm.reads_what_it_wrote()
    assert await hv_state(vm, TWO) == "SECURE"


async def test_40_the_same_plaintext_out_twice(vm: LiveVm) -> None:
    """Given two pages with the same text.

    When each is paged out eight times,
    then no ciphertext comes twice, and no two have a part in common.
    """
    page = await vm.write(ONE, "the same text again and again")
    await vm.guest.store(TWO * PAGE_SIZE, page)
    sealed = []
    for _ in range(8):
        for gfn in (ONE, TWO):
            sealed.append(await vm.page_out(gfn))
            assert await vm.load(gfn) == page
    assert len(set(sealed)) == len(sealed), "a ciphertext came twice"
    # One (key, IV) pair used twice would show here: equal texts would have parts of equal ciphertext.
    streams = np.frombuffer(b"".join(sealed), np.uint64).reshape(len(sealed), -1)
    equal = [int((one == other).sum()) for at, one in enumerate(streams) for other in streams[:at]]
    assert max(equal) < 4
