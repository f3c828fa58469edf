"""Guests' tokens: read back what was minted, and nothing that was not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_protocol.auth import mint_guest_token, read_guest_token
from pef_protocol.http import Caller, Role
from pef_protocol.quantities import Lpid

KEY = "the key of this door"
OTHER_KEY = "the key of that door"
LPIDS = (0, 1, 7, 4095, (1 << 64) - 1)


@pytest.mark.parametrize("lpid", LPIDS)
@pytest.mark.parametrize("problem_state", [False, True])
def test_a_minted_token_names_its_guest(lpid: int, problem_state: bool) -> None:
    token = mint_guest_token(KEY, lpid, problem_state=problem_state)
    assert read_guest_token(KEY, token) == Caller(Role.GUEST, Lpid(lpid), problem_state)


def test_a_kernel_calls_only_outside_problem_state_and_with_an_lpid() -> None:
    kernel = {
        (lpid, problem): Caller(Role.GUEST, Lpid(lpid), problem).is_vm_kernel
        for lpid in (0, 7)
        for problem in (False, True)
    }
    assert kernel == {(0, False): False, (0, True): False, (7, False): True, (7, True): False}
    assert not any(Caller(role).is_vm_kernel for role in Role)


def test_a_token_of_the_other_endpoint_is_refused() -> None:
    assert read_guest_token(OTHER_KEY, mint_guest_token(KEY, 7)) is None


@pytest.mark.parametrize(
    "claim",
    ["guest.8.kernel", "guest.7.problem", "guest.07.kernel", "guest.7", "vmm.7.kernel", "hypervisor..", ""],
)
def test_the_mac_of_one_claim_serves_no_other(claim: str) -> None:
    mac = mint_guest_token(KEY, 7).rpartition(".")[2]
    assert read_guest_token(KEY, f"{claim}.{mac}") is None


@pytest.mark.parametrize("place", range(len(mint_guest_token(KEY, 7))))
def test_one_changed_letter_is_a_forgery(place: int) -> None:
    token = mint_guest_token(KEY, 7)
    forged = token[:place] + chr(ord(token[place]) ^ 1) + token[place + 1 :]
    assert read_guest_token(KEY, forged) is None


@given(st.text())
def test_any_text_is_refused_without_an_error(token: str) -> None:
    assert read_guest_token(KEY, token.encode("utf-8", "replace").decode()) is None


def test_the_key_is_not_in_the_token() -> None:
    assert KEY not in mint_guest_token(KEY, 7)
