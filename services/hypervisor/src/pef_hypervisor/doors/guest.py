"""The door of normal VMs: their loads and stores. The token says which VM it is."""

from typing import Final

from fastapi import Request, Response

from pef_hypervisor.checks import Refused
from pef_hypervisor.dispatch import Hypervisor
from pef_kit.clients import Check
from pef_kit.doors import Problem, number
from pef_kit.http import Service, json_response
from pef_protocol.wire import GUEST_PATH, OCTETS

LONGEST: Final = 16 << 20
"""Bytes of one load or store."""
BUSY: Final = "busy"


def add_guest_door(service: Service, hypervisor: Hypervisor) -> None:
    """Add the guest's routes."""

    async def load(request: Request) -> Response:
        caller, lpid = service.doorkeeper.guest(request)
        gpa, length = number(request, "gpa"), number(request, "length")
        if length > LONGEST:
            raise Problem(422, "Unprocessable Content", f"length: at most {LONGEST} bytes", "length")

        async def loaded(current: Check) -> Response:
            seen = await service.run_alone(hypervisor.load(lpid, gpa, length), current)
            return refusal(seen) if isinstance(seen, Refused) else Response(seen, media_type=OCTETS)

        return await service.as_guest(request, caller, b"", loaded, looks=True)

    async def store(request: Request) -> Response:
        caller, lpid = service.doorkeeper.guest(request)
        gpa = number(request, "gpa")
        content = await service.body(request, LONGEST)

        async def stored(current: Check) -> Response:
            refused = await service.run_alone(hypervisor.store_bytes(lpid, gpa, content), current)
            return json_response({"access": "resolved"}) if refused is None else refusal(refused)

        return await service.as_guest(request, caller, content, stored)

    service.post(GUEST_PATH + "load", load, reads=False)
    service.post(GUEST_PATH + "store", store)


def refusal(refused: Refused) -> Response:
    """Return an access that did not resolve."""
    shown = {"access": "refused", "reason": refused.reason, "gpa": refused.gpa}
    return json_response(shown, nothing_done=refused.reason == BUSY)
