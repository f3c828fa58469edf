"""A go-between that keeps what passes, and meddles when told.

    between.answers("H_SVM_PAGE_IN", silent, garbage(b"<"))     the next two requests of that name
    between.at(3, dropped)                                      the third request from now on
    between.always("H_SVM_INIT_DONE", claim(HCode.H_STATE))     every one

A request that no script speaks of is passed on, and so is its answer. Nothing here waits a fixed time: a
go-between that is silent stays so until whoever asked has given up. Whoever is not answered asks again,
and that is the next request of the name.
"""

import json
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from pef_lab.between.go_between import Conduct, GoBetween
from pef_lab.between.passing import Answer, Passing
from pef_lab.ports import LOOPBACK
from pef_protocol.events import Side


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that passed, and the body of its answer."""

    path: str
    query: str
    headers: str
    asked: bytes = field(repr=False)
    status: int
    answered: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Return the name of the call."""
        return self.path.rpartition("/")[2]

    @property
    def everything(self) -> bytes:
        """Return all that whoever answered, or asked, has seen of it."""
        return b"\n".join((f"{self.path}?{self.query}\n{self.headers}".encode(), self.asked, self.answered))

    def form(self) -> dict[str, Any]:
        """Return the JSON that was asked; nothing where it was none."""
        return dict(json.loads(self.asked)) if self.asked[:1] == b"{" else {}


class ScriptedBetween(GoBetween):
    """A go-between whose script says what is done with which request."""

    def __init__(self, to: Side, host: str = LOOPBACK, port: int = 0) -> None:
        super().__init__(to, self._play, host, port)
        self.exchanges: list[Exchange] = []
        self.names: list[str] = []
        """Names of all requests since the last `honest_again`, answered or not."""
        self._script: defaultdict[str, deque[Conduct]] = defaultdict(deque)
        self._always: dict[str, Conduct] = {}
        self._at: dict[int, Conduct] = {}

    def answers(self, name: str, *actions: Conduct) -> None:
        """Treat the next requests of that name so; honestly after them."""
        self._script[name].extend(actions)

    def always(self, name: str, action: Conduct) -> None:
        """Treat every request of that name so."""
        self._always[name] = action

    def at(self, number: int, action: Conduct) -> None:
        """Treat request `number` since the last `honest_again`, from 1, so."""
        self._at[number] = action

    def honest_again(self) -> None:
        """Forget all scripts, and count requests from here."""
        self._script.clear()
        self._always.clear()
        self._at.clear()
        self.names.clear()

    async def forward(self, request: web.Request, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Pass a request on, keep the exchange, and return the answer."""
        answer = await super().forward(request, body, headers)
        both = f"{[*headers.items()]} {[*answer.headers.items()]}"
        self.exchanges.append(
            Exchange(request.path, request.query_string, both, body, answer.status, answer.content)
        )
        return answer

    async def _play(self, passing: Passing) -> web.StreamResponse:
        self.names.append(passing.name)
        queue = self._script[passing.name]
        action = self._at.pop(len(self.names), None)
        if action is None:
            action = queue.popleft() if queue else self._always.get(passing.name, honest)
        return await action(passing)


async def honest(passing: Passing) -> web.StreamResponse:
    """Pass the request on, and its answer back."""
    return (await passing.forward()).response()
