"""UV_ESM tells its phases, and stands between two of them as an open call that holds no mark.

Source: decisions, "UV_ESM errors".
"""

from typing import Any

from harness.images import REQUEST, esm_operation, guest_vm
from harness.scripted_hypervisor import ScriptedHypervisor
from harness.scripted_peer import refuse
from harness.ultravisor_fixtures import sound, svm_of
from pef_kit.core.effects import Operation, Phase
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.states import UvVmState

PHASES = (
    "device tree",
    "bounce pages",
    "RTAS area",
    "initrd",
    "ESM blob",
    "kernel",
    "every other GFN",
    "commit",
)


def run(hv: ScriptedHypervisor, call: Operation[Reply]) -> tuple[Reply, list[Phase], list[int]]:
    """Run a UV_ESM; return its reply, its phases, and how many hypercalls were made before each."""
    phases: list[Phase] = []
    asked: list[int] = []
    answer: Any = None
    try:
        while True:
            effect = call.send(answer)
            if isinstance(effect, Phase):
                assert (svm_of(hv).open_calls, hv.uv.reserved, hv.uv.normal_pages.pinned) == (1, 0, 0)
                phases.append(effect)
                asked.append(len(hv.asked))
            answer = hv.perform(effect)
    except StopIteration as end:
        return end.value, phases, asked


def test_its_phases_come_in_the_firmwares_order() -> None:
    hv = guest_vm()
    reply, phases, asked = run(hv, esm_operation(hv))
    assert reply.code is UCode.U_SUCCESS
    assert reply.outputs == {"kernel_base": REQUEST.kernel_base, "fdt": REQUEST.fdt}
    assert tuple(phase.name for phase in phases) == PHASES
    assert [*asked, len(hv.asked)] == [1, 2, 4, 6, 7, 8, 9, 9, 10]
    assert (svm_of(hv).state, svm_of(hv).open_calls) == (UvVmState.SECURE, 0)
    assert sound(hv)


def test_the_phase_after_a_failure_gives_the_vm_its_memory_back() -> None:
    hv = guest_vm()
    hv.answers("H_SVM_PAGE_IN", refuse(HCode.H_PARAMETER))
    svm = None
    call = esm_operation(hv)
    reply, phases, _ = run(hv, call)
    svm = hv.uv.svm(1)
    assert [phase.name for phase in phases] == ["device tree", "give up"]
    assert str(phases[-1].failure) == "H_SVM_PAGE_IN: H_PARAMETER"
    assert (reply.code, reply.detail) == (UCode.U_STATE, "H_SVM_PAGE_IN: H_PARAMETER")
    assert (hv.names[-1], svm) == ("H_SVM_INIT_ABORT", None)


def test_a_call_that_is_dropped_counts_no_longer() -> None:
    hv = guest_vm()
    call = esm_operation(hv)
    next(call)
    assert svm_of(hv).open_calls == 1
    call.close()
    assert svm_of(hv).open_calls == 0
