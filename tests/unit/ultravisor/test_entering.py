"""A UV_ESM under way is an object: it stands between two phases, and ends once.

Source: decisions, "UV_ESM errors".
"""

import pytest

from model.answers import refuse
from model.images import REQUEST, esm_operation, guest_vm
from model.scenes import LPID, sound, svm_of
from model.scripted import ScriptedHypervisor
from pef_kit.operations import Operation
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import Lpid
from pef_protocol.states import UvVmState
from pef_ultravisor.from_guest.entering import Entering, Step, together
from pef_ultravisor.from_guest.esm import STEPS
from pef_ultravisor.from_guest.esm_steps import measure_kernel, share_bounce_pages


def begun(hv: ScriptedHypervisor) -> Entering:
    """Begin a UV_ESM of which no step was done."""
    return Entering.begin(hv.uv, hv.uv.new_svm(Lpid(LPID)), REQUEST, STEPS)


def test_it_stands_between_two_phases_and_goes_on_from_there() -> None:
    hv = guest_vm()
    entering = begun(hv)
    asked: list[int] = []
    while entering.reply is None:
        assert svm_of(hv).open_calls == 1
        hv.run(entering.next_phase())
        asked.append(len(hv.asked))
    assert (entering.place, entering.reply.code) == (len(STEPS), UCode.U_SUCCESS)
    assert entering.reply.outputs == {"kernel_base": REQUEST.kernel_base, "fdt": REQUEST.fdt}
    assert asked == [1, 2, 4, 6, 7, 8, 9, 9, 10]
    assert (svm_of(hv).state, svm_of(hv).open_calls) == (UvVmState.SECURE, 0)
    assert sound(hv)


def test_the_phase_after_a_step_that_failed_is_the_way_back() -> None:
    hv = guest_vm()
    entering = begun(hv)
    hv.run(entering.next_phase())
    hv.answers("H_SVM_PAGE_IN", refuse(HCode.H_PARAMETER))
    hv.run(entering.next_phase())
    assert (entering.place, entering.reply, svm_of(hv).state) == (1, None, UvVmState.ACTIVE)
    assert str(entering.failure) == "H_SVM_PAGE_IN: H_PARAMETER"
    hv.run(entering.next_phase())
    assert entering.reply is not None
    assert (entering.reply.code, entering.reply.detail) == (UCode.U_STATE, "H_SVM_PAGE_IN: H_PARAMETER")
    assert (hv.names[-1], hv.uv.svm(LPID), entering.svm.open_calls) == ("H_SVM_INIT_ABORT", None, 0)


def test_a_call_that_is_dropped_counts_no_longer() -> None:
    hv = guest_vm()
    call = esm_operation(hv)
    next(call)
    assert svm_of(hv).open_calls == 1
    call.close()
    assert svm_of(hv).open_calls == 0


def test_it_ends_once_however_often_it_is_said() -> None:
    hv = guest_vm()
    entering = begun(hv)
    entering.end()
    entering.end()
    assert entering.svm.open_calls == 0


def test_steps_that_are_together_are_one_phase() -> None:
    seen: list[str] = []

    def first(_: Entering) -> Operation[None]:
        seen.append("first")
        yield from ()

    def second(_: Entering) -> Operation[None]:
        seen.append("second")
        yield from ()

    hv = guest_vm()
    entering = begun(hv)
    entering.steps = (together(first, second),)
    hv.run(entering.next_phase())
    assert (seen, entering.place, entering.svm.open_calls) == (["first", "second"], 1, 0)


@pytest.mark.parametrize("step", [share_bounce_pages, measure_kernel])
def test_a_step_does_not_run_before_the_one_whose_outcome_it_needs(step: Step) -> None:
    hv = guest_vm()
    entering = begun(hv)
    entering.steps = (step,)
    with pytest.raises(RuntimeError, match="before the one whose outcome it needs"):
        hv.run(entering.next_phase())
