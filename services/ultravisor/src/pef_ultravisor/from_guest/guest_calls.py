"""What the guest's ultracalls have in common: who calls, and the SVM that it is."""

from dataclasses import dataclass
from typing import Any, Final

from pef_protocol.quantities import Lpid
from pef_protocol.states import UvVmState
from pef_protocol.wire import Caller
from pef_ultravisor.gfn.columns import Svm
from pef_ultravisor.state import Ultravisor


@dataclass(frozen=True, slots=True)
class GuestCall:
    """A guest's ultracall as it is checked."""

    uv: Ultravisor
    caller: Caller
    asked: Any

    @property
    def lpid(self) -> Lpid:
        """Return the lpid of the VM that calls; 0 where no VM does."""
        return self.caller.lpid or Lpid(0)

    @property
    def svm(self) -> Svm | None:
        """Return the SVM that calls, or None."""
        return self.uv.svm(self.caller.lpid)


def from_vm_kernel(call: GuestCall) -> bool:
    """Pass where a VM's kernel calls."""
    return call.caller.is_vm_kernel


def is_secure(call: GuestCall) -> bool:
    """Pass a VM that is secure, or was until it was aborted."""
    return call.svm is not None and call.svm.state is not UvVmState.ACTIVE


def is_not_aborted(call: GuestCall) -> bool:
    """Pass a VM that is not aborted."""
    return call.svm is None or call.svm.state is not UvVmState.ABORT


SECURE_ONLY: Final = {"caller": from_vm_kernel, "secure": is_secure, "aborted": is_not_aborted}
"""The rungs that every call of an SVM begins with."""
