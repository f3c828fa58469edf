"""The listed defects of the real code, each shown to be absent.

Source: specification of the Hypervisor, section 7. K12 can't be expressed: there is no dirty logging. K10 and
K16 can't either: faults on an SVM's pages are not reflected to the Hypervisor; what they did is shown for the
calls that there are.
"""

import pytest

from harness.hypervisor_fixtures import ULTRAVISOR, HypervisorUnderTest
from harness.scripted_peer import first, honest, refuse
from harness.scripted_ultravisor import ZERO_PAGE, refuse_gfns, rows
from pef_kit.core.effects import MAX_ATTEMPTS
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.http import Caller


@pytest.mark.parametrize("denial", [{"secure_guest": False}, {"radix": False}, {"device_pages": 0}], ids=str)
def test_k1_init_done_after_a_denied_init_start(denial: dict[str, int]) -> None:
    world = HypervisorUnderTest(**denial)  # type: ignore[arg-type]
    assert not world.init_start().code.succeeded
    assert world.init_done().code.name == "H_UNSUPPORTED"
    assert world.vm.state.name == "NORMAL"


def test_k1_init_done_after_a_failed_init_start() -> None:
    world = HypervisorUnderTest()
    world.uv.answers("UV_REGISTER_MEM_SLOT", refuse(UCode.U_P3))
    assert not world.init_start().code.succeeded
    assert world.init_done().code.name == "H_STATE"


def test_k2_the_rollback_unregisters_what_was_registered() -> None:
    world = HypervisorUnderTest()
    world.plug(1, 100, 4)
    world.uv.answers("UV_REGISTER_MEM_SLOT", honest, refuse(UCode.U_P3))
    world.init_start()
    unregistered = [ask.request for ask in world.uv.asked if ask.name == "UV_UNREGISTER_MEM_SLOT"]
    assert [request.slotid for request in unregistered] == [1]  # type: ignore[attr-defined]
    assert world.uv.slots == {}


@pytest.mark.parametrize("secure", [False, True], ids=["transient", "secure"])
def test_k3_a_second_init_start(*, secure: bool) -> None:
    world = HypervisorUnderTest()
    world.init_start()
    if secure:
        world.init_done()
    before = world.hv.digest()
    assert world.init_start().code.name == "H_STATE"
    assert world.hv.digest() == before


@pytest.mark.parametrize("code", [UCode.U_BUSY, UCode.U_P2], ids=["busy", "refused"])
def test_k4_a_refused_page_in_leaks_no_device_page_and_can_be_repeated(code: UCode) -> None:
    world = HypervisorUnderTest()
    world.write(0, b"text")
    world.init_start()
    world.uv.answers("UV_PAGE_IN", *[refuse(code)] * MAX_ATTEMPTS)
    assert not world.page_in((0, 1)).code.succeeded
    assert (world.states()[0], world.used) == ("N", 0)
    world.uv.script.clear()
    assert world.page_in((0, 1)).code.succeeded
    assert world.used == 1


def test_k5_a_refused_share_of_a_secure_page_keeps_its_contents() -> None:
    world = HypervisorUnderTest()
    world.write(0, b"text")
    world.init_start()
    world.page_in((0, 1))
    before = world.hv.digest()
    world.uv.answers("UV_PAGE_IN", refuse(UCode.U_P2))
    assert world.share((0, 1)).code.name == "H_PARAMETER"
    assert (world.hv.digest(), world.uv.pages[0][1][:4]) == (before, b"text")
    assert "UV_PAGE_OUT" not in world.uv.names


def test_k6_a_refusal_in_init_abort_leaves_no_secure_page_in_a_normal_vm() -> None:
    world = HypervisorUnderTest()
    world.write(0, b"mine")
    world.write(1, b"lost")
    world.init_start()
    world.page_in((0, 2))
    world.uv.answers("UV_PAGE_OUT", refuse_gfns(UCode.U_STATE, 1))
    reply = world.init_abort()
    assert (reply.code.name, reply.detail) == ("H_PARAMETER", "1 pages were refused, and read as zero")
    assert (world.states(), world.used) == ("N" * 16, 0)
    assert (world.read(0, 4), world.read(1, 4)) == (b"mine", bytes(4))
    assert world.sound()


def test_k6_an_svm_that_can_not_be_ended_keeps_its_vm_from_running() -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.uv.answers("UV_SVM_TERMINATE", refuse(UCode.U_PERMISSION))
    assert world.init_abort().code.name == "H_STATE"
    assert world.vm.state.name == "TRANSIENT"
    assert world.init_done().code.name == "H_STATE"
    assert world.init_abort().code.name == "H_PARAMETER"
    assert (world.vm.state.name, world.sound()) == ("NORMAL", True)


@pytest.mark.parametrize("way", ["init_abort", "reset"])
def test_k7_cycles_leave_nothing_behind(way: str) -> None:
    world = HypervisorUnderTest()
    world.plug(1, 100, 4)
    seen = set()
    for _ in range(3):
        world.init_start()
        world.page_in((0, 3))
        getattr(world, way)()
        seen.add((world.hv.digest(), len(world.vm.slots), len(world.uv.slots), world.used))
        assert world.sound()
    assert len(seen) == 1


def test_k8_a_busy_registration_is_not_a_success() -> None:
    world = HypervisorUnderTest()
    world.uv.answers("UV_REGISTER_MEM_SLOT", refuse(UCode.U_BUSY), refuse(UCode.U_BUSY))
    assert world.init_start().code.succeeded
    assert world.uv.names == ["UV_REGISTER_MEM_SLOT"] * 3
    world.reset()
    world.uv.answers("UV_REGISTER_MEM_SLOT", *[refuse(UCode.U_BUSY)] * MAX_ATTEMPTS)
    assert world.init_start().code.name == "H_PARAMETER"
    assert not world.slot.registered


@pytest.mark.parametrize(
    ("code", "errno"), [(UCode.U_RETRY, "ENOMEM"), (UCode.U_P3, "EINVAL"), (UCode.U_P2, "EINVAL")]
)
def test_k9_a_failed_hot_add_is_told_and_undone(code: UCode, errno: str) -> None:
    world = HypervisorUnderTest()
    world.init_start()
    before = world.hv.digest()
    world.uv.answers("UV_REGISTER_MEM_SLOT", refuse(code))
    outcome = world.plug(1, 100, 4)
    assert (outcome.errno.name, outcome.detail) == (errno, f"UV_REGISTER_MEM_SLOT: {code.name}")
    assert world.hv.digest() == before
    assert world.sound()


def test_k10_asking_for_a_page_that_the_ultravisor_holds_leaves_it_there() -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.page_in((0, 1))
    world.page_in((0, 1))
    assert (world.states()[0], world.uv.names[-1]) == ("S", "UV_REGISTER_MEM_SLOT")


def test_k11_a_reset_that_is_refused_leaves_a_secure_vm_or_one_that_only_waits_for_reset() -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.init_done()
    before = world.hv.digest()
    world.uv.answers("UV_UNREGISTER_MEM_SLOT", refuse(UCode.U_PERMISSION))
    world.uv.answers("UV_SVM_TERMINATE", refuse(UCode.U_PERMISSION), refuse(UCode.U_PERMISSION))
    assert world.reset().errno.name == "EINVAL"
    assert world.hv.digest() == before
    assert world.reset().errno.name == "EINVAL"
    assert (world.states(), world.used) == ("N" * 16, 0)
    assert world.vm.must_abort
    assert world.init_done().code.name == "H_STATE"
    assert world.sound()
    assert world.reset().errno.name == "OK"
    assert (world.vm.state.name, world.sound()) == ("NORMAL", True)


def test_k13_a_page_shared_during_uv_esm_is_invalidated_when_it_is_unmapped() -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.share((4, 2))
    assert world.unmap(3, 3).errno.name == "OK"
    assert [rows(ask) for ask in world.uv.asked if ask.name == "UV_PAGE_INVAL"] == [[(4, 2)]]


@pytest.mark.parametrize("design", Design)
def test_k14_pages_that_replaced_secure_ones_are_zero_after_reset(design: Design) -> None:
    world = HypervisorUnderTest(design)
    for gfn in range(3):
        world.write(gfn, b"secret")
    world.init_start()
    world.page_in((0, 3))
    world.page_out((0, 1))
    world.share((1, 1))
    world.write(1, b"from the shared time")
    assert world.read(0, 6) != bytes(6)
    assert world.reset().errno.name == "OK"
    assert [world.normal_page(gfn) for gfn in range(3)] == [ZERO_PAGE] * 3
    assert world.sound()


def test_k15_a_paged_out_page_is_not_left_encrypted_by_init_abort() -> None:
    world = HypervisorUnderTest()
    world.write(0, b"text")
    world.init_start()
    world.page_in((0, 1))
    world.page_out((0, 1))
    assert world.read(0, 4) != b"text"
    assert world.init_abort().code.name == "H_PARAMETER"
    assert world.read(0, 4) == b"text"


def test_k16_a_page_that_was_sent_in_is_no_longer_called_paged_out() -> None:
    world = HypervisorUnderTest()
    world.write(0, b"text")
    world.init_start()
    world.page_in((0, 1))
    world.page_out((0, 1))
    world.page_in((0, 1))
    assert (world.states()[0], world.uv.pages[0][0]) == ("S", "S")


def test_k17_a_page_that_is_being_offered_can_not_be_unmapped_meanwhile() -> None:
    world = HypervisorUnderTest()
    world.init_start()
    unmapping = []

    def unmap_meanwhile(_: object) -> None:
        unmapping.append(world.start(world.hv.unmap(world.lpid, 0, 1)))

    world.uv.sharing = True
    world.uv.answers("UV_PAGE_IN", first(unmap_meanwhile))
    sharing = world.hv.hypercall(Caller(ULTRAVISOR.role), "H_SVM_PAGE_IN", world.paging_in((0, 1), flags=1))
    assert world.run(sharing).code.succeeded
    assert world.uv.names[-1] == "UV_PAGE_IN"
    assert unmapping[0].finish().errno.name == "OK"
    assert world.uv.names[-1] == "UV_PAGE_INVAL"
