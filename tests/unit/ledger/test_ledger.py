"""The ledger of what is proved: each fact that goes, shrinks or changes is named, and a rename is no loss."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from ledger import Section, losses, main
from pef_protocol.calls import CALLS
from pef_protocol.designs import Design

OLD: Mapping[str, Section] = {
    "checks": {"UV_ESM 01 old_word": "U_PERMISSION, message: a old_word that fails"},
    "interleavings": {"cases": 10_000},
}


@pytest.mark.parametrize(
    ("new", "lost"),
    [
        (OLD, []),
        ({**OLD, "more": {"a": 1}}, []),
        ({**OLD, "interleavings": {"cases": 10_001}}, []),
        ({**OLD, "interleavings": {"cases": 9_999}}, ["interleavings: cases was 10,000, and is 9,999"]),
        ({"checks": OLD["checks"]}, ["interleavings: cases is gone (it was: 10000)"]),
        (
            {**OLD, "checks": {"UV_ESM 01 old_word": "U_P2"}},
            ["checks: UV_ESM 01 old_word was 'U_PERMISSION, message: a old_word that fails', and is 'U_P2'"],
        ),
    ],
)
def test_each_fact_that_is_gone_smaller_or_another_is_named(
    new: Mapping[str, Section], lost: list[str]
) -> None:
    assert list(losses(OLD, new, {})) == lost


def test_a_renamed_word_is_no_loss_and_part_of_a_word_is_no_word() -> None:
    new: Mapping[str, Section] = {
        "checks": {"UV_ESM 01 check": "U_PERMISSION, message: a check that fails"},
        "interleavings": {"cases": 10_000},
    }
    assert list(losses(OLD, new, {"old_word": "check"})) == []
    assert len(list(losses(OLD, new, {"run": "check"}))) == 1


def test_a_ledger_of_the_tables_is_written_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, smaller = tmp_path / "ledger.json", tmp_path / "smaller.json"
    assert main([str(file), "--only", "checks", "--only", "cells"]) == 0
    ledger = json.loads(file.read_text())
    assert len(ledger["checks"]) == sum(len(call.check_order) for call in CALLS.values())
    assert any(name.startswith(f"hypervisor gfn {Design.TRACKED.value} ") for name in ledger["cells"])
    assert main(["--compare", str(file), str(file)]) == 0
    gone = ledger["cells"].popitem()[0]
    smaller.write_text(json.dumps(ledger))
    capsys.readouterr()
    assert main(["--compare", str(file), str(smaller)]) == 1
    assert f"cells: {gone} is gone" in capsys.readouterr().out
