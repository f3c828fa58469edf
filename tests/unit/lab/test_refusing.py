import pytest

from pef_lab.refusing import made_up
from pef_protocol.calls import CALLS
from pef_protocol.codes import Code, HCode, UCode

NEVER_BUSY = {"UV_ESMB_GET_FILE"}


@pytest.mark.parametrize("name", [name for name in CALLS if name not in NEVER_BUSY])
def test_a_made_up_answer_is_one_that_the_call_may_give_and_no_success(name: str) -> None:
    kind: type[Code] = UCode if CALLS[name].is_ultracall else HCode
    codes = {made_up(name, busy=busy) for busy in (False, True)}
    assert all(type(code) is kind and not code.succeeded for code in codes)
    assert codes <= CALLS[name].codes
    assert len(codes) == 2


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("UV_PAGE_IN", UCode.U_PARAMETER),
        ("UV_SVM_TERMINATE", UCode.U_PERMISSION),
        ("UV_UNREGISTER_MEM_SLOT", UCode.U_PERMISSION),
        ("H_SVM_PAGE_IN", HCode.H_PARAMETER),
        ("H_SVM_INIT_DONE", HCode.H_UNSUPPORTED),
        ("H_SVM_INIT_ABORT", HCode.H_STATE),
    ],
)
def test_a_made_up_refusal_is_none_that_means_success_or_that_nobody_may_give(name: str, code: Code) -> None:
    assert made_up(name, busy=False) is code
