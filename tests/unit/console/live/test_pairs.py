"""How many pairs a console may have started."""

from contextlib import suppress

import pytest

from pef_console.live.pairs import Places, own_pair
from pef_console.stage import NotPossible


def test_a_place_is_free_again_however_it_was_left() -> None:
    places = Places(most=1)
    with suppress(ValueError), places.one():
        assert places.taken == 1
        raise ValueError
    assert places.taken == 0


@pytest.mark.anyio
async def test_no_pair_is_started_beyond_the_bound() -> None:
    places = Places(most=1)
    with places.one(), pytest.raises(NotPossible, match="1 live sessions have a pair of their own"):
        await own_pair(1 << 26, places)
