"""What an effect shows of itself."""

from pef_kit.core.effects import Offload, Transfer


def test_an_effect_shows_what_it_asks_but_no_memory() -> None:
    transfer = Transfer(((1 << 32, 8),), lambda *_: None, writes=True)
    assert repr(transfer) == "Transfer(pieces=((4294967296, 8),), writes=True)"
    assert repr(Offload(lambda: b"secret")) == "Offload()"
