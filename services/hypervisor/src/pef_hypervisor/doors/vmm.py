"""The VMM's door: operations on VMs as JSON, guest memory as octets.

Every operation that is understood is HTTP 200 with `errno`, `name` and `detail`; a malformed one is a problem
that names the field.
"""

from typing import Annotated, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pef_hypervisor.from_vmm.outcome import Outcome
from pef_hypervisor.machine import Hypervisor
from pef_kit.bodies import MEMORY
from pef_kit.doors import Problem, number
from pef_kit.http import Service, json_response
from pef_protocol.designs import Design
from pef_protocol.quantities import U64_MAX
from pef_protocol.wire import OCTETS, VMM_PATH, Role

U64 = Annotated[int, Field(strict=True, ge=0, le=U64_MAX)]
LPID_DIGITS = 20


class Form(BaseModel):
    """A body of the VMM."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CreateVm(Form):
    """Create a VM."""

    design: Design
    secure_guest: Annotated[bool, Field(strict=True)]
    radix: Annotated[bool, Field(strict=True)]


class AddSlot(Form):
    """Add a slot: address and size in bytes."""

    slotid: U64
    gpa: U64
    size: U64


class Unmap(Form):
    """Unmap pages: address in bytes, count in pages."""

    gpa: U64
    count: U64


FormT = TypeVar("FormT", bound=Form)


def add_vmm_door(service: Service, hypervisor: Hypervisor) -> None:
    """Add the VMM's routes; a read or a write may have `MEMORY` bytes."""

    async def form(request: Request, kind: type[FormT]) -> FormT:
        service.doorkeeper.admit(request, Role.VMM)
        body = await service.body(request)
        try:
            return kind.model_validate_json(body or b"null")
        except ValidationError as refusal:
            first = refusal.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"]) or "body"
            raise Problem(422, "Unprocessable Content", f"{where}: {first['msg']}", where) from None

    async def create(request: Request) -> Response:
        asked = await form(request, CreateVm)
        operation = hypervisor.create_vm(asked.design, secure_guest=asked.secure_guest, radix=asked.radix)
        return answer(await service.run(operation))

    async def destroy(request: Request) -> Response:
        service.doorkeeper.admit(request, Role.VMM)
        return answer(await service.run(hypervisor.destroy(path_number(request, "lpid"))))

    async def add_slot(request: Request) -> Response:
        asked = await form(request, AddSlot)
        lpid = path_number(request, "lpid")
        return answer(await service.run(hypervisor.add_slot(lpid, asked.slotid, asked.gpa, asked.size)))

    async def remove_slot(request: Request) -> Response:
        service.doorkeeper.admit(request, Role.VMM)
        lpid, slot_id = path_number(request, "lpid"), path_number(request, "slotid")
        return answer(await service.run(hypervisor.remove_slot(lpid, slot_id)))

    async def read(request: Request) -> Response:
        service.doorkeeper.admit(request, Role.VMM)
        lpid, gpa, length = path_number(request, "lpid"), number(request, "gpa"), number(request, "length")
        if length > MEMORY:
            raise Problem(422, "Unprocessable Content", f"length: at most {MEMORY} bytes", "length")
        seen = await service.run(hypervisor.host_read(lpid, gpa, length))
        return answer(seen) if isinstance(seen, Outcome) else Response(seen, media_type=OCTETS)

    async def write(request: Request) -> Response:
        service.doorkeeper.admit(request, Role.VMM)
        lpid, gpa = path_number(request, "lpid"), number(request, "gpa")
        content = await service.body(request, MEMORY)
        return answer(await service.run(hypervisor.host_write(lpid, gpa, content)))

    async def unmap(request: Request) -> Response:
        asked = await form(request, Unmap)
        lpid = path_number(request, "lpid")
        return answer(await service.run(hypervisor.unmap(lpid, asked.gpa, asked.count)))

    async def reset(request: Request) -> Response:
        service.doorkeeper.admit(request, Role.VMM)
        return answer(await service.run(hypervisor.reset(path_number(request, "lpid"))))

    vm = VMM_PATH + "vms/{lpid}"
    service.post(VMM_PATH + "vms", create)
    service.delete(vm, destroy)
    service.post(vm + "/slots", add_slot)
    service.delete(vm + "/slots/{slotid}", remove_slot)
    service.post(vm + "/read", read, reads=False)
    service.post(vm + "/write", write)
    service.post(vm + "/unmap", unmap)
    service.post(vm + "/reset", reset, reads=False)


def answer(outcome: Outcome) -> Response:
    """Return an outcome as it travels."""
    return json_response(
        {
            "errno": int(outcome.errno),
            "name": outcome.errno.name,
            "detail": outcome.detail,
            **outcome.outputs,
        }
    )


def path_number(request: Request, name: str) -> int:
    """Return the number in a path; raise Problem 422 where it is none."""
    text = str(request.path_params[name])
    if not (text.isascii() and text.isdecimal()) or len(text) > LPID_DIGITS:
        raise Problem(422, "Unprocessable Content", f"{name}: not an unsigned number", name)
    return int(text)
