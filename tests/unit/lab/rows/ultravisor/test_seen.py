"""What rows say that they saw of pages."""

from pef_lab.rows.subject import Evidence
from pef_lab.rows.ultravisor.seen import PAGES, Word, compared, word_of
from pef_lab.rows.ultravisor.vm import BLANK


def test_pages_are_told_apart_by_what_was_written() -> None:
    assert [word_of(page) for page in PAGES.values()] == list(PAGES)
    assert (word_of(BLANK), word_of(b"")) == (Word.ZERO, Word.NOTHING)
    assert word_of(b"ciphertext") is Word.SEALED
    assert word_of(b"the image's", b"the image's") is Word.TEXT
    assert word_of(PAGES[Word.TEXT][:-1] + b"!") is Word.SEALED


def test_one_difference_is_a_disagreement() -> None:
    expected = {"code": "U_SUCCESS", "guest reads": Word.ZERO}
    assert compared(expected, dict(expected)).agrees
    finding = compared(expected, {**expected, "guest reads": Word.TEXT}, Evidence.DIGEST)
    assert not finding.agrees
    assert "what the guest wrote" in finding.observed
    assert finding.unchanged is Evidence.DIGEST


def test_what_could_not_be_seen_is_not_compared() -> None:
    finding = compared({"code": "U_P2", "state": "SECURE"}, {"code": "U_P2", "state": None})
    assert (finding.agrees, finding.expected) == (True, "code: U_P2")
