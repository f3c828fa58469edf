"""Each code says which check gave it, what that refuses, and where it is written."""

import pytest

from pef_explorer.session.frame import Why
from pef_explorer.session.why import FURTHER, why
from pef_protocol.calls import CALLS


@pytest.mark.parametrize("name", CALLS)
def test_each_check_of_each_call_has_its_sentence(name: str) -> None:
    call = CALLS[name]
    for check in call.check_order:
        found = why(name, succeeded=False, check=check.name, detail="something")
        same = next(each for each in call.check_order if each.name == check.name)
        sentence = f"It refuses {same.refuses}."
        assert found == Why(check=check.name, sentence=sentence, source=call.source)


def test_a_success_has_no_reason() -> None:
    assert why("UV_ESM", succeeded=True, check="", detail="") is None


def test_what_no_check_refused_says_what_failed() -> None:
    source = CALLS["UV_PAGE_IN"].source
    said = why("UV_PAGE_IN", succeeded=False, check="", detail="not genuine")
    assert said == Why(check="", sentence="not genuine", source=source)
    silent = why("UV_PAGE_IN", succeeded=False, check="", detail="")
    assert silent == Why(check="", sentence=FURTHER, source=source)


def test_what_is_no_call_has_its_detail_alone() -> None:
    assert why("host read", succeeded=False, check="", detail="no VM") == Why(
        check="", sentence="no VM", source=""
    )
    assert why("host read", succeeded=False, check="", detail="") is None
