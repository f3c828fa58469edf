"""A verdict from a process of its own: it gets no token, and ends when nobody waits for it."""

import json
import os
import sys
from pathlib import Path

import anyio
import pytest

from pef_console.apart import Asked, checked_apart
from pef_console.stage import Checked, NotPossible

ASKED = Asked(lesson="10", answers={"design": "own"})


def program(text: str) -> tuple[str, ...]:
    """Return a Python program as a command."""
    return sys.executable, "-c", text


async def test_the_verdict_is_what_the_process_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEF_DESIGNS", "own")
    monkeypatch.setenv("PEF_VMM_TOKEN", "a token")
    text = (
        "import json, os, sys; asked = json.loads(sys.argv[1]); "
        "asked['seen'] = sorted(name for name in os.environ if name.startswith('PEF_')); "
        "print(json.dumps({'passed': True, 'sentence': json.dumps(asked)}))"
    )
    verdict = await checked_apart(ASKED, program(text))
    assert verdict == Checked(passed=True, sentence=verdict.sentence)
    assert json.loads(verdict.sentence) == {**ASKED.model_dump(), "seen": ["PEF_DESIGNS"]}


async def test_a_process_that_fails_says_why_in_one_line() -> None:
    with pytest.raises(NotPossible, match="no verdict can be given: ValueError: no") as refusal:
        await checked_apart(ASKED, program("raise ValueError('no')"))
    assert "\n" not in str(refusal.value)
    with pytest.raises(NotPossible, match="no verdict can be given: the process ended"):
        await checked_apart(ASKED, program("raise SystemExit(3)"))


async def test_a_lesson_that_is_not_there_has_no_verdict() -> None:
    with pytest.raises(NotPossible, match="no verdict can be given: KeyError: '99'"):
        await checked_apart(Asked(lesson="99", answers={}))


async def test_a_process_that_nobody_waits_for_ends(tmp_path: Path) -> None:
    begun = anyio.Path(tmp_path / "begun")
    os.mkfifo(begun)
    text = f"import os, signal; open({str(begun)!r}, 'w').write(str(os.getpid())); signal.pause()"
    async with anyio.create_task_group() as group:
        group.start_soon(checked_apart, ASKED, program(text))
        pid = await begun.read_text()
        assert await anyio.Path("/proc", pid).exists()
        group.cancel_scope.cancel()
    assert not await anyio.Path("/proc", pid).exists()
