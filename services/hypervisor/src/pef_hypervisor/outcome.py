"""How operations of the VMM end: by the error numbers of Linux."""

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

from pef_hypervisor.state import Vm
from pef_hypervisor.to_ultravisor.calls import Answer
from pef_protocol.codes import UCode
from pef_protocol.quantities import Lpid


class Errno(IntEnum):
    """Outcomes of an operation of the VMM."""

    OK = 0
    ENOENT = errno.ENOENT
    EIO = errno.EIO
    ENOMEM = errno.ENOMEM
    EFAULT = errno.EFAULT
    EBUSY = errno.EBUSY
    EEXIST = errno.EEXIST
    EINVAL = errno.EINVAL


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended; `detail` is for people, `outputs` are numbers that it gives."""

    errno: Errno
    detail: str = ""
    outputs: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


DONE = Outcome(Errno.OK)
HELD = Outcome(Errno.EBUSY, "another operation has the whole VM")
OPEN = Outcome(Errno.EBUSY, "calls of this VM are open")
MUST_RESET = Outcome(Errno.EIO, "the VM must be reset")


def no_vm(lpid: Lpid) -> Outcome:
    """Say that there is no such VM."""
    return Outcome(Errno.ENOENT, f"no VM has lpid {lpid}")


def barred(vm: Vm, *, exclusive: bool = False) -> Outcome | None:
    """Say why no operation, or no `exclusive` one, may begin on a VM; None where one may."""
    if vm.gate.taken if exclusive else vm.gate.closed:
        return HELD
    return MUST_RESET if vm.must_reset else None


def refused(answer: Answer) -> Outcome:
    """Turn an ultracall that did not succeed into the VMM's error."""
    numbers = {UCode.U_BUSY: Errno.EBUSY, UCode.U_RETRY: Errno.ENOMEM}
    number = numbers.get(UCode(answer.code), Errno.EINVAL) if answer.known else Errno.EIO
    return Outcome(number, answer.detail)
