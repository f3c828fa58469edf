"""A recording as frames: bounded, and the same at a node whenever one comes there."""

import json

from pef_console.recorded.entries import LONGEST, MOST_OCTETS, Cost, Entry, Recording, arrow, cut, verdict


def entry(number: int, *, holds: bool = True, text: str = "x") -> Entry:
    """Return an entry with an arrow and a verdict."""
    shown = arrow("guest 1", "ultravisor", f"{number} {text}", "ask", call=number)
    judged = verdict(f"row {number}", holds=holds, sentence=text)
    return Entry(
        f"entry {number}", f"outcome {number}", "tracked", (shown,), (), (judged,), Cost(number, 0, 1)
    )


def test_the_start_has_seen_nothing() -> None:
    frame = Recording("r", [entry(1)], "").frame(0)
    assert (frame["node"], frame["parent"], frame["children"], frame["nodes"]) == (0, None, [1], 2)
    assert (frame["arrows"], frame["verdicts"], frame["violated"], frame["ended"]) == ([], [], False, "")
    assert frame["path"] == [{"node": 0, "label": "start", "outcome": ""}]
    assert [each["label"] for each in frame["moves"]] == ["entry 1"]


def test_a_frame_has_what_came_so_far() -> None:
    recording = Recording("r", [entry(1), entry(2, holds=False), entry(3)], "")
    frame = recording.frame(3)
    assert (frame["node"], frame["parent"], frame["children"], frame["moves"]) == (3, 2, [], [])
    assert [(each["node"], each["text"]) for each in frame["arrows"]] == [(1, "1 x"), (2, "2 x"), (3, "3 x")]
    assert frame["cost"] == {"ultracalls": 3, "hypercalls": 0, "gfns": 1, "bytes": 0}
    broken, own = frame["verdicts"]
    assert (broken["invariant"], broken["holds"], broken["node"]) == ("row 2", False, 2)
    assert (own["invariant"], own["holds"], own["node"]) == ("row 3", True, None)
    assert [recording.frame(node)["violated"] for node in range(4)] == [False, False, True, True]
    assert [recording.violated_after(node) for node in range(4)] == [2, 2, None, None]


def test_a_long_recording_stays_within_a_frame() -> None:
    recording = Recording("r", [entry(n, holds=n % 2 == 0, text="ä" * 1000) for n in range(1, 501)], "")
    for node in (1, 250, 500):
        frame = recording.frame(node)
        assert len(json.dumps(frame, separators=(",", ":"))) <= MOST_OCTETS
        assert frame["arrows_before"] + len(frame["arrows"]) == node
        assert frame["path_before"] + len(frame["path"]) == node + 1
        assert frame["arrows"][-1]["node"] == frame["path"][-1]["node"] == node


def test_a_long_text_is_cut() -> None:
    assert cut("x" * LONGEST) == "x" * LONGEST
    assert cut("x" * (LONGEST + 1)) == "x" * (LONGEST - 1) + "…"
