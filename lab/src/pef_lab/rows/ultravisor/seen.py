"""What somebody outside sees of pages, in words, and how it is compared with what was expected."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from pef_lab.rows.row import Finding
from pef_lab.rows.subject import Evidence
from pef_lab.rows.ultravisor.vm import BLANK, page_of


class Word(StrEnum):
    """What a page holds, as far as it is told. It is never shown itself."""

    TEXT = "what the guest wrote"
    MAIL = "what lay in the shared page"
    OFFER = "what the Hypervisor had put there"
    ZERO = "zeroes"
    SEALED = "something else"
    NOTHING = "nothing"


PAGES: Final = {word: page_of(word.name) for word in (Word.TEXT, Word.MAIL, Word.OFFER)}
"""The pages that rows write."""
_WORDS: Final = {**{content: word for word, content in PAGES.items()}, BLANK: Word.ZERO, b"": Word.NOTHING}


def word_of(content: bytes, text: bytes = b"") -> Word:
    """Return what a page holds; `text` is what the guest's page held, if not what rows write."""
    return Word.TEXT if text and content == text else _WORDS.get(content, Word.SEALED)


def compared(
    expected: Mapping[str, object], seen: Mapping[str, object], unchanged: Evidence | None = None
) -> Finding:
    """Compare what was expected with what was seen, by name; what is seen as None could not be seen."""
    told = {name: str(value) for name, value in expected.items() if seen[name] is not None}
    found = {name: str(seen[name]) for name in told}
    return Finding(_line(told), _line(found), told == found, unchanged)


def _line(words: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in words.items())
