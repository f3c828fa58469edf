"""A page that leaves secure memory in clear is found, however little may happen."""

import pytest

from pef_explorer.machines.small_memory import KNOWN_BYTES, KnownBytesSealer
from pef_explorer.plan import Part, Plan
from pef_explorer.search.search import Search
from pef_kit.core.runs import I64, U8, U64
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE


def in_clear(_: KnownBytesSealer, __: I64, ___: U64, frames: U8, normal: U8, ____: U8) -> None:
    """Copy frames to normal memory as they are."""
    known = frames.reshape(-1, PAGE_SIZE)[:, :KNOWN_BYTES]
    normal.reshape(-1, PAGE_SIZE)[:, :KNOWN_BYTES] = known


@pytest.mark.parametrize("vcpus", [1, 2])
@pytest.mark.parametrize("part", [Part.BROUGHT, Part.UNMIGRATED])
def test_a_page_that_goes_out_in_clear_is_found(
    part: Part, vcpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KnownBytesSealer, "seal", in_clear)
    looking = Search(Plan(Design.TRACKED, (part,), plug=0, vcpus=vcpus, calls=1))
    looking.go_on(lambda _: False)
    assert "no_plaintext_outside" in {each.invariant for each in looking.found().violations}
