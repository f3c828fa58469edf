"""Routes of SVMs: their loads and stores while they are secure, and the key that images are made for."""

from fastapi import Request, Response
from pydantic import BaseModel

from pef_kit.runtime import openapi
from pef_kit.runtime.app import Service, json_response
from pef_kit.runtime.auth import TheGuest
from pef_kit.runtime.clients import Access, Keyed, Length, Octets, access_refused
from pef_kit.runtime.messages import MEMORY, Number
from pef_kit.runtime.runner import Precondition
from pef_kit.runtime.trace import recorded_access
from pef_protocol.http import GUEST_PATH, OCTETS, Role
from pef_protocol.quantities import Gpa
from pef_ultravisor.access import AccessFailure
from pef_ultravisor.dispatch import guest_load, guest_store
from pef_ultravisor.state import Ultravisor


class ShownMachineKey(BaseModel):
    """The machine's public key, which images are sealed for, in hexadecimal digits."""

    public_key: str
    key_id: str


def add_guest_routes(service: Service, uv: Ultravisor) -> None:
    """Add the loads and stores of SVMs, of at most `MEMORY` bytes, and the machine's public key."""

    async def load(request: Request, guest: TheGuest, gpa: Number, length: Length) -> Response:
        """Load bytes of guest memory as the SVM: octets, or why the access was refused."""

        async def loaded(current: Precondition) -> Response:
            with recorded_access(
                service.observer, request.headers, guest.caller, "load", gpa, length
            ) as recorded:
                try:
                    content = await service.run(guest_load(uv, guest.lpid, Gpa(gpa), length), current)
                except AccessFailure as failure:
                    recorded.ends("refused", failure.reason)
                    return access_refused(failure.reason, failure.gpa)
                recorded.ends("resolved")
            return Response(content, media_type=OCTETS)

        return await service.as_guest(request, guest.caller, loaded, reads=True)

    async def store(request: Request, guest: TheGuest, gpa: Number, content: Octets, _: Keyed) -> Response:
        """Store the octets of the body into guest memory as the SVM."""

        async def stored(current: Precondition) -> Response:
            with recorded_access(
                service.observer, request.headers, guest.caller, "store", gpa, len(content)
            ) as recorded:
                try:
                    await service.run(guest_store(uv, guest.lpid, Gpa(gpa), content), current)
                except AccessFailure as failure:
                    recorded.ends("refused", failure.reason)
                    return access_refused(failure.reason, failure.gpa)
                recorded.ends("resolved")
            return json_response({"access": "resolved"})

        return await service.as_guest(request, guest.caller, stored)

    async def machine_key() -> Response:
        """Return the machine's public key: an image is made for one machine."""
        key = uv.machine_key
        return json_response({"public_key": key.public_bytes.hex(), "key_id": key.key_id.hex()})

    service.add(
        "POST",
        GUEST_PATH + "load",
        load,
        Role.GUEST,
        tag=openapi.GUEST,
        answer=Access,
        needs_epoch=True,
        responses=openapi.OR_OCTETS,
    )
    service.add(
        "POST",
        GUEST_PATH + "store",
        store,
        Role.GUEST,
        tag=openapi.GUEST,
        answer=Access,
        limit=MEMORY,
        needs_epoch=True,
        openapi_extra=openapi.MEMORY_BODY,
    )
    service.add("GET", "/v1/machine-key", machine_key, tag=openapi.GUEST, answer=ShownMachineKey)
