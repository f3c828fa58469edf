"""An Ultravisor played by us, at the URL that a Hypervisor was told to call, so that it can be tested alone.

It answers honestly (`honest_ultravisor`), and as a row says where a row says so:

    ultravisor.answers("UV_PAGE_IN", refuse(UCode.U_P2), silence)        the next two of that name

It keeps every call that it got, with its arguments: what a Hypervisor must send, in which order, and what
it must not.
"""

import json
import secrets
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from aiohttp import web

from pef_kit.runtime import messages
from pef_lab.between.server import Server, drop
from pef_lab.failures import Unanswered
from pef_lab.ports import LOOPBACK
from pef_lab.rows.doors import Doors
from pef_lab.rows.playing.honest_ultravisor import Honesty, refusing
from pef_lab.rows.playing.pages import PlayedSvm, Sealer, gfns_of
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import UCode
from pef_protocol.http import EPOCH_PATH, HELLO_PATH, JSON, OCTETS, PROBLEM, ULTRACALL_PATH
from pef_protocol.identity import Epoch, instance_of

BEARER: Final = "bearer "
FORGOTTEN: Final = 100_000
"""Calls that are kept; older ones are forgotten."""


@dataclass(slots=True)
class Heard:
    """A call that the Hypervisor made, and what it was answered; no code where it was not."""

    name: str
    request: Any
    code: UCode | None = None
    refused: int = 0
    """Runs that were refused."""

    @property
    def lpid(self) -> int:
        """Return the VM that the call is about."""
        return int(self.request.lpid)


Answer: TypeAlias = Callable[["PlayedUltravisor", Heard], Awaitable[Reply | None]]
"""Answers a call; None breaks the connection."""


async def honestly(played: "PlayedUltravisor", heard: Heard) -> Reply | None:
    """Answer as an Ultravisor does that keeps to the protocol."""
    return await played.honesty.answer(heard.request)


async def silence(_: "PlayedUltravisor", __: Heard) -> Reply | None:
    """Give no answer."""
    return None


async def done_in_silence(played: "PlayedUltravisor", heard: Heard) -> Reply | None:
    """Do what is asked for and give no answer: it is lost on its way."""
    await honestly(played, heard)
    return None


def refuse(code: UCode) -> Answer:
    """Refuse the whole call with `code` and do nothing."""

    async def answer(_: "PlayedUltravisor", heard: Heard) -> Reply | None:
        runs = getattr(heard.request, "runs", None)
        return Reply(code) if runs is None else refusing(runs, lambda _: code)

    return answer


def refuse_gfns(code: UCode, *gfns: int) -> Answer:
    """Refuse some GFNs with `code`, and do nothing for them; the rest is done honestly."""

    async def answer(played: "PlayedUltravisor", heard: Heard) -> Reply | None:
        reply = await played.honesty.answer(heard.request, gfns)
        asked = set(gfns_of(heard.request.runs)) & set(gfns)
        return (
            refusing(heard.request.runs, lambda gfn: code if gfn in asked else UCode(0)) if asked else reply
        )

    return answer


def meanwhile(deed: Callable[[], Awaitable[object]], then: Answer = honestly) -> Answer:
    """Do something while the call is outstanding, then answer it."""

    async def answer(played: "PlayedUltravisor", heard: Heard) -> Reply | None:
        await deed()
        return await then(played, heard)

    return answer


@dataclass
class PlayedUltravisor:
    """Serves `/v1/ultracalls/` for whoever bears the Hypervisor's `token`.

    `owner` are the doors of the Hypervisor, which owns normal memory; port 0 is any free one.
    """

    owner: Doors
    token: str = field(repr=False)
    host: str = LOOPBACK
    port: int = 0
    heard: deque[Heard] = field(default_factory=lambda: deque(maxlen=FORGOTTEN), repr=False)
    number: int = 0
    """Calls that were heard, forgotten ones included."""
    script: defaultdict[tuple[str, int | None], deque[Answer]] = field(
        default_factory=lambda: defaultdict(deque), repr=False
    )
    """What the next calls of a name are answered, about one VM or about any."""
    fault: str = ""
    """Why an answer could not be given: no finding about the Hypervisor."""

    def __post_init__(self) -> None:
        self._server = Server(self._answer, self.host, self.port)
        self.owner.epoch = str(Epoch(instance_of(secrets.token_bytes(16)), 1))
        self.honesty = Honesty(self.owner, Sealer(secrets.token_bytes(16)))

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        self.port = self._server.port
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, failure, trace)

    @property
    def url(self) -> str:
        """Return the base URL at which it is called."""
        return self._server.url

    def answers(self, name: str, *answers: Answer, lpid: int | None = None) -> None:
        """Answer the next ultracalls of that name so, about a VM or about any; honestly after them."""
        self.script[name, lpid].extend(answers)

    def answers_always(self, name: str, answer: Answer, lpid: int) -> None:
        """Answer all ultracalls of that name about a VM so, until it is forgotten."""
        self.script[name, lpid].extend([answer] * FORGOTTEN)

    def forget(self, lpid: int) -> None:
        """Answer honestly from now on whatever is about a VM; and about any, if that is not told of one."""
        for key in [key for key in self.script if key[1] in {lpid, None}]:
            del self.script[key]

    def begin(self, lpid: int) -> PlayedSvm:
        """Begin an SVM for a VM, as UV_ESM does before it makes H_SVM_INIT_START."""
        return self.honesty.svms.setdefault(lpid, PlayedSvm())

    def svm(self, lpid: int) -> PlayedSvm | None:
        """Return the SVM of a VM, or None."""
        return self.honesty.svms.get(lpid)

    def since(self, number: int, lpid: int | None = None) -> tuple[Heard, ...]:
        """Return the calls that came after the first `number`, about one VM or about any."""
        fresh = list(self.heard)[len(self.heard) - (self.number - number) :] if self.number > number else []
        return tuple(each for each in fresh if lpid is None or each.lpid == lpid)

    @contextmanager
    def outstanding(self, request: object) -> Iterator[None]:
        """Have a hypercall outstanding: what it asks for is taken meanwhile.

        Raise Unanswered where an answer of ours failed by no fault of the Hypervisor.
        """
        svm = self.svm(getattr(request, "lpid", -1))
        with ExitStack() as stack:
            if svm is not None:
                stack.enter_context(svm.asking(request))
            yield
        if self.fault:
            fault, self.fault = self.fault, ""
            raise Unanswered("the played Ultravisor", fault)

    async def _answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        given = request.headers.get("authorization", "")
        if not given.lower().startswith(BEARER) or given[len(BEARER) :] != self.token:
            return _problem(401, "the token is not the Hypervisor's")
        if request.path in {EPOCH_PATH, HELLO_PATH}:
            return _json({"epoch": self.owner.epoch, "owner": None, "features": []})
        call = CALLS.get(request.path.removeprefix(ULTRACALL_PATH))
        if call is None or not call.is_ultracall or not request.path.startswith(ULTRACALL_PATH):
            return _problem(404, f"{request.path} is no ultracall")
        try:
            octets = request.content_type == OCTETS
            asked = (
                messages.from_octets(call, request.query, body) if octets else messages.from_json(call, body)
            )
        except messages.Malformed as fault:
            return _problem(422, str(fault))
        heard = Heard(call.name, asked)
        self.heard.append(heard)
        self.number += 1
        queues = (self.script[call.name, heard.lpid], self.script[call.name, None])
        answer = next((queue.popleft() for queue in queues if queue), honestly)
        try:
            reply = await answer(self, heard)
        except Unanswered as failure:
            self.fault = str(failure)
            reply = None
        if reply is None:
            return drop(request)
        heard.code, heard.refused = UCode(reply.code), len(reply.refused)
        return _json(
            {
                "call": call.name,
                "code": {"name": reply.code.name, "number": int(reply.code)},
                "outputs": dict(reply.outputs),
                "refused": list(reply.refused.coded()),
                "detail": reply.detail,
            }
        )


def _json(content: object, status: int = 200, media_type: str = JSON) -> web.Response:
    return web.Response(text=json.dumps(content), status=status, content_type=media_type)


def _problem(status: int, detail: str) -> web.Response:
    body = {"type": "about:blank", "title": detail, "status": status, "detail": detail}
    return _json(body, status, PROBLEM)
