"""Secrecy: a guest's text is nowhere that anybody else can look: attacks 42 and 44.

Every other attempt, too, ends with a search of all that has passed between the two sides.
"""

import json
import secrets
from collections.abc import AsyncIterator
from typing import Final

import httpx

from pef_lab.between.fault_injections import claim
from pef_lab.endpoint import Endpoint
from pef_lab.failures import Refusal
from pef_lab.hostile.attack import Attack
from pef_lab.hostile.canaries import CANARY_BYTES, Flock
from pef_lab.hostile.ground import Ground
from pef_lab.hostile.requests import inval, page_in, page_out
from pef_lab.hostile.trial import AS_WRITTEN, NOWHERE, Trial
from pef_lab.hostile.victim import DISK_KEY, FREE, MEMORY, Victim, flipped
from pef_lab.minting import guest_token
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side
from pef_protocol.http import JSON, OBSERVER_PATH, Role
from pef_protocol.quantities import PAGE_SIZE, gpa_of
from pef_protocol.ultracalls import EsmbGetFile

PRIVATE: Final = range(FREE, FREE + 12)
SHARED: Final = FREE + 20
PIECE: Final = 4 << 20
"""Bytes of normal memory that are searched at once."""
VIEWS: Final = ("vms", "digest", "invariants", "trace?after=0")
GUESSES: Final = ("/debug", "/v1/debug", "/v1/debug/memory", "/v1/secure-memory", "/v1/secure-memory/read")
"""Doors that nobody may have built."""
ASKING: Final = 30.0
"""Seconds that a request may take."""
AS_ATTACHED: Final = "as attached"
HEARD: Final = "heard of it"


async def plaintext_anywhere(at: Trial) -> None:
    """Do to private pages all that may happen to them, and search for them wherever one can look."""
    public = Flock()
    hidden = Flock()
    disk_key = hidden.page("the attached file")[: 3 * CANARY_BYTES]
    async with at.vm(disk_key=disk_key) as vm:
        await vm.boot()
        token = await guest_token(at.ground.endpoints, Side.ULTRAVISOR, vm.lpid)
        async with Endpoint("Ultravisor", at.ground.endpoints.ultravisor_url, token) as guest:
            got = await guest.call("UV_ESMB_GET_FILE", EsmbGetFile(DISK_KEY, 0))
        given = str(got.outputs.get("bytes")).encode()
        at.saw_bytes("the attached file, for its guest", given, disk_key[:64].hex().encode(), AS_ATTACHED)

        words = await _live_through(at, vm)
        async with at.vm(change=lambda image: flipped(image, "initrd", 9)) as broken:
            await broken.load_image()
            at.answered("UV_ESM", (await broken.enter()).code, UCode.U_PERMISSION)
        await vm.guest.share(SHARED)
        message = public.page("the shared page")
        await vm.guest.store(gpa_of(SHARED), message)
        at.saw_bytes("host's look at the shared page", await vm.host_read(SHARED), message, AS_WRITTEN)

        places = [(where, content) async for where, content in _places(at.ground, vm)]
        places += [("the words of a refusal", word.encode()) for word in words]
        found = vm.flock.in_all(places) | hidden.in_all(places)
        at.saw("private text in memory, views, words", "; ".join(sorted(found)) or NOWHERE, NOWHERE)
        heard = HEARD if any("normal memory" in each for each in public.in_all(places)) else NOWHERE
        at.saw("shared text, by the same search", heard, HEARD)
        await at.guest_finds(vm)


async def _live_through(at: Trial, vm: Victim) -> list[str]:
    """Do to private pages all that may happen to them; return what was said about what was refused."""
    spare = at.ground.spare()
    await at.ground.memory.poke(spare, secrets.token_bytes(PAGE_SIZE))
    for gfn in PRIVATE:
        await vm.write(gfn)
    out, kept = PRIVATE[:6], PRIVATE[8:]
    for gfn in out:
        await at.paged_out(vm, gfn)
    await at.guest_reads(vm, out[0], vm.wrote[out[0]], AS_WRITTEN)
    await vm.write(out[1])
    await vm.guest.store(gpa_of(out[2]) + 100, vm.wrote[out[2]][100:200])
    tried: list[tuple[object, UCode]] = [
        *((page_in(vm.lpid, gfn, spare), UCode.U_P2) for gfn in (out[0], kept[0])),
        *((inval(vm.lpid, gfn), UCode.U_P2) for gfn in (out[0], kept[0])),
        (page_in(vm.lpid, out[3], spare), UCode.U_P3),
        (page_out(vm.lpid, out[3], spare), UCode.U_PARAMETER),
    ]
    words = [(await at.foiled(request, code)).detail for request, code in tried]
    try:
        await vm.guest.store(MEMORY - 64, vm.wrote[out[0]])
    except Refusal as refusal:
        words.append(str(refusal))
    at.ground.to_hypervisor.answers("H_SVM_PAGE_IN", claim(HCode.H_PARAMETER))
    words.append(await at.refuses("UV_SHARE_PAGE", vm.guest.share(kept[1]), UCode.U_P2))
    await vm.guest.share(kept[2])
    await vm.guest.unshare(kept[2])
    await vm.write(kept[2])
    return words


async def _places(ground: Ground, vm: Victim) -> AsyncIterator[tuple[str, bytes]]:
    """Yield what the Hypervisor and an observer can read: normal memory, views, metrics."""
    for start in range(0, MEMORY, PIECE):
        yield "normal memory", await ground.memory.peek(vm.ra(0) + start, PIECE)
    yield "normal memory", await ground.memory.peek(ground.spare())
    for door in ground.observers.values():
        for path in ("/metrics", "/openapi.json", *(OBSERVER_PATH + view for view in VIEWS)):
            yield f"{path} of the {door.name}", (await door.ask("GET", path)).content
        shown = await door.ask("GET", f"{OBSERVER_PATH}gfns?lpid={vm.lpid}")
        yield f"its GFNs at the {door.name}", shown.content


async def doors_of_the_management(at: Trial) -> None:
    """Try every door that the Ultravisor has, and some that it must not have, as everybody but the guest."""
    async with at.svm() as vm:
        await vm.write(FREE)
        ground = at.ground
        tokens = (
            *(ground.tokens[Role.HYPERVISOR], ground.tokens[Role.ULTRAVISOR]),
            *(ground.endpoints.observer_token, ground.endpoints.vmm_token),
        )
        digests = await ground.digests()
        found: set[str] = set()
        async with httpx.AsyncClient(
            base_url=ground.endpoints.ultravisor_url, trust_env=False, timeout=ASKING
        ) as client:
            paths = [*json.loads((await client.get("/openapi.json")).content)["paths"], *GUESSES]
            asked = {"lpid": vm.lpid, "gpa": gpa_of(FREE), "length": PAGE_SIZE, "after": 0}
            for token in tokens:
                headers = {"authorization": f"Bearer {token}", "content-type": JSON}
                for method in ("GET", "POST", "PUT"):
                    for path in paths:
                        response = await client.request(
                            method, path, params=asked, headers=headers, content=b"{}"
                        )
                        found |= vm.flock.found(f"{method} {path}", response.content)
        at.saw(f"private text behind {len(paths)} doors", "; ".join(sorted(found)) or NOWHERE, NOWHERE)
        await at.digests_are(digests)
        await at.guest_finds(vm)


ATTACKS: Final = (
    Attack(42, "every door of the Ultravisor, as everybody but the guest", doors_of_the_management),
    Attack(44, "a guest's text in memory, messages, views, words", plaintext_anywhere),
)
