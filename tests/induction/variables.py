"""The joint state of one GFN: its variables, and the values that each may have.

A state gives each variable one of its values. Where a variable stands for a column or a mark of a service,
its values have the service's own names; `ABSENT` is a GFN in no slot, and `NONE` a thing that is not there.

| group | variables |
|---|---|
| VM | `hv_vm`, `must_abort` of the Hypervisor; `uv_vm` of the Ultravisor |
| slot of the GFN | `here`: the VM has it; `registered`; `asked`: UV_ESM has asked for all GFNs |
| GFN | `hv` and its marks `host_populated`, `stand_in`, `sent`; `uv`, its mark `imported`, and `mapped` |
| in flight | `uv_op`: an operation of the Ultravisor on the GFN; `hcall_at`: where its hypercall is |
| in flight | `ucall`: why the Hypervisor makes an ultracall for the GFN; `ucall_at`: where that is |
| of the whole VM | `esm`: UV_ESM; `aborting`: H_SVM_INIT_ABORT; `resetting`; `plugging`, `slot`: slot calls |
| bytes | `page`: the normal page; `frame`: the frame; `zero_ok`, `secret`, `gone`: see below |

Bytes: `GUEST` is what the guest wrote last, or finds; `SEALED` its ciphertext; `HOST` what the host wrote
while the guest's bytes were in the frame, which the guest may find once the normal page is all there is;
`OTHER` anything else. `zero_ok` says that the guest may find zeroes, `secret` that its bytes were never
outside. `gone`: the host has taken the shared page away.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from pef_protocol.states import HvGfnState, HvVmState, UvGfnState, UvVmState

Value: TypeAlias = str
State: TypeAlias = Mapping[str, Value]

NO, YES = "no", "yes"
NONE: Final = "NONE"
ABSENT: Final = "ABSENT"
_BOOL: Final = (NO, YES)

VARIABLES: Final[Mapping[str, tuple[Value, ...]]] = MappingProxyType(
    {
        "hv_vm": tuple(each.name for each in HvVmState),
        "must_abort": _BOOL,
        "uv_vm": (NONE, *(each.name for each in UvVmState)),
        "here": _BOOL,
        "registered": _BOOL,
        "asked": _BOOL,
        "hv": tuple(each.name for each in HvGfnState),
        "host_populated": _BOOL,
        "stand_in": _BOOL,
        "sent": _BOOL,
        "uv": (ABSENT, *(each.name for each in UvGfnState)),
        "imported": _BOOL,
        "mapped": _BOOL,
        "uv_op": (
            NONE,
            "FETCH",
            "FETCH_SHARED",
            "IMPORT",
            "SHARE",
            "SHARE_IMPLICIT",
            "ZERO",
            "ZERO_IMPLICIT",
            "UNSHARE",
            "UNSHARE_ALL",
        ),
        "hcall_at": (NONE, "SENT", "CARRIED", "OK", "BUSY", "REFUSED"),
        "ucall": (NONE, "PAGE_IN", "SHARE", "OUT", "UNMAP", "DONE", "PLUG", "CLEAR", "ASK", "BACK"),
        "ucall_at": (NONE, "SENT", "MOVES", "CLEARS", "OK", "BUSY", "P2", "PARAMETER", "REFUSED"),
        "esm": (
            NONE,
            "START_SENT",
            "START_RUNS",
            "START_OK",
            "START_REFUSED",
            "PHASES",
            "DONE_SENT",
            "DONE_RUNS",
            "DONE_TREATED",
            "DONE_OK",
            "DONE_REFUSED",
            "COMMITS",
            "ABORT_SENT",
            "ABORT_RUNS",
            "ABORT_REFUSED",
        ),
        "aborting": (NONE, "WAITS", "FETCH", "ASK", "BACK", "AGAIN", "SCRUB", "TERMINATE", "PLAIN"),
        "resetting": (NONE, "WAITS", "UNREGISTER", "TERMINATE", "DROP", "RENEW"),
        "plugging": (NONE, "PLUG", "PLUGGED", "PLUG_REGISTERS", "PLUG_FAILED", "RECLAIM", "UNPLUG", "DROP"),
        "slot": (NONE, "REGISTER", "REGISTERED", "UNREGISTER", "UNREGISTERED", "BUSY", "REFUSED"),
        "page": ("ZERO", "GUEST", "HOST", "SEALED", "OTHER"),
        "frame": ("ZERO", "GUEST", "OTHER"),
        "zero_ok": _BOOL,
        "secret": _BOOL,
        "gone": _BOOL,
    }
)

OUTSTANDING: Final = ("DONE_SENT", "DONE_RUNS", "DONE_TREATED", "DONE_OK", "DONE_REFUSED")
"""H_SVM_INIT_DONE is outstanding: the Ultravisor has not read an answer to it."""
EXCLUSIVE: Final = ("START_RUNS", "DONE_RUNS", "DONE_TREATED", "ABORT_RUNS")
"""UV_ESM has a hypercall open that holds the whole VM at the Hypervisor."""

START: Final[State] = MappingProxyType(
    {name: values[0] for name, values in VARIABLES.items()} | {"uv": ABSENT, "zero_ok": YES}
)
"""A normal VM whose GFN is in no slot yet: `here` is "no"."""


def others(name: str, *values: Value) -> tuple[Value, ...]:
    """Return the values of a variable but those."""
    return tuple(each for each in VARIABLES[name] if each not in values)
