"""Two services that answer the messages of one UV_ESM with nothing done: the floor that a real one stands on.

The same kit, the same calls nested alike, over the same kind of connection; but no VM, no page, no byte.
Run as `python empty_pair.py ultravisor|hypervisor`, with the settings of a service in the environment.
"""

import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pef_kit.core.effects import Operation, ask
from pef_kit.core.fence import Fence
from pef_kit.core.life import Life
from pef_kit.runtime.app import Service
from pef_kit.runtime.auth import Authenticator
from pef_kit.runtime.bus import MmapBus
from pef_kit.runtime.peer import Peer
from pef_kit.runtime.runner import EffectRunner
from pef_kit.runtime.serve import serve
from pef_kit.runtime.settings import ServiceSettings
from pef_kit.runtime.trace import Observer
from pef_protocol.calls import HYPERCALLS, ULTRACALLS, Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side
from pef_protocol.http import Caller, Role
from pef_protocol.hypercalls import SvmInitDone, SvmInitStart, SvmPageIn
from pef_protocol.identity import Epoch, InstanceId
from pef_protocol.quantities import PAGE_ORDER, Gpa, Lpid, SlotId
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.ultracalls import PageIn, RegisterMemSlot

LPID = Lpid(1)
PAGE_INS = 8
"""H_SVM_PAGE_IN of a tracked UV_ESM; a test holds this against a real one."""


def empty_ultracall(_: Caller, name: str, __: Any) -> Operation[Reply]:
    """Answer UV_ESM by asking what a real one asks, and everything else at once."""
    if name == "UV_ESM":
        yield from ask("H_SVM_INIT_START", SvmInitStart(LPID))
        for _turn in range(PAGE_INS):
            yield from ask("H_SVM_PAGE_IN", SvmPageIn(LPID, PageRuns.of((0, 1)), 0, PAGE_ORDER))
        yield from ask("H_SVM_INIT_DONE", SvmInitDone(LPID))
    return Reply(UCode.U_SUCCESS)


def empty_hypercall(_: Caller, name: str, __: Any) -> Operation[Reply]:
    """Answer by asking what a real Hypervisor asks in that call."""
    if name == "H_SVM_INIT_START":
        yield from ask("UV_REGISTER_MEM_SLOT", RegisterMemSlot(LPID, Gpa(0), 1 << 16, 0, SlotId(0)))
    elif name == "H_SVM_PAGE_IN":
        yield from ask("UV_PAGE_IN", PageIn(LPID, PlacedRuns.of((1 << 32, 0, 1)), 0, PAGE_ORDER))
    return Reply(HCode.H_SUCCESS)


def main() -> None:
    """Serve one empty side."""
    side = Side(sys.argv[1])
    settings = ServiceSettings()
    own, theirs = settings.ultravisor_token, settings.hypervisor_token
    if side is Side.HYPERVISOR:
        own, theirs = theirs, own
    observer, threads = Observer(side), ThreadPoolExecutor(1)
    other = Side.HYPERVISOR if side is Side.ULTRAVISOR else Side.ULTRAVISOR
    peer = Peer(
        other,
        settings.peer_url,
        own.get_secret_value(),
        connections=settings.peer_connections,
        timeout=settings.peer_timeout,
        new_id=lambda: secrets.token_hex(8),
    )
    service = Service(
        side,
        ULTRACALLS if side is Side.ULTRAVISOR else HYPERCALLS,
        empty_ultracall if side is Side.ULTRAVISOR else empty_hypercall,
        authenticator=Authenticator(
            {Role(other): theirs.get_secret_value()}, settings.guest_key.get_secret_value()
        ),
        perform=EffectRunner(peer, MmapBus(threads), threads, observer),
        observer=observer,
        fence=Fence(life=Life("the one epoch", epoch=Epoch(InstanceId("0" * 32), 1))),
    )
    serve(service.app, settings)


if __name__ == "__main__":
    main()
