"""What SPIN prints is read as what it reached, or as a search that did not come to its end."""

from pathlib import Path

import pytest

from pef_model.rest_state import RestState, Seen
from pef_model.spin import TEXTS, MissingTool, NotSearched, read, require_tools, written_out
from pef_model.tables import MODELS

ROW = list(range(20))
WHOLE = f"""
State-vector 116 byte, depth reached 1732, errors: 0
  1052629 states, stored
   457039 states, matched
rest 1 1 {" ".join(map(str, ROW))}
rest 2 1 {" ".join(map(str, reversed(ROW)))}
rest 3 0 {" ".join(map(str, reversed(ROW)))}
step 1 2
step 3 3
"""


def test_each_state_at_rest_and_each_step_belongs_to_its_model() -> None:
    one, other = RestState(*ROW), RestState(*reversed(ROW))
    found = read(WHOLE, 3)
    assert found.stored == 1052629
    assert found.seen == (
        Seen(frozenset({other}), frozenset({(other, other)})),
        Seen(frozenset({one, other}), frozenset({(one, other)})),
        Seen(frozenset(), frozenset()),
    )


@pytest.mark.parametrize(
    "output",
    [
        "",
        WHOLE.replace("errors: 0", "errors: 1"),
        f"error: max search depth too small\n{WHOLE}",
        f"{WHOLE}\nWarning: Search not completed\n",
        f"pan: out of memory\n{WHOLE}",
        WHOLE.replace("states, stored", ""),
    ],
)
def test_a_search_that_was_cut_or_found_an_error_is_none(output: str) -> None:
    with pytest.raises(NotSearched, match="did not search the models to their end"):
        read(output, 3)


def test_a_missing_tool_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match="spin and gcc not found; install with: apt-get install spin gcc"):
        require_tools()


def test_the_texts_are_whole_and_in_order() -> None:
    text = written_out(MODELS)
    assert f"#define MODELS {len(MODELS)}" in text
    first_lines = [f"/* {title}" for title in ("---- The Ultravisor", "---- The Hypervisor: ultracalls")]
    assert [text.index(line) for line in first_lines] == sorted(text.index(line) for line in first_lines)
    assert len(TEXTS) == len({*TEXTS})
