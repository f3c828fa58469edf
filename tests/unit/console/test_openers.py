"""Which stages there are, and why one is not there."""

import pytest

from harness.console import Consoles
from pef_console.openers import Openers
from pef_console.stage import NotPossible


def test_what_is_not_there_says_why() -> None:
    open_one = Consoles().open
    openers = Openers({"file": open_one}, {"live": "there is no pair"})
    assert openers.find("file") is open_one
    assert openers.why_not() == {"model": "not in this console", "recorded": "", "live": "there is no pair"}
    with pytest.raises(NotPossible, match="there is no pair"):
        openers.find("live")
    with pytest.raises(NotPossible, match="this console has no stage lesson"):
        openers.find("lesson")
