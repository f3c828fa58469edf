"""Incarnations: which life of a VM an lpid stands for at the Ultravisor.

Source: rules 1 and 11 of ARCHITECTURE.md, "Identity and time".
"""

from harness.scripted_hypervisor import ScriptedHypervisor
from harness.ultravisor_fixtures import LPID, machine, secure_vm
from pef_protocol.codes import UCode
from pef_protocol.http import Caller, Role
from pef_protocol.quantities import PAGE_SIZE, Gpa, Lpid
from pef_protocol.ultracalls import Esm, SvmTerminate, WritePate


def write(hv: ScriptedHypervisor, dw0: int, lpid: int = LPID) -> None:
    assert hv.ultracall(WritePate(Lpid(lpid), dw0, dw0)).code is UCode.U_SUCCESS


def test_a_first_entry_mints_an_incarnation_and_an_empty_one_takes_it_away() -> None:
    uv = (hv := machine()).uv
    assert uv.incarnation_of(LPID) is None
    write(hv, 1)
    first = uv.incarnation_of(LPID)
    assert first is not None
    assert first.instance == uv.instance
    write(hv, 0)
    assert uv.incarnation_of(LPID) is None
    write(hv, 1)
    second = uv.incarnation_of(LPID)
    assert second is not None
    assert second.count > first.count


def test_an_entry_that_is_written_over_keeps_its_incarnation() -> None:
    uv = (hv := machine()).uv
    write(hv, 1)
    first = uv.incarnation_of(LPID)
    write(hv, 2)
    assert uv.incarnation_of(LPID) == first


def test_the_end_of_an_svm_renews_its_lpid_and_no_other() -> None:
    uv = (hv := machine()).uv
    secure_vm(hv)
    write(hv, 1, lpid=2)
    before, other = uv.incarnation_of(LPID), uv.incarnation_of(2)
    assert hv.ultracall(SvmTerminate(Lpid(LPID))).code is UCode.U_SUCCESS
    after = uv.incarnation_of(LPID)
    assert before is not None
    assert after is not None
    assert after.count > before.count
    assert uv.incarnation_of(2) == other


def test_the_end_of_an_svm_is_answered_with_the_next_incarnation() -> None:
    uv = (hv := machine()).uv
    secure_vm(hv)
    ended = uv.incarnation_of(LPID)
    first, again = (hv.ultracall(SvmTerminate(Lpid(LPID))) for _ in range(2))
    assert (first.code, again.code) == (UCode.U_SUCCESS, UCode.U_INVALID)
    assert first.outputs == again.outputs == {"incarnation": str(uv.incarnation_of(LPID))}
    assert uv.incarnation_of(LPID) != ended
    assert hv.ultracall(SvmTerminate(Lpid(99))).outputs == {}


def test_a_failed_uv_esm_renews_the_lpid() -> None:
    uv = (hv := machine()).uv
    hv.new_vm(LPID, (0, 0, 8))
    before = uv.incarnation_of(LPID)
    reply = hv.ultracall(Esm(Gpa(PAGE_SIZE), Gpa(PAGE_SIZE)), Caller(Role.GUEST, Lpid(LPID)))
    assert reply.code is UCode.U_P2  # the device tree is zeroes
    assert uv.svm(LPID) is None
    assert uv.incarnation_of(LPID) not in {None, before}


def test_two_machines_never_mint_the_same() -> None:
    one, two = machine().uv, machine(entropy=bytes).uv
    for uv in (one, two):
        uv.renew(Lpid(LPID))
    assert one.incarnation_of(LPID) != two.incarnation_of(LPID)
