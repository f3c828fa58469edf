"""What a service says on standard error: a line per call, if it is asked for, and a line for what goes wrong.

| PEF_LOG | calls, VMM's operations and refused requests | what goes wrong |
|---|---|---|
| empty | no line | a line for people |
| text | a line for people | a line for people |
| json | a JSON object in a line | a JSON object in a line |

Lines are written by a thread: a reader that is slow delays no call. What it does not take is counted.

Trust: a line holds what an event of the trace holds: names, numbers of the protocol and counts, no bytes of a
page and no token. A guest's loads and stores have no line. Nothing that a caller chose begins a line: what
is not visible is escaped, and a traceback is indented.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter

from pef_kit.runtime.background import Background
from pef_protocol.events import Event, EventKind, EventPhase, Side

QUEUE_LENGTH: Final = 8192
"""Lines that wait for the thread; more are dropped."""
AT_ONCE: Final = 256
"""Lines that are written at once."""
LONGEST_PATH: Final = 80
"""Characters of a path that a line shows."""
PLAIN: Final = re.compile(r"[!#-<>-~]+")
"""Text that stands in a line for people without quotes: no space, no quote, no equals sign."""


class LogForm(StrEnum):
    """What lines are like; OFF: what goes wrong alone, as text."""

    OFF = ""
    TEXT = "text"
    JSON = "json"


def to_standard_error(text: str) -> None:
    """Write lines where the process's errors go."""
    sys.stderr.write(text)
    sys.stderr.flush()


class Log:
    """The lines of one side. `write` takes whole lines, in a thread."""

    def __init__(
        self,
        side: Side,
        form: LogForm,
        registry: CollectorRegistry,
        write: Callable[[str], None] = to_standard_error,
    ) -> None:
        self._side = side
        self._form = form
        self.of_calls = form is not LogForm.OFF
        """Lines of calls are asked for."""
        self._write = write
        dropped = Counter("pef_log_lines_dropped", "Lines that were not written", registry=registry)
        self._dropped: Callable[[int], None] = dropped.inc
        self._lines = Background("log", self._deliver, self._dropped, waiting=QUEUE_LENGTH, at_once=AT_ONCE)

    def of_event(self, event: Event) -> None:
        """Say how a call or a VMM's operation ended, where lines of calls are asked for."""
        if not self.of_calls or event.phase is not EventPhase.END or event.kind is EventKind.ACCESS:
            return
        fields: dict[str, Any] = {
            "caller": event.caller,
            "arguments": event.arguments,
            "gfns": event.pages,
            "ms": round(event.seconds * 1e3, 3),
            "check": event.check,
            "detail": event.detail,
            "depth": event.depth,
            "call_id": event.call_id,
            "parent_id": event.parent_id,
            "number": event.number,
        }
        self._say("error" if event.code == "failed" else "info", f"{event.name} {event.code}", fields)

    def refused(self, method: str, path: str, status: int, reason: str) -> None:
        """Say that a request was refused before its handler, where lines of calls are asked for."""
        if self.of_calls:
            self._say("warning", f"refused with {status}", {"request": shown(method, path), "reason": reason})

    def client_left(self, method: str, path: str, came: int, announced: int | None) -> None:
        """Say that a client left in the middle of a body: so many bytes came (announced None: chunked)."""
        of = "" if announced is None else f" of {announced}"
        fields = {"request": shown(method, path), "reason": f"{came}{of} bytes of the body came"}
        self._say("warning", "a client left", fields)

    def of_record(self, record: logging.LogRecord) -> None:
        """Say what a library has to say, with the traceback if there is one."""
        fields = {"logger": record.name}
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        self._say(record.levelname.lower(), record.getMessage().strip(), fields)

    async def close(self) -> None:
        """Write what waits, for a bounded time."""
        await self._lines.close()

    def flush(self) -> None:
        """Do the same in the calling thread."""
        self._lines.flush()

    def _say(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        now = now.replace("+00:00", "Z")
        form = as_json if self._form is LogForm.JSON else as_text
        self._lines.put(form(now, level, self._side, message, fields))

    def _deliver(self, lines: list[str]) -> None:
        try:
            self._write("".join(lines))
        except (OSError, ValueError):  # it is closed, or nobody reads it
            self._dropped(len(lines))


class Records(logging.Handler):
    """Gives what libraries log to `log`."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on."""
        self._log.of_record(record)


def shown(method: str, path: str) -> str:
    """Return a request as a line names it: without its query, and cut where it is long."""
    return f"{method} {path if len(path) <= LONGEST_PATH else path[:LONGEST_PATH] + '...'}"


def as_json(now: str, level: str, side: Side, message: str, fields: Mapping[str, Any]) -> str:
    """Return a line of JSON; fields that are empty are left out."""
    head = {"time": now, "level": level, "side": side.value, "message": message}
    return json.dumps(head | {name: value for name, value in fields.items() if value != ""}) + "\n"


def as_text(now: str, level: str, side: Side, message: str, fields: Mapping[str, Any]) -> str:
    """Return a line for people: `name=value` behind the message; a traceback in indented lines below it."""
    named = dict(fields)
    below = [f"  {in_one_line(line)}" for line in named.pop("traceback", "").splitlines()]
    named |= named.pop("arguments", {})
    words = [now, f"{level:7}", f"{side.value:10}", in_one_line(message)]
    words += [f"{name}={in_quotes(value)}" for name, value in named.items() if value != ""]
    return "".join(f"{line}\n" for line in (" ".join(words), *below))


def in_one_line(text: str) -> str:
    """Return text with whatever is no visible character of it escaped."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


def in_quotes(value: object) -> str:
    """Return a value as it stands behind a name: in quotes where it has to be."""
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)
