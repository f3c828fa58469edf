"""Which kind of file a content is, and the stage that shows it."""

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from pef_console.machines import Machines
from pef_console.recorded import hostile, rows, trace
from pef_console.recorded.entries import Recording
from pef_console.recorded.stage import RecordedStage
from pef_console.stage import NotPossible, Stage
from pef_lab.failures import WrongInput
from pef_lab.replay import counterexample

NONE_OF_OURS: Final = (
    "none of the files that the lab writes: a counterexample, a saved session, a trace of `pef designs`, "
    "or the JSON of `pef rows` or `pef hostile`"
)
SESSION: Final = "pef-session/"
TRACE: Final = "pef_trace"
MOST_HELD: Final = 64 << 20
"""Octets of all files whose recordings are open: in memory they take some five times as much."""
MADE_AGAIN: Final = frozenset({"counterexample", "session"})
"""Kinds of files whose moves are made again."""


class Reader:
    """Opens files. `moves` is the limit of a session; `no_model` says why no move can be made again."""

    def __init__(self, machines: Machines, moves: int, no_model: str = "") -> None:
        self._machines = machines
        self._moves = moves
        self._no_model = no_model
        self._held = 0
        """Octets of the files whose recordings are open."""

    async def open(self, content: Mapping[str, Any] | str, name: str) -> Stage:
        """Return the stage that shows a content; raise WrongInput, in one line, for what is none of ours."""
        parsed = await self._machines.run(lambda: parsed_of(content))
        if self._no_model and kind_of(parsed) in MADE_AGAIN:
            raise WrongInput(f"{name}: {self._no_model}")
        if kind_of(parsed) == "counterexample":
            from pef_console.recorded.counterexample import open_counterexample

            found = counterexample.parse(json.dumps(parsed), name)
            try:
                return await open_counterexample(self._machines, self._moves, found)
            except WrongInput as wrong:
                raise WrongInput(f"{name}: {wrong}") from None
        if kind_of(parsed) == "session":
            return await self._saved(parsed, name)
        return self._held_stage(await self._machines.run(lambda: recording_of(parsed, name)))

    def _held_stage(self, recording: Recording) -> RecordedStage:
        """Return the stage of a recording; raise NotPossible where too much is open already."""
        octets = len(recording.content)
        if self._held + octets > MOST_HELD:
            raise NotPossible(f"the open recordings have {self._held:,} octets: end one of them first")
        self._held += octets

        def release() -> None:
            self._held -= octets

        return RecordedStage(recording, release)

    async def _saved(self, content: Mapping[str, Any] | str, name: str) -> Stage:
        from pef_console.model import ModelStage
        from pef_console.recorded.counterexample import mutation
        from pef_explorer.session.saved import of_saved

        nodes = content.get("nodes") if isinstance(content, Mapping) else None
        if isinstance(nodes, list) and len(nodes) > self._moves:
            raise WrongInput(
                f"{name}: it has {len(nodes):,} moves, and a session has at most {self._moves:,}"
            )

        def make() -> Any:
            try:
                session = of_saved(content, mutants=lambda mutant: mutation(mutant)())
            except WrongInput as wrong:
                raise WrongInput(f"{name}: {wrong}") from None
            session.limit = min(session.limit, self._moves)
            return session

        return await ModelStage.opened(self._machines, make, name)


def parsed_of(content: Mapping[str, Any] | str) -> Mapping[str, Any] | str:
    """Return the JSON object that a text is; a text of lines stays as it is."""
    if not isinstance(content, str):
        return content
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return content
    return found if isinstance(found, dict) and TRACE not in found else content


def kind_of(content: Mapping[str, Any] | str) -> str:
    """Return which kind of file it is; nothing where it is none of ours."""
    if isinstance(content, str):
        first = content[: content.find("\n")] if "\n" in content else content
        return "trace" if f'"{TRACE}"' in first[:200] else ""
    written = str(content.get("format", ""))
    if written.startswith(counterexample.FAMILY):
        return "counterexample"
    if written.startswith(SESSION):
        return "session"
    if rows.is_rows(content):
        return "rows"
    return "hostile" if hostile.is_hostile(content) else ""


def recording_of(content: Mapping[str, Any] | str, name: str) -> Recording:
    """Return a recording; raise WrongInput where it is none, or not of its form."""
    if isinstance(content, str):
        if not kind_of(content):
            raise WrongInput(f"{name}: {NONE_OF_OURS}")
        return trace.recording_of(content, name)
    if rows.is_rows(content) and (wrong := rows.version_of(content)):
        raise WrongInput(f"{name}: {wrong}")
    readers = {"rows": rows.recording_of, "hostile": hostile.recording_of}
    reader = readers.get(kind_of(content))
    if reader is None:
        raise WrongInput(f"{name}: {NONE_OF_OURS}")
    try:
        return reader(content)
    except ValidationError as refusal:
        first = refusal.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise WrongInput(f"{name}: {where}: {first['msg']}") from None
