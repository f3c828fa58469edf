"""The VMM's door: operations on VMs as JSON, guest memory as octets.

Every operation that is understood is HTTP 200 with `errno`, `name` and `detail`; a malformed one is a problem
that names the field. An operation on a VM takes `If-Match: "incarnation"`: 412 where the VM is another.
"""

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.outcome import Errno, Outcome
from pef_kit.bodies import MEMORY
from pef_kit.clients import Check
from pef_kit.doors import Problem, number, path_number
from pef_kit.http import Service, json_response
from pef_kit.operations import Operation
from pef_protocol.designs import Design
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import U64_MAX
from pef_protocol.wire import IF_MATCH, OCTETS, VMM_PATH, Caller, Role

U64 = Annotated[int, Field(strict=True, ge=0, le=U64_MAX)]


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
Begin = Callable[[], Operation[Outcome | bytes] | Operation[Outcome]]


def add_vmm_door(service: Service, hypervisor: Hypervisor) -> None:
    """Add the VMM's routes; a read or a write may have `MEMORY` bytes."""

    async def run(
        request: Request, caller: Caller, body: bytes, begin: Begin, *, looks: bool = False
    ) -> Response:
        """Answer by the operation that `begin` gives, once the body is there."""
        check = matching(request, hypervisor)

        async def worked() -> Response:
            outcome = await service.run(begin(), check)
            if not isinstance(outcome, Outcome):
                return Response(outcome, media_type=OCTETS)
            return answer(outcome, hypervisor.incarnation_of(outcome.outputs.get("lpid", 0)))

        return await service.clients.act(request, caller, body, check, worked, looks=looks)

    def admit(request: Request) -> Caller:
        return service.doorkeeper.admit(request, Role.VMM)

    async def create(request: Request) -> Response:
        caller, body = admit(request), await service.body(request)
        asked = form(body, CreateVm)
        return await run(
            request,
            caller,
            body,
            lambda: hypervisor.create_vm(asked.design, secure_guest=asked.secure_guest, radix=asked.radix),
        )

    async def listed(request: Request) -> Response:
        admit(request)
        return json_response(hypervisor.vmm_list())

    async def destroy(request: Request) -> Response:
        caller, lpid = admit(request), path_number(request, "lpid")
        return await run(request, caller, b"", lambda: hypervisor.destroy(lpid))

    async def add_slot(request: Request) -> Response:
        caller, body = admit(request), await service.body(request)
        asked, lpid = form(body, AddSlot), path_number(request, "lpid")
        return await run(
            request,
            caller,
            body,
            lambda: hypervisor.add_slot(lpid, asked.slotid, asked.gpa, asked.size),
        )

    async def remove_slot(request: Request) -> Response:
        caller = admit(request)
        lpid, slot_id = path_number(request, "lpid"), path_number(request, "slotid")
        return await run(request, caller, b"", lambda: hypervisor.remove_slot(lpid, slot_id))

    async def read(request: Request) -> Response:
        caller = admit(request)
        lpid, gpa, length = path_number(request, "lpid"), number(request, "gpa"), number(request, "length")
        if length > MEMORY:
            raise Problem(422, "Unprocessable Content", f"length: at most {MEMORY} bytes", "length")
        return await run(request, caller, b"", lambda: hypervisor.host_read(lpid, gpa, length), looks=True)

    async def write(request: Request) -> Response:
        caller = admit(request)
        lpid, gpa = path_number(request, "lpid"), number(request, "gpa")
        content = await service.body(request, MEMORY)
        return await run(request, caller, content, lambda: hypervisor.host_write(lpid, gpa, content))

    async def unmap(request: Request) -> Response:
        caller, body = admit(request), await service.body(request)
        asked, lpid = form(body, Unmap), path_number(request, "lpid")
        return await run(request, caller, body, lambda: hypervisor.unmap(lpid, asked.gpa, asked.count))

    async def reset(request: Request) -> Response:
        caller, lpid = admit(request), path_number(request, "lpid")
        return await run(request, caller, b"", lambda: hypervisor.reset(lpid))

    vm = VMM_PATH + "vms/{lpid}"
    service.post(VMM_PATH + "vms", create)
    service.get(VMM_PATH + "vms", listed)
    service.delete(vm, destroy)
    service.post(vm + "/slots", add_slot)
    service.delete(vm + "/slots/{slotid}", remove_slot)
    service.post(vm + "/read", read, reads=False)
    service.post(vm + "/write", write)
    service.post(vm + "/unmap", unmap)
    service.post(vm + "/reset", reset, reads=False)


def form(body: bytes, kind: type[FormT]) -> FormT:
    """Return the form that a body writes; raise Problem 422 where it is none."""
    try:
        return kind.model_validate_json(body or b"null")
    except ValidationError as refusal:
        first = refusal.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "body"
        raise Problem(422, "Unprocessable Content", f"{where}: {first['msg']}", where) from None


def matching(request: Request, hypervisor: Hypervisor) -> Check:
    """Return the check that the VM of a request is the one that its `If-Match` names, if it has one."""
    named = request.headers.get(IF_MATCH)

    def check() -> None:
        if named is None or "lpid" not in request.path_params:
            return
        lpid = path_number(request, "lpid")
        found = hypervisor.incarnation_of(lpid)
        if found is None or named not in {f'"{found}"', "*"}:
            detail = f"VM {lpid} is another one, or is no more: GET {VMM_PATH}vms lists what there is"
            raise Problem(412, "Precondition Failed", detail, IF_MATCH)

    return check


def answer(outcome: Outcome, incarnation: Incarnation | None) -> Response:
    """Return an outcome as it travels, with the incarnation of a VM that it made."""
    shown = {
        "errno": int(outcome.errno),
        "name": outcome.errno.name,
        "detail": outcome.detail,
        **outcome.outputs,
        **({"incarnation": str(incarnation)} if incarnation else {}),
    }
    return json_response(shown, nothing_done=outcome.errno is Errno.EBUSY)
