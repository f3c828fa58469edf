"""Routes of the VMM: operations on VMs as JSON, guest memory as octets.

Every operation that is understood is HTTP 200 with `errno`, `name` and `detail`; a malformed one is a problem
that names the field. An operation on a VM takes `If-Match: "incarnation"`: 412 where the VM is another.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from pef_hypervisor.designs import DESIGNS
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.outcome import Errno, Outcome
from pef_kit.core.designs import require_registered
from pef_kit.core.effects import Operation
from pef_kit.runtime import openapi
from pef_kit.runtime.app import Service, json_response
from pef_kit.runtime.auth import Problem, TheCaller
from pef_kit.runtime.clients import Keyed, Length, Octets
from pef_kit.runtime.edge import SMALL
from pef_kit.runtime.messages import MEMORY, U64, Number
from pef_kit.runtime.trace import Recorded
from pef_protocol.designs import DesignName
from pef_protocol.events import EventKind
from pef_protocol.http import IF_MATCH, OCTETS, VMM_PATH, Caller, Role
from pef_protocol.identity import Incarnation

VMS: Final = VMM_PATH + "vms"
VM: Final = VMS + "/{lpid}"
Begin = Callable[[], Operation[Outcome | bytes] | Operation[Outcome]]
Etag = Annotated[str | None, Header(alias=IF_MATCH, description='The VM that is meant: "incarnation" or *')]
Registered = Annotated[
    DesignName,
    PlainValidator(partial(require_registered, DESIGNS)),
    WithJsonSchema({"type": "string", "enum": [*DESIGNS]}),
]
"""The name of a design that this Hypervisor has."""


class Form(BaseModel):
    """A body of the VMM."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CreateVm(Form):
    """A VM to create."""

    design: Registered
    secure_guest: Annotated[bool, Field(strict=True)]
    radix: Annotated[bool, Field(strict=True)]


class AddSlot(Form):
    """A slot to add: address and size in bytes."""

    slotid: U64
    gpa: U64
    size: U64


class Unmap(Form):
    """Pages to unmap: address in bytes, count in pages."""

    gpa: U64
    count: U64


class VmmOutcome(BaseModel):
    """How an operation ended, by the error numbers of Linux; of a VM that was created, which one it is."""

    errno: int
    name: str
    detail: str
    lpid: int | None = None
    incarnation: str | None = None


class ListedSlot(BaseModel):
    """A slot; address and size in bytes."""

    slotid: int
    gpa: int
    size: int


class ListedVm(BaseModel):
    """A VM as its VMM sees it."""

    lpid: int
    incarnation: str
    design: Registered
    state: str
    slots: list[ListedSlot]


class ListedVms(BaseModel):
    """All VMs."""

    vms: list[ListedVm]


class Operations:
    """Runs the operations of the VMM: once per key, and only on the VM that `If-Match` names."""

    def __init__(self, service: Service, hypervisor: Hypervisor) -> None:
        self._service = service
        self._hypervisor = hypervisor

    async def run(
        self,
        request: Request,
        caller: Caller,
        name: str,
        begin: Begin,
        *,
        lpid: int | None = None,
        etag: str | None = None,
        reads: bool = False,
        **arguments: int | str,
    ) -> Response:
        """Answer by the operation that `begin` gives, once the body is there; raise Problem 412."""
        if lpid is not None:
            arguments = {"lpid": lpid, **arguments}

        def check() -> None:
            if lpid is not None and etag is not None:
                self.require_match(lpid, etag)

        async def worked() -> Response:
            with Recorded(
                self._service.observer, request.headers, caller, EventKind.OPERATION, name, arguments
            ) as recorded:
                outcome = await self._service.run(begin(), check)
                if not isinstance(outcome, Outcome):
                    recorded.ends(Errno.OK.name)
                    return Response(outcome, media_type=OCTETS)
                recorded.ends(outcome.errno.name, outcome.detail)
            return answer(outcome, self._hypervisor.incarnation_of(outcome.outputs.get("lpid", 0)))

        return await self._service.clients.act(request, caller, check, worked, reads=reads)

    def require_match(self, lpid: int, etag: str) -> None:
        """Raise Problem 412 where `lpid` is not the VM that `etag` names."""
        found = self._hypervisor.incarnation_of(lpid)
        if found is None or etag not in {f'"{found}"', "*"}:
            detail = f"VM {lpid} is another one, or is no more: GET {VMS} lists what there is"
            raise Problem(412, detail, IF_MATCH)


def add_vmm_routes(service: Service, hypervisor: Hypervisor) -> None:
    """Add the VMM's routes; a read or a write may have `MEMORY` bytes."""
    run = Operations(service, hypervisor).run

    async def create(request: Request, caller: TheCaller, asked: CreateVm, _: Keyed) -> Response:
        """Create a VM."""
        return await run(
            request,
            caller,
            "create_vm",
            lambda: hypervisor.create_vm(asked.design, secure_guest=asked.secure_guest, radix=asked.radix),
            design=str(asked.design),
            secure_guest=int(asked.secure_guest),
            radix=int(asked.radix),
        )

    async def listed() -> Response:
        """List all VMs with their slots."""
        return json_response(hypervisor.vmm_list())

    async def destroy(
        request: Request, caller: TheCaller, lpid: Number, _: Keyed, etag: Etag = None
    ) -> Response:
        """Destroy a VM."""
        return await run(request, caller, "destroy", lambda: hypervisor.destroy(lpid), lpid=lpid, etag=etag)

    async def add_slot(
        request: Request, caller: TheCaller, lpid: Number, asked: AddSlot, _: Keyed, etag: Etag = None
    ) -> Response:
        """Add a memory slot."""
        return await run(
            request,
            caller,
            "add_slot",
            lambda: hypervisor.add_slot(lpid, asked.slotid, asked.gpa, asked.size),
            lpid=lpid,
            etag=etag,
            **asked.model_dump(),
        )

    async def remove_slot(
        request: Request, caller: TheCaller, lpid: Number, slotid: Number, _: Keyed, etag: Etag = None
    ) -> Response:
        """Remove a memory slot."""
        return await run(
            request,
            caller,
            "remove_slot",
            lambda: hypervisor.remove_slot(lpid, slotid),
            lpid=lpid,
            etag=etag,
            slotid=slotid,
        )

    async def read(
        request: Request, caller: TheCaller, lpid: Number, gpa: Number, length: Length, etag: Etag = None
    ) -> Response:
        """Read guest memory as the host: octets, or why it can't be read."""
        return await run(
            request,
            caller,
            "host_read",
            lambda: hypervisor.host_read(lpid, gpa, length),
            lpid=lpid,
            etag=etag,
            reads=True,
            gpa=gpa,
            length=length,
        )

    async def write(
        request: Request,
        caller: TheCaller,
        lpid: Number,
        gpa: Number,
        content: Octets,
        _: Keyed,
        etag: Etag = None,
    ) -> Response:
        """Write the octets of the body into guest memory as the host."""
        return await run(
            request,
            caller,
            "host_write",
            lambda: hypervisor.host_write(lpid, gpa, content),
            lpid=lpid,
            etag=etag,
            gpa=gpa,
            length=len(content),
        )

    async def unmap(
        request: Request, caller: TheCaller, lpid: Number, asked: Unmap, _: Keyed, etag: Etag = None
    ) -> Response:
        """Take normal pages away from the guest."""
        return await run(
            request,
            caller,
            "unmap",
            lambda: hypervisor.unmap(lpid, asked.gpa, asked.count),
            lpid=lpid,
            etag=etag,
            **asked.model_dump(),
        )

    async def reset(
        request: Request, caller: TheCaller, lpid: Number, _: Keyed, etag: Etag = None
    ) -> Response:
        """Reset a VM: it is a normal one afterwards."""
        return await run(request, caller, "reset", lambda: hypervisor.reset(lpid), lpid=lpid, etag=etag)

    def add(
        method: str, path: str, handler: Callable[..., Any], limit: int = SMALL, **describes: Any
    ) -> None:
        service.add(
            method,
            path,
            handler,
            Role.VMM,
            tag=openapi.VMM,
            limit=limit,
            **{"answer": VmmOutcome, "needs_epoch": True, "problems": (409, 412, 503), **describes},
        )

    add("POST", VMS, create)
    add("GET", VMS, listed, answer=ListedVms, needs_epoch=False, problems=())
    add("DELETE", VM, destroy)
    add("POST", VM + "/slots", add_slot)
    add("DELETE", VM + "/slots/{slotid}", remove_slot)
    add("POST", VM + "/read", read, responses=openapi.OR_OCTETS)
    add("POST", VM + "/write", write, MEMORY, openapi_extra=openapi.MEMORY_BODY)
    add("POST", VM + "/unmap", unmap)
    add("POST", VM + "/reset", reset)


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
