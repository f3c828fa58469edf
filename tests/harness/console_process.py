"""`pef console` as a process of its own, for tests over real sockets."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import httpx

PEF: Final = str(Path(sys.executable).with_name("pef"))
STARTED: Final = 60
"""Seconds that it may take to start, and to end."""


@dataclass
class ConsoleProcess:
    """A console that runs, and what it has printed."""

    process: asyncio.subprocess.Process
    url: str
    fragments: list[str]
    printed: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def client(self, fragment: int = 0) -> AsyncIterator[httpx.AsyncClient]:
        """Give a client that has entered with one of the printed URLs."""
        secret = self.fragments[fragment].removeprefix("secret=").partition("&")[0]
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=STARTED) as client:
            (await client.post("/api/v1/enter", json={"secret": secret})).raise_for_status()
            yield client


@asynccontextmanager
async def console_process(*words: str, **variables: str) -> AsyncIterator[ConsoleProcess]:
    """Start `pef console` with words, and stop it at the end."""
    own: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if not name.startswith("PEF_")
    }
    process = await asyncio.create_subprocess_exec(
        PEF,
        "console",
        *words,
        env={**own, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        printed: list[str] = []
        with anyio.fail_after(STARTED):
            while not printed or "Ctrl-C" not in printed[-1]:
                line = (await process.stdout.readline()).decode()
                assert line, printed
                printed.append(line)
        found = re.findall(r"(http://\S+)/#(\S+)", "".join(printed))
        yield ConsoleProcess(process, found[0][0], [fragment for _, fragment in found], printed)
    finally:
        if process.returncode is None:
            process.terminate()
        with anyio.fail_after(STARTED):
            await process.communicate()
