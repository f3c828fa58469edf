"""Return codes: one number a name, the numbers of the headers, an assigned block that is nobody else's."""

import pytest

from pef_protocol.codes import ASSIGNED, Code, HCode, UCode

LINUX = {
    "H_SUCCESS": 0,
    "H_BUSY": 1,
    "H_FUNCTION": -2,
    "H_PARAMETER": -4,
    "H_AUTHORITY": -10,
    "H_PERMISSION": -11,
    "H_P2": -55,
    "H_P3": -56,
    "H_P4": -57,
    "H_P5": -58,
    "H_UNSUPPORTED": -67,
    "H_STATE": -75,
}
"""What asm/hvcall.h says of the codes that we use."""

TAKEN = {
    *range(6),
    *range(14, 19),
    *range(9900, 9906),
    9999,
    *range(-46, 0),
    *range(-75, -54),
    *range(-511, -255),
    -9005,
    -9006,
}
"""Every number that asm/hvcall.h gives to a return code, the ranges of asm/hvcall.h whole."""


@pytest.mark.parametrize("family", [UCode, HCode])
def test_each_number_has_one_name(family: type[Code]) -> None:
    names = family.__members__
    assert len({code.value for code in names.values()}) == len(names)


@pytest.mark.parametrize(
    "code", [*HCode, *(code for code in UCode if code not in ASSIGNED)], ids=lambda code: code.name
)
def test_numbers_are_those_of_the_headers(code: Code) -> None:
    assert code.value == LINUX[f"H{code.name[1:]}"]


def test_assigned_numbers_collide_with_nothing() -> None:
    numbers = {code.value for code in ASSIGNED}
    assert len(numbers) == len(ASSIGNED) == 4
    assert not numbers & TAKEN
    assert not numbers & {code.value for code in HCode}
    assert {code.name for code in ASSIGNED} == {"U_INVALID", "U_RETRY", "U_NO_KEY", "U_BAD_MODE"}


@pytest.mark.parametrize("code", [*UCode, *HCode], ids=lambda code: code.name)
def test_only_zero_is_success(code: Code) -> None:
    assert code.succeeded == (code.name in {"U_SUCCESS", "H_SUCCESS"})


@pytest.mark.parametrize("code", [*UCode, *HCode], ids=lambda code: code.name)
def test_codes_fit_the_columns_that_carry_them(code: Code) -> None:
    assert -(1 << 15) <= code.value < 1 << 15
