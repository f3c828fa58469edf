"""Answers with many refused runs: octets behind the envelope; what is none is refused."""

import pytest

from pef_kit.runtime.messages import LONGEST_JSON, decode_reply, encode_reply, longest_answer
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import UCode
from pef_protocol.http import JSON, OCTETS, RUNS_IN_JSON
from pef_protocol.runs import CodedRuns

CALL = CALLS["UV_PAGE_IN"]


def refusing(runs: int, code: UCode = UCode.U_P2) -> Reply:
    return Reply(UCode.U_P2, {}, CodedRuns.of(*((n << 16, 1, int(code)) for n in range(runs))), "why")


@pytest.mark.parametrize(("runs", "media"), [(RUNS_IN_JSON, JSON), (RUNS_IN_JSON + 1, OCTETS)])
def test_what_is_encoded_is_decoded(runs: int, media: str) -> None:
    body, given = encode_reply(CALL.name, refusing(runs))
    assert given == media
    assert decode_reply(CALL, body, given) == refusing(runs)
    assert len(body) <= longest_answer(given)


def test_an_answer_in_json_is_short() -> None:
    assert longest_answer(JSON) == LONGEST_JSON < longest_answer(OCTETS)


@pytest.mark.parametrize("body", [b"", b"\xff" * 8, bytes(8), (2).to_bytes(8, "little") + b"{}"])
def test_octets_that_are_no_answer_are_refused(body: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        decode_reply(CALL, body, OCTETS)


@pytest.mark.parametrize("code", [UCode.U_SUCCESS, UCode.U_NO_KEY])
def test_a_run_is_not_refused_with_a_code_of_something_else(code: UCode) -> None:
    body, media = encode_reply(CALL.name, refusing(RUNS_IN_JSON + 1, code))
    with pytest.raises(ValueError, match="can't be refused with"):
        decode_reply(CALL, body, media)


def test_a_part_of_a_row_is_no_answer() -> None:
    body, media = encode_reply(CALL.name, refusing(RUNS_IN_JSON + 1))
    with pytest.raises(ValueError, match="are not rows"):
        decode_reply(CALL, body[:-1], media)
