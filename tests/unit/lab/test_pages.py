"""Pages whose bytes tell who wrote them and when."""

import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pef_lab.pages import OPAQUE, OTHER_TEXT, ZERO, Generation, Tally, kinds_of, text_of
from pef_protocol.quantities import PAGE_SIZE

generations = st.sampled_from(list(Generation))


@given(generations, st.integers(0, 1 << 30), st.integers(1, 4))
def test_a_text_is_recognised_at_its_place(kind: Generation, first: int, count: int) -> None:
    assert kinds_of(text_of(kind, first, count), first).tolist() == [kind] * count


def test_a_text_can_be_read() -> None:
    assert text_of(Generation.PRIVATE, 1234, 2)[PAGE_SIZE:][:64] == b"gen 2 page 0000001235 of guest.\n" * 2


@given(generations, st.integers(0, 1 << 30), st.integers(1, 1 << 20))
def test_a_text_of_another_page_is_misplaced(kind: Generation, gfn: int, absent: int) -> None:
    assert kinds_of(text_of(kind, gfn + absent, 1), gfn).tolist() == [OTHER_TEXT]


@given(generations, st.integers(0, PAGE_SIZE - 1))
def test_one_byte_too_many_makes_a_page_another_one(kind: Generation, place: int) -> None:
    changed = bytearray(text_of(kind, 7, 1))
    changed[place] ^= 0xFF
    assert kinds_of(bytes(changed), 7).tolist() == [OTHER_TEXT]


@given(st.integers(0, PAGE_SIZE - 1))
def test_a_page_is_zero_only_if_all_of_it_is(place: int) -> None:
    nearly = bytearray(PAGE_SIZE)
    nearly[place] = 1
    assert kinds_of(bytes(PAGE_SIZE) + bytes(nearly), 0).tolist() == [ZERO, OPAQUE]


def test_random_bytes_are_opaque_and_text_in_them_is_found() -> None:
    random = bytearray(np.random.default_rng(1).bytes(3 * PAGE_SIZE))
    random[PAGE_SIZE + 999 : PAGE_SIZE + 999 + 32] = text_of(Generation.PRIVATE, 5, 1)[:32]
    assert kinds_of(bytes(random), 0).tolist() == [OPAQUE, OTHER_TEXT, OPAQUE]


def test_a_tally_says_what_was_seen_and_where_first() -> None:
    tally = Tally.empty()
    tally.add(kinds_of(bytes(2 * PAGE_SIZE), 16), 16)
    tally.add(kinds_of(text_of(Generation.PRIVATE, 32, 1), 32), 32)
    assert str(tally) == "zero in 2 pages, from GFN 0x10; the guest's private text in 1 page, from GFN 0x20"
    assert tally.only(ZERO, Generation.PRIVATE)
    assert not tally.only(ZERO)


def test_a_tally_of_nothing_allows_nothing() -> None:
    assert not Tally.empty().only(ZERO)


def test_generations_have_words_each() -> None:
    assert len({generation.words for generation in Generation}) == len(Generation)
    assert os.linesep not in "".join(generation.words for generation in Generation)
