"""Each design has a sentence of its own."""

import pytest

from pef_console import designs
from pef_console.designs import SENTENCES, listed_designs
from pef_lab.known_designs import ObservedDesign, known_designs
from pef_protocol.designs import Design, DesignName


def test_every_design_is_listed_with_a_sentence() -> None:
    listed = listed_designs()
    assert [each["name"] for each in listed] == list(known_designs())
    assert len({each["sentence"] for each in listed}) == len(listed)
    assert set(SENTENCES) == set(Design)


def test_a_design_from_outside_is_described_by_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ObservedDesign(DesignName("own"), two_states=True)
    monkeypatch.setattr(designs, "known_designs", lambda: {"own": own})
    assert listed_designs() == [
        {
            "name": "own",
            "sentence": "A design from outside: the Hypervisor keeps two states, "
            "and its unmigrated pages are zero in the SVM.",
        }
    ]
