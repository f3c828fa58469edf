"""What comes before the first attack: that the doors open, that we stand on the wire, and an accomplice."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pef_lab.between.script import ScriptedBetween
from pef_lab.failures import Refusal, WrongInput
from pef_lab.guest import Guest
from pef_lab.hostile.ground import Ground
from pef_lab.hostile.victim import FREE, MEMORY, Victim, small_image
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE, U64_MAX, Lpid, gpa_of
from pef_protocol.ultracalls import SvmTerminate

MARK: Final = 32
"""Random bytes by which a page is known again."""


async def try_the_doors(ground: Ground) -> None:
    """See that every token is known at its door; raise Unanswered where one is not."""
    await ground.digests()
    reply = await ground.ultracall(SvmTerminate(Lpid(U64_MAX)))
    if reply.code is not UCode.U_PARAMETER:
        raise Refusal("UV_SVM_TERMINATE of no VM", reply.code.name, reply.detail)
    ground.machine_public_key = await ground.watch.machine_public_key()


@asynccontextmanager
async def accomplice(ground: Ground) -> AsyncIterator[None]:
    """Have a normal VM whose pages' real addresses are known: it was secure for a moment.

    Raise WrongInput where the services don't call each other through us, or its pages are not where they
    were said to be.
    """
    lpid = await ground.vmm.create(Design.TRACKED)
    try:
        _must_have_passed(ground.to_ultravisor, "UV_WRITE_PATE")
        async with Guest(ground.endpoints, lpid) as guest:
            await ground.vmm.plug(lpid, 0, 0, MEMORY)
            image = small_image(ground.machine_public_key, b"nothing")
            vm = Victim(ground, guest, image, Design.TRACKED)
            await vm.boot()
            _must_have_passed(ground.to_hypervisor, "H_SVM_INIT_START")
            ground.spares = vm.ra(FREE)
            await ground.vmm.reset(lpid)
        mark = secrets.token_bytes(MARK)
        await ground.vmm.write(lpid, gpa_of(FREE + 1), mark)
        if await ground.memory.peek(ground.spares + PAGE_SIZE, MARK) != mark:
            raise WrongInput(
                "normal memory is not where the Hypervisor says: is that its own Ultravisor's token?"
            )
        yield
    finally:
        await ground.destroy(lpid)


def _must_have_passed(between: ScriptedBetween, name: str) -> None:
    if name not in between.names:
        raise WrongInput(f"{name} did not pass {between.url}: is that where the {between.to} is called?")
