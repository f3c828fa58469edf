"""What becomes of held messages; those of a real pair are in test_stage.py."""

import pytest

from pef_console.live.wire import ACTION_OF, FAULT_OF, flipped


@pytest.mark.parametrize("length", [1, 8, 65536])
def test_a_flipped_bit_is_one_bit_of_the_first_page(length: int) -> None:
    content = bytes(65536)
    changed = flipped(content, length)
    assert len(changed) == len(content)
    (at,) = (place for place, octet in enumerate(changed) if octet)
    assert at < length
    assert changed[at] == 1


def test_nothing_has_no_bit() -> None:
    assert flipped(b"", 8) == b""


def test_each_action_has_a_fault_of_its_own() -> None:
    assert {ACTION_OF[fault]: fault for fault in FAULT_OF.values()} == FAULT_OF
