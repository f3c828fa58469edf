"""Every route by which a guest or a VMM acts or looks, with a request that succeeds on a secure VM."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from identity.two_visors import FREE, LPID, MEMORY, VM, TwoVisors
from pef_protocol.calls import CALLS
from pef_protocol.events import Side
from pef_protocol.http import GUEST_PATH, JSON, OCTETS, ULTRACALL_PATH, VMM_PATH, Role
from pef_protocol.quantities import PAGE_SIZE

FREE_GFN: Final = FREE // PAGE_SIZE
STORED: Final = b"what a guest stored".ljust(64, b".")


@dataclass(frozen=True, slots=True)
class Route:
    """A request: `body` is its content; `other` another content that would be served as well, or None."""

    name: str
    side: Side
    method: str
    path: str
    body: bytes = b""
    other: bytes | None = None
    secure: bool = True
    """Whether it is for a secure VM."""
    reads: bool = False
    """Whether it changes nothing, so that it may be repeated."""
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def _call(call: str, other: dict[str, Any] | None = None, **form: Any) -> Route:
    assert CALLS[call].callers == {Role.GUEST}
    bodies = json.dumps(form).encode(), None if other is None else json.dumps(other).encode()
    secure = call != "UV_ESM"
    path = ULTRACALL_PATH + call
    return Route(call, Side.ULTRAVISOR, "POST", path, *bodies, secure=secure, headers={"content-type": JSON})


def _memory(side: Side, *, secure: bool) -> list[Route]:
    octets = {"content-type": OCTETS}
    load = GUEST_PATH + f"load?gpa={FREE}&length=64"
    store = GUEST_PATH + f"store?gpa={FREE}"
    return [
        Route(f"load at the {side}", side, "POST", load, secure=secure, reads=True, headers=octets),
        Route(f"store at the {side}", side, "POST", store, STORED, b"other", secure=secure, headers=octets),
    ]


def _vmm(name: str, method: str, path: str, form: Any = None, other: Any = None, **more: Any) -> Route:
    bodies = [b"" if each is None else json.dumps(each).encode() for each in (form, other)]
    headers = {"content-type": JSON}
    second = bodies[1] if other is not None else None
    return Route(name, Side.HYPERVISOR, method, VMM_PATH + path, bodies[0], second, headers=headers, **more)


SLOT: Final = {"slotid": 1, "gpa": MEMORY, "size": PAGE_SIZE}
SHARE: Final = {"gfn": FREE_GFN, "num": 1}
GUEST_ROUTES: Final = (
    _call("UV_ESM", {"kernel_base": PAGE_SIZE, "fdt": PAGE_SIZE}, kernel_base=0, fdt=0),
    _call("UV_SHARE_PAGE", {"gfn": FREE_GFN, "num": 2}, **SHARE),
    _call("UV_UNSHARE_PAGE", {"gfn": FREE_GFN, "num": 2}, **SHARE),
    _call("UV_UNSHARE_ALL_PAGES"),
    _call("UV_ESMB_GET_FILE", {"name": "disk-key", "offset": 1}, name="disk-key", offset=0),
    *_memory(Side.ULTRAVISOR, secure=True),
    *_memory(Side.HYPERVISOR, secure=False),
)
VM_ROUTES: Final = (
    _vmm("destroy", "DELETE", f"vms/{LPID}"),
    _vmm("add a slot", "POST", f"vms/{LPID}/slots", SLOT, {**SLOT, "slotid": 2}),
    _vmm("remove a slot", "DELETE", f"vms/{LPID}/slots/0"),
    _vmm("read", "POST", f"vms/{LPID}/read?gpa={FREE}&length=64", reads=True),
    _vmm("write", "POST", f"vms/{LPID}/write?gpa={FREE}", "text", "other"),
    _vmm("unmap", "POST", f"vms/{LPID}/unmap", {"gpa": FREE, "count": 1}, {"gpa": FREE, "count": 2}),
    _vmm("reset", "POST", f"vms/{LPID}/reset"),
)
CREATE: Final = _vmm("create", "POST", "vms", VM, {**VM, "design": "eager"}, secure=False)


def body_of(route: Route, pair: TwoVisors) -> bytes:
    """Return the content of a request; UV_ESM names where the image lies."""
    if route.name == "UV_ESM":
        form = {"kernel_base": pair.image.kernel_base, "fdt": pair.image.fdt_address}
        return json.dumps(form).encode()
    return route.body
