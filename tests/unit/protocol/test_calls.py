"""The call table: complete rows, check orders without repeats, codes of one family."""

from dataclasses import FrozenInstanceError, fields

import pytest

from pef_protocol import check_orders, hypercalls, ultracalls
from pef_protocol.calls import CALLS, HYPERCALLS, ULTRACALLS, Call, Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.http import Role
from pef_protocol.runs import CodedRuns, PageRuns, PlacedRuns

every_call = pytest.mark.parametrize("call", CALLS.values(), ids=lambda call: call.name)

NUMBERS = {
    "UV_WRITE_PATE": 0xF104,
    "UV_ESM": 0xF110,
    "UV_REGISTER_MEM_SLOT": 0xF120,
    "UV_UNREGISTER_MEM_SLOT": 0xF124,
    "UV_PAGE_IN": 0xF128,
    "UV_PAGE_OUT": 0xF12C,
    "UV_SHARE_PAGE": 0xF130,
    "UV_UNSHARE_PAGE": 0xF134,
    "UV_PAGE_INVAL": 0xF138,
    "UV_SVM_TERMINATE": 0xF13C,
    "UV_UNSHARE_ALL_PAGES": 0xF140,
    "UV_ESMB_GET_FILE": 0xF14C,
    "H_SVM_PAGE_IN": 0xEF00,
    "H_SVM_PAGE_OUT": 0xEF04,
    "H_SVM_INIT_START": 0xEF08,
    "H_SVM_INIT_DONE": 0xEF0C,
    "H_SVM_INIT_ABORT": 0xEF14,
}
CARRY_RUNS = {
    "UV_PAGE_IN": PlacedRuns,
    "UV_PAGE_OUT": PlacedRuns,
    "UV_PAGE_INVAL": PageRuns,
    "H_SVM_PAGE_IN": PageRuns,
    "H_SVM_PAGE_OUT": PageRuns,
}


def test_numbers_are_those_of_the_headers() -> None:
    assert {name: call.number for name, call in CALLS.items()} == NUMBERS


def test_every_call_is_answered_by_one_side() -> None:
    assert {*ULTRACALLS} | {*HYPERCALLS} == {*CALLS.values()}
    assert len(ULTRACALLS) + len(HYPERCALLS) == len(CALLS)


@every_call
def test_call_is_complete(call: Call) -> None:
    assert CALLS[call.name] is call
    assert call.callers
    assert call.check_order
    assert call.source
    assert call.request.__doc__ is not None
    assert call.request.__doc__.startswith(f"{call.name}: ")
    assert call.runs is CARRY_RUNS.get(call.name)


@every_call
def test_first_check_asks_who_calls(call: Call) -> None:
    assert call.check_order[0].name == "caller"
    side = {Role.HYPERVISOR, Role.GUEST} if call.is_ultracall else {Role.ULTRAVISOR}
    assert call.callers < side | {Role.OBSERVER}
    refusal = UCode.U_PERMISSION if call.is_ultracall else HCode.H_UNSUPPORTED
    assert call.check_order[0].code is refusal


@every_call
def test_checks_are_unique_and_explained(call: Call) -> None:
    names = [check.name for check in call.check_order]
    assert len({*names}) == len(names)
    assert all(check.refuses for check in call.check_order)
    assert not any(check.code.succeeded for check in call.check_order)


@every_call
def test_only_calls_with_runs_judge_runs(call: Call) -> None:
    assert any(check.per_run for check in call.check_order) == (call.runs is not None)


@every_call
def test_codes_are_of_one_family_and_include_success(call: Call) -> None:
    family = UCode if call.is_ultracall else HCode
    assert {type(code) for code in call.codes} == {family}
    assert call.success in call.codes
    assert call.success == 0
    own = {check.code for check in call.check_order} | {*call.later} | {call.success}
    assert own | call.elsewhere == call.codes


@every_call
def test_codes_of_other_ultravisors(call: Call) -> None:
    assert (UCode.U_FUNCTION in call.codes) == call.is_ultracall
    if call.callers == {Role.HYPERVISOR}:
        assert UCode.U_BUSY in call.codes


@every_call
def test_guest_calls_have_no_lpid_argument_and_all_others_begin_with_it(call: Call) -> None:
    if Role.GUEST in call.callers:
        assert "lpid" not in call.arguments
    else:
        assert call.arguments[0] == "lpid"


def test_every_request_and_every_check_order_belongs_to_a_call() -> None:
    requests = {
        named
        for module in (ultracalls, hypercalls)
        for named in vars(module).values()
        if isinstance(named, type) and named.__module__ == module.__name__
    }
    assert requests == {call.request for call in CALLS.values()}
    tables = [
        named for name, named in vars(check_orders).items() if name.isupper() and isinstance(named, tuple)
    ]
    assert len(tables) == len(CALLS)
    assert all(any(table is call.check_order for call in CALLS.values()) for table in tables)


@every_call
def test_requests_are_frozen(call: Call) -> None:
    request = call.request(**dict.fromkeys(call.arguments, 0))
    for argument in fields(call.request):
        with pytest.raises(FrozenInstanceError):
            setattr(request, argument.name, 1)


def test_order_of_the_page_in_check_order_is_the_decided_one() -> None:
    page_in = [(check.name, check.code.name) for check in CALLS["UV_PAGE_IN"].check_order]
    assert page_in == [
        ("caller", "U_PERMISSION"),
        ("order", "U_P5"),
        ("flags", "U_P4"),
        ("ra", "U_P2"),
        ("lpid", "U_PARAMETER"),
        ("aborted", "U_STATE"),
        ("gpa", "U_P3"),
        ("state", "U_P2"),
    ]
    names = [name for name, _ in page_in if name != "aborted"]
    assert [check.name for check in CALLS["UV_PAGE_OUT"].check_order] == [*names, "aborted"]


def test_a_reply_has_no_outputs_and_refuses_nothing_unless_told() -> None:
    assert Reply(UCode.U_SUCCESS) == Reply(UCode.U_SUCCESS, {}, CodedRuns(), "")


@every_call
def test_checks_of_runs_differ_in_their_codes(call: Call) -> None:
    """So that the code of a refused run says which check refused it; `state` is the transition table's."""
    codes = [check.code for check in call.check_order if check.per_run and check.name != "state"]
    assert len(codes) == len({*codes})
