"""UV_WRITE_PATE, in each state of a VM."""

import pytest

from harness.scripted_hypervisor import ScriptedHypervisor
from harness.ultravisor_fixtures import LPID, machine, secure_vm
from pef_protocol.codes import UCode
from pef_protocol.quantities import SECURE_BIT, U64_MAX, Lpid
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import SvmTerminate, WritePate


def write(hv: ScriptedHypervisor, lpid: int, dw0: int = 1, dw1: int = 1) -> UCode:
    return UCode(hv.ultracall(WritePate(Lpid(lpid), dw0, dw1)).code)


def terminate(hv: ScriptedHypervisor, lpid: int = LPID) -> UCode:
    return UCode(hv.ultracall(SvmTerminate(Lpid(lpid))).code)


@pytest.mark.parametrize("lpid", [1, 2, (1 << 12) - 1])
def test_an_entry_makes_a_vm_known_and_zeroes_make_it_unknown(lpid: int) -> None:
    hv = machine()
    assert terminate(hv, lpid) is UCode.U_PARAMETER
    assert write(hv, lpid) is UCode.U_SUCCESS
    assert terminate(hv, lpid) is UCode.U_INVALID
    assert write(hv, lpid, 0, 0) is UCode.U_SUCCESS
    assert terminate(hv, lpid) is UCode.U_PARAMETER


@pytest.mark.parametrize(
    ("lpid", "dw0", "dw1", "code"),
    [
        (0, 1, 1, UCode.U_PARAMETER),
        (1 << 12, 1, 1, UCode.U_PARAMETER),
        (U64_MAX, 1, 1, UCode.U_PARAMETER),
        (1, SECURE_BIT, 1, UCode.U_P2),
        (1, U64_MAX, U64_MAX, UCode.U_P2),
        (1, 1, SECURE_BIT | 5, UCode.U_P3),
    ],
)
def test_an_entry_that_is_refused(lpid: int, dw0: int, dw1: int, code: UCode) -> None:
    hv = machine()
    before = hv.uv.digest()
    assert write(hv, lpid, dw0, dw1) is code
    assert hv.uv.digest() == before


@pytest.mark.parametrize("state", UvVmState)
@pytest.mark.parametrize("entry", [(1, 1), (0, 0)])
def test_the_entry_of_an_svm_is_not_written(state: UvVmState, entry: tuple[int, int]) -> None:
    hv = machine()
    secure_vm(hv).state = state
    before = hv.uv.digest()
    assert write(hv, LPID, *entry) is UCode.U_PERMISSION
    assert hv.uv.digest() == before
