"""A frame stays within its bound, and counts what it leaves out."""

import json
from typing import Any

from pef_console.live.framing import LARGEST, bounded, size_of


def test_a_frame_that_is_too_large_leaves_out_and_counts() -> None:
    row = {"text": "x" * 200}
    frame: dict[str, Any] = {
        name: [dict(row, n=n) for n in range(40)] for name in ("arrows", "path", "moves", "gfns")
    }
    frame |= dict.fromkeys(("arrows_before", "path_before", "moves_left_out", "gfns_left_out"), 0)
    shown = bounded(frame)
    assert size_of(shown) <= LARGEST
    assert len(json.dumps(shown, separators=(",", ":"))) == size_of(shown)
    for name, counter in (
        ("arrows", "arrows_before"),
        ("path", "path_before"),
        ("moves", "moves_left_out"),
        ("gfns", "gfns_left_out"),
    ):
        assert len(shown[name]) + shown[counter] == 40
    assert shown["arrows"][-1]["n"] == 39
    assert shown["moves"][0]["n"] == 0


def test_a_small_frame_stays_whole() -> None:
    frame: dict[str, Any] = {"arrows": [1], "path": [], "moves": [], "gfns": [], "arrows_before": 0}
    assert bounded(dict(frame)) == frame
