"""Routes of normal VMs: their loads and stores. The token says which VM it is."""

from fastapi import Request, Response

from pef_hypervisor.checks import Refused
from pef_hypervisor.dispatch import Hypervisor
from pef_kit.runtime import openapi
from pef_kit.runtime.app import Service, json_response
from pef_kit.runtime.auth import TheGuest
from pef_kit.runtime.clients import Access, Keyed, Length, Octets, access_refused
from pef_kit.runtime.messages import MEMORY, Number
from pef_kit.runtime.runner import Precondition
from pef_kit.runtime.trace import recorded_access
from pef_protocol.http import GUEST_PATH, OCTETS, Role


def add_guest_routes(service: Service, hypervisor: Hypervisor) -> None:
    """Add the guest's routes; a load or a store may have `MEMORY` bytes."""

    async def load(request: Request, guest: TheGuest, gpa: Number, length: Length) -> Response:
        """Load bytes of guest memory as the VM: octets, or why the access was refused."""

        async def loaded(current: Precondition) -> Response:
            with recorded_access(
                service.observer, request.headers, guest.caller, "load", gpa, length
            ) as recorded:
                seen = await service.run_alone(hypervisor.load(guest.lpid, gpa, length), current)
                if isinstance(seen, Refused):
                    recorded.ends("refused", seen.reason)
                    return access_refused(seen.reason, seen.gpa)
                recorded.ends("resolved")
            return Response(seen, media_type=OCTETS)

        return await service.as_guest(request, guest.caller, loaded, reads=True)

    async def store(request: Request, guest: TheGuest, gpa: Number, content: Octets, _: Keyed) -> Response:
        """Store the octets of the body into guest memory as the VM."""

        async def stored(current: Precondition) -> Response:
            with recorded_access(
                service.observer, request.headers, guest.caller, "store", gpa, len(content)
            ) as recorded:
                refused = await service.run_alone(hypervisor.store_bytes(guest.lpid, gpa, content), current)
                if refused is not None:
                    recorded.ends("refused", refused.reason)
                    return access_refused(refused.reason, refused.gpa)
                recorded.ends("resolved")
            return json_response({"access": "resolved"})

        return await service.as_guest(request, guest.caller, stored)

    service.add(
        "POST",
        GUEST_PATH + "load",
        load,
        Role.GUEST,
        tag=openapi.GUEST,
        answer=Access,
        responses=openapi.OR_OCTETS,
        problems=(409, 503),
    )
    service.add(
        "POST",
        GUEST_PATH + "store",
        store,
        Role.GUEST,
        tag=openapi.GUEST,
        answer=Access,
        limit=MEMORY,
        problems=(409, 503),
        openapi_extra=openapi.MEMORY_BODY,
    )
