"""A subject's doors: one for each role and guest, and answers read without believing them.

Whoever tests must tell three things apart: an answer of the protocol, right or wrong (`Answer`); a refusal of
HTTP (`Answer` as well, by its status: the subject said something, and it was no code); and none at all
(`Unanswered`: down, too slow, HTML), which is no finding about the protocol.
"""

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from pef_kit.runtime.connections import UNREACHED, client_of
from pef_kit.runtime.messages import encode_call
from pef_lab.endpoint import unreached
from pef_lab.failures import Unanswered
from pef_lab.minting import incarnation_at
from pef_protocol.auth import mint_guest_token
from pef_protocol.calls import CALLS
from pef_protocol.http import EPOCH, JSON, OBSERVER_PATH, PROBLEM, Role

CONNECTIONS: Final = 32
NAMES: Final = {call.request: call.name for call in CALLS.values()}
"""The name of the call that a request is for."""
TOO_LONG: Final = 120
"""Characters of a side's own words that are shown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a side answered: the name of the code, or the HTTP status where it gave none."""

    code: str
    outputs: Mapping[str, Any] = field(default_factory=dict)
    refused: tuple[tuple[int, int, int], ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Who:
    """A caller: a role, or a guest by its lpid."""

    role: Role
    lpid: int = 0
    problem_state: bool = False


HYPERVISOR: Final = Who(Role.HYPERVISOR)
ULTRAVISOR: Final = Who(Role.ULTRAVISOR)
VMM: Final = Who(Role.VMM)
OBSERVER: Final = Who(Role.OBSERVER)


def kernel_of(lpid: int) -> Who:
    """Return the kernel of a VM as a caller."""
    return Who(Role.GUEST, lpid)


def user_of(lpid: int) -> Who:
    """Return a user program of a VM as a caller."""
    return Who(Role.GUEST, lpid, problem_state=True)


class Doors:
    """All doors of one side. `tokens` may lack the observer's: then nothing can be looked at.

    `patience` is how many seconds a request may take before it counts as unanswered.
    """

    def __init__(
        self, name: str, url: str, tokens: Mapping[Role, str], guest_key: str, patience: float
    ) -> None:
        self.name = name
        self.url = url
        self._tokens = tokens
        self._guest_key = guest_key
        self._patience = patience
        self.epoch = ""
        """The epoch that calls of a visor name; nothing where nobody has said."""
        self.has_view = True
        """Whether the side has the observer's view; known once it was asked for."""
        self.asked = 0
        """Grows with each request, and with its answer, but for an observer's views: they change nothing."""
        self._clients: dict[Who, httpx.AsyncClient] = {}
        self._stack = AsyncExitStack()

    async def close(self) -> None:
        """Close all connections."""
        self._clients.clear()
        await self._stack.aclose()

    @property
    def can_be_observed(self) -> bool:
        """Tell whether there is an observer's view, and a token for it."""
        return self.has_view and bool(self._tokens.get(Role.OBSERVER))

    async def _token(self, who: Who) -> str:
        """Return the token of a role, or one that is minted for the VM that has a guest's lpid now."""
        if who.role is not Role.GUEST:
            return self._tokens.get(who.role, "")
        other = Role.HYPERVISOR if self.name == Role.ULTRAVISOR.capitalize() else Role.VMM
        asking = self._tokens.get(Role.OBSERVER) or self._tokens.get(other, "")
        try:
            incarnation = await incarnation_at(self.url, asking, who.lpid) if asking else None
        except Unanswered:
            incarnation = None  # the token speaks for no VM, and what it is answered is judged
        return mint_guest_token(self._guest_key, who.lpid, incarnation, problem_state=who.problem_state)

    async def _client(self, who: Who) -> httpx.AsyncClient:
        if who not in self._clients:
            token = await self._token(who)
            client = client_of(self.url, token, connections=CONNECTIONS, timeout=self._patience)
            self._stack.push_async_callback(client.aclose)
            self._clients[who] = client
        return self._clients[who]

    async def ask(self, who: Who, method: str, path: str, **form: Any) -> httpx.Response:
        """Send a request and return whatever HTTP answer comes; raise Unanswered where none does."""
        self.asked += 1
        try:
            return await self._send(who, method, path, **form)
        finally:
            self.asked += 1

    async def _send(self, who: Who, method: str, path: str, **form: Any) -> httpx.Response:
        if who.role in {Role.ULTRAVISOR, Role.HYPERVISOR} and self.epoch:
            form["headers"] = {EPOCH: self.epoch, **form.get("headers", {})}
        try:
            answer = await (await self._client(who)).request(method, path, **form)
            if answer.status_code == httpx.codes.UNAUTHORIZED and who.role is Role.GUEST:
                # The VM of this token has ended: whoever is a guest of that lpid now has another one.
                client = await self._client(who)
                client.headers["authorization"] = f"Bearer {await self._token(who)}"
                answer = await client.request(method, path, **form)
            return answer
        except UNREACHED as failure:
            # A report of rows names no URL.
            raise unreached(f"{method} {path} at the {self.name}", "", failure) from None

    async def call(self, who: Who, request: object) -> Answer:
        """Make the call of the protocol that `request` is for."""
        name = NAMES[type(request)]
        form = encode_call(CALLS[name], request)
        return read_answer(f"{name} at the {self.name}", await self.ask(who, "POST", form.pop("url"), **form))

    async def view(self, what: str, **query: int) -> Any:
        """Return an observer's view; raise Unanswered where there is none."""
        path = OBSERVER_PATH + what
        response = await self._send(OBSERVER, "GET", path, params=query)
        if response.status_code != httpx.codes.OK:
            raise Unanswered(f"{path} at the {self.name}", f"HTTP status {response.status_code}")
        return json_of(f"{path} at the {self.name}", response)


def read_answer(what: str, response: httpx.Response) -> Answer:
    """Read the answer to a call; a problem of HTTP is an answer by its status."""
    status = response.status_code
    if response.headers.get("content-type", "").startswith(PROBLEM):
        problem = json_of(what, response)
        return Answer(f"HTTP {status}", detail=str(problem.get("detail", ""))[:TOO_LONG])
    if status != httpx.codes.OK:
        raise Unanswered(what, f"HTTP status {status}")
    told = json_of(what, response)
    try:
        code = told["code"]
        refused = tuple((int(gpa), int(count), int(number)) for gpa, count, number in told["refused"])
        return Answer(_named(code), dict(told["outputs"]), refused, str(told["detail"])[:TOO_LONG])
    except (KeyError, TypeError, ValueError) as failure:
        raise Unanswered(what, f"not an answer of the protocol: {failure}") from None


def _named(code: Mapping[str, Any]) -> str:
    """Return the name of a code; with its number where that is not the one that belongs to it."""
    name, number = str(code["name"]), int(code["number"])
    right = next(
        (int(each) for call in CALLS.values() for each in call.codes if each.name == name),
        None,
    )
    return name if right in {None, number} else f"{name} numbered {number}"


def json_of(what: str, response: httpx.Response) -> Any:
    """Return the JSON of a response; raise Unanswered where it is none."""
    if not response.headers.get("content-type", "").startswith((JSON, PROBLEM)):
        kind = response.headers.get("content-type", "nothing")
        raise Unanswered(what, f"answered with {kind}, not JSON")
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError) as failure:
        raise Unanswered(what, f"not JSON: {failure}") from None
