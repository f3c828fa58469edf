"""Secrecy, observed: what an SVM keeps to itself is nowhere that the Hypervisor can look.

A guest fills pages with canaries once it is secure. After everything that may happen to a page they are
searched for in all that passed between the two sides, in normal memory, in the Hypervisor process's own
memory, and in the logs, traces, metrics and views of both. The same searches do find a shared page's canary,
and the Ultravisor's own memory does hold the private ones.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from harness.canaries import file_contents, process_contents
from harness.fault_injections import octets
from harness.hostile import foiled, refused_load
from harness.live import LivePair, LivePlan, live_pair
from harness.live_vm import FREE, LiveVm, flipped, live_vm
from harness.process_memory import may_read
from pef_lab.between.fault_injections import claim
from pef_lab.endpoint import Endpoint
from pef_lab.failures import Refusal
from pef_lab.hostile.canaries import CANARY_BYTES, Flock
from pef_lab.hostile.requests import inval, page_in, page_out
from pef_lab.minting import guest_token
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, gpa_of
from pef_protocol.ultracalls import EsmbGetFile

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

PRIVATE = range(FREE, FREE + 12)
SHARED = FREE + 20
VERBOSE_LOGGING = Path(__file__).with_name("verbose_logging")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(False, id="over_http"),
        pytest.param(True, id="mapped", marks=pytest.mark.verify),
    ],
)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[LivePair]:
    """Start a pair that logs everything, with either form of the memory bus."""
    form = "text" if request.param else "json"
    variables = (("PYTHONPATH", str(VERBOSE_LOGGING)), ("PEF_LOG", form))
    async with live_pair(LivePlan(mapped=request.param, variables=variables)) as running:
        yield running


def bodies(pair: LivePair) -> Iterator[tuple[str, bytes]]:
    """Yield all that passed between the two sides."""
    for exchange in pair.exchanges:
        yield f"the exchange {exchange.path}", exchange.everything


def logs(pair: LivePair) -> Iterator[tuple[str, bytes]]:
    """Yield what both services printed."""
    for service in (pair.ultravisor, pair.hypervisor):
        yield f"the log of the {service.name}", service.log.read_bytes()


def all_is_logged(pair: LivePair) -> bool:
    """Tell whether both services have said as much as they can: calls, requests, and messages of uvicorn."""
    said = [service.log.read_text(encoding="utf-8") for service in (pair.ultravisor, pair.hypervisor)]
    what = ("UV_PAGE_OUT U_SUCCESS", "POST /v1/ultracalls/UV_PAGE_OUT", "http.response.start")
    return all(part in said[0] for part in what) and "H_SVM_PAGE_IN H_SUCCESS" in said[1]


async def views(pair: LivePair, lpid: int) -> list[tuple[str, bytes]]:
    """Return all that an observer sees of either side."""
    paths = ["/metrics", *(f"/v1/observer/{view}" for view in ("vms", "digest", "invariants"))]
    paths += [f"/v1/observer/gfns?lpid={lpid}", "/v1/observer/trace?after=0", "/openapi.json"]
    return [
        (f"{path} of the {endpoint.name}", (await endpoint.ask("GET", path)).content)
        for endpoint in pair.observers
        for path in paths
    ]


async def seen(pair: LivePair, vm: LiveVm, flock: Flock) -> set[str]:
    """Return every place that the Hypervisor or an observer can look at, and has a canary of `flock`."""
    found = flock.in_all(bodies(pair)) | flock.in_all(logs(pair))
    found |= flock.in_all(file_contents(pair.normal_memory))
    found |= flock.in_all(process_contents(pair.hypervisor.pid, pair.normal_memory))
    return found | flock.in_all(await views(pair, vm.lpid))


async def live_through(pair: LivePair, vm: LiveVm) -> None:
    """Do to private pages all that may happen to them, well and ill."""
    for gfn in PRIVATE:
        await vm.write(gfn)
    await vm.reads_what_it_wrote()
    out = PRIVATE[:6]
    for gfn in out:
        await vm.page_out(gfn)
    await vm.load(out[0])
    await vm.write(out[1])
    await vm.guest.store(gpa_of(out[2]) + 100, vm.wrote[out[2]][100:200])
    for refused in (out[0], PRIVATE[8]):
        await foiled(pair, page_in(vm.lpid, refused, pair.spare()), UCode.U_P2)
        await foiled(pair, inval(vm.lpid, refused), UCode.U_P2)
    await foiled(pair, page_in(vm.lpid, out[3], pair.spare()), UCode.U_P3)
    await foiled(pair, page_out(vm.lpid, out[3], pair.spare()), UCode.U_PARAMETER)
    assert await refused_load(vm, 1 << 20) == "no slot"
    with pytest.raises(Refusal, match="no slot"):
        await vm.guest.store(vm.image.memory_size - 64, vm.wrote[out[0]])
    pair.to_hypervisor.answers("H_SVM_PAGE_IN", claim(HCode.H_PARAMETER))
    with pytest.raises(Refusal, match="U_P2"):
        await vm.guest.share(PRIVATE[9])
    await vm.guest.share(PRIVATE[10])
    assert await vm.host_read(PRIVATE[10]) == await vm.load(PRIVATE[10]) == bytes(PAGE_SIZE)
    await vm.guest.unshare(PRIVATE[10])
    await vm.write(PRIVATE[10])


async def a_failing_esm(pair: LivePair) -> None:
    """Have another VM's UV_ESM fail at its last step."""
    async with live_vm(pair, change=lambda image: flipped(image, "initrd", 9)) as broken:
        await broken.load_image()
        assert (await broken.secure()).code is UCode.U_PERMISSION


async def test_44_plaintext_of_private_pages_is_nowhere(pair: LivePair) -> None:
    """Given a guest that filled its private pages with canaries.

    When it pages, shares, fails, is reset and is destroyed,
    then no canary is found where the Hypervisor can look, while a shared page's is.
    """
    private, public = Flock(), Flock()
    disk_key = private.page("the attached file")[: 3 * CANARY_BYTES]
    async with live_vm(pair, disk_key=disk_key) as vm:
        vm.flock = private
        await vm.boot()
        token = await guest_token(pair.endpoints, Side.ULTRAVISOR, vm.lpid)
        async with Endpoint("Ultravisor", pair.endpoints.ultravisor_url, token) as guest:
            got = await guest.call("UV_ESMB_GET_FILE", EsmbGetFile("disk-key", 0))
        assert got.outputs["bytes"] == disk_key[:64].hex()

        await live_through(pair, vm)
        await a_failing_esm(pair)
        await vm.guest.share(SHARED)
        message = public.page("the shared page")
        await vm.guest.store(gpa_of(SHARED), message)
        assert await vm.host_read(SHARED) == message

        assert await seen(pair, vm, private) == set()
        for where in ("normal memory", "process memory"):
            assert any(where in found for found in await seen(pair, vm, public))
        if not pair.plan.mapped:
            assert any("normal-memory/write" in found for found in await seen(pair, vm, public))
        if may_read(pair.ultravisor.pid):
            assert private.in_all(process_contents(pair.ultravisor.pid, pair.normal_memory))
        await vm.reads_what_it_wrote()

        await pair.vmm.reset(vm.lpid)
        assert await seen(pair, vm, private) == set()
    assert await seen(pair, vm, private) == set()
    assert await pair.broken() == []
    assert all_is_logged(pair), "a service that logs everything said too little"


@pytest.mark.parametrize("pair", [pytest.param(False, id="over_http")], indirect=True)
async def test_04_a_page_cut_short_on_the_bus(pair: LivePair) -> None:
    """Given a paged-out page, over the bus of HTTP.

    When the Hypervisor answers the read with a byte too few, one too many or none,
    then UV_PAGE_IN is told U_BUSY and says why, and the whole page is taken.
    """
    async with live_vm(pair) as vm:
        await vm.boot()
        await vm.write(FREE)
        sealed = await vm.page_out(FREE)

        for wrong in (sealed[:-1], sealed + b"\0", b""):
            pair.to_hypervisor.always("read", octets(wrong))
            reply = await pair.ultracall(page_in(vm.lpid, FREE, vm.ra(FREE)))
            assert reply.code is UCode.U_BUSY
            assert reply.detail == "/v1/normal-memory/read to hypervisor: wrong number of bytes"
        pair.to_hypervisor.honest_again()
        await vm.reads_what_it_wrote()
    assert await pair.broken() == []
