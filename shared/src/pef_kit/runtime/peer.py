"""Calls to the peer over HTTP, each of which ends with an outcome.

What gives no outcome - no connection, too late, a body that is not ours, "not now" - is asked again with
the same id (slot and number), so that it acts once however often it is sent; until its epoch or its SVM has
ended, or the give-up time is over. Then the slot stays taken, and is asked for until an outcome comes.

Trust: the peer is not believed. What is no answer of that call is none, and is asked for again.

Source: rules 6 to 9 and 16 of ARCHITECTURE.md, "Identity and time".
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from pef_kit.core.effects import PeerCall, PeerFailure
from pef_kit.core.fence import SenderSlot, Session
from pef_kit.core.life import Ended, Life
from pef_kit.runtime.connections import NoOutcome, PeerConnections, headers_of, transport_of
from pef_kit.runtime.messages import decode_reply, encode_call, fingerprint_of, longest_answer, problem_type
from pef_kit.runtime.trace import CURRENT, CallContext, nested_headers
from pef_protocol.calls import CALLS, Call, Reply
from pef_protocol.http import (
    EPOCH,
    FINGERPRINT,
    INCARNATION,
    JSON,
    SLOT,
    TIME_LEFT,
)
from pef_protocol.identity import Epoch
from pef_protocol.problems import ProblemType

SMALL_BODY: Final = 16 << 10
"""Bytes of a body that a repeat brings along; a longer one is sent again only where it never came."""
HASHED_AT_ONCE: Final = 1 << 20
"""Bytes that are hashed without a thread."""
FIRST_WAIT: Final = 0.005
LONGEST_WAIT: Final = 1.0
MARGIN: Final = 0.05
"""Seconds that a hop keeps for itself of the time that is left."""
TOO_EARLY: Final = 425


@dataclass(slots=True)
class _Asking:
    """One call on its way: what is sent, in which slot, and what came of it so far."""

    ask: PeerCall
    call: Call
    depth: int
    form: dict[str, Any] = field(repr=False)
    turn: asyncio.Semaphore
    session: Session | None = None
    slot: SenderSlot | None = None
    with_body: bool = True
    reason: str = ""
    settled: bool = True
    """Nothing of it is on its way: it was not sent yet, or has an outcome."""
    received: bool = False
    """The number of its slot is used up."""
    out_of_step: bool = False
    """Nobody knows whether it is: the slot is not used again."""

    def require_alive(self) -> None:
        """Raise Ended once a life that it is made for is over."""
        over = next((life for life in self.ask.lives if not life.alive), None)
        if over is not None:
            raise Ended(over)

    @property
    def epoch_life(self) -> Life | None:
        """Return the epoch that it is made in."""
        return next((life for life in self.ask.lives if life.epoch), None)

    def end(self) -> None:
        """Give slot and turn back: there is an outcome."""
        if self.session is not None and self.slot is not None and not self.out_of_step:
            self.session.release(self.slot, received=self.received)
        self.turn.release()


class Peer(PeerConnections):
    """The other side, by HTTP.

    `timeout` bounds one attempt, `give_up` (seconds) how long a call of an SVM is waited for; None: for ever.
    `slots` tells whether the peer keeps answers: if not, a call whose answer is lost has no outcome.
    `other_epoch` is told when an answer says that the epoch is over: a rumour, for a proxy may say so, too.
    `transport` makes what carries the requests of one depth, from the number of its connections.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        token: str,
        *,
        connections: int,
        timeout: float,
        new_id: Callable[[], str],
        give_up: float | None = None,
        other_epoch: Callable[[], None] = lambda: None,
        transport: Callable[[int], httpx.AsyncBaseTransport] = transport_of,
    ) -> None:
        super().__init__(name, base_url, token, connections=connections, timeout=timeout, transport=transport)
        self._new_id = new_id
        self.slots = True
        self._give_up = give_up
        self._other_epoch = other_epoch
        self._connections = connections
        self._always = headers_of(token)
        self._session: tuple[Epoch | None, Session] | None = None
        self._asked_for: set[asyncio.Task[None]] = set()
        """Calls that nobody waits for any more, and whose slots stay taken until there is an outcome."""

    async def call(self, ask: PeerCall) -> Reply:
        """Make a call and return its reply.

        Raise PeerFailure where its outcome can't be had, or the message was refused; Ended where a life that
        it is made for is over.
        """
        call = CALLS[ask.name]
        depth = self._depth(ask.name)
        asking = _Asking(ask, call, depth, encode_call(call, ask.request), self._turns[depth])
        asking.form["headers"] |= self._always | nested_headers(self._new_id())
        asking.require_alive()
        await asking.turn.acquire()
        try:
            await self._take_slot(asking)
        except BaseException:
            asking.turn.release()
            raise
        loop = asyncio.get_running_loop()
        until = loop.time() + self._give_up if self._give_up else None
        try:
            reply = await self._until_outcome(asking, until)
        finally:
            # Order: whatever ended the waiting, the number can't be used again before there is an outcome.
            if asking.settled:
                asking.end()
            else:
                self._ask_on(asking)
        if reply is None:
            reason = f"no outcome within {self._give_up:g} s: {asking.reason}"
            raise PeerFailure(ask.name, self.name, reason)
        return reply

    def _ask_on(self, asking: _Asking) -> None:
        """Ask on for the outcome of a call that nobody waits for: then its slot may be used again.

        It acts for its epoch alone from now on; whether its SVM lives is for the peer to say.
        """
        asking.ask = replace(asking.ask, lives=tuple(life for life in asking.ask.lives if life.epoch))

        async def ask_on() -> None:
            try:
                await self._until_outcome(asking, None)
            except (PeerFailure, Ended):
                pass
            finally:
                asking.end()

        task = asyncio.get_running_loop().create_task(ask_on())
        self._asked_for.add(task)
        task.add_done_callback(self._asked_for.discard)

    async def _take_slot(self, asking: _Asking) -> None:
        """Take a slot of the session of this epoch, and write what the call bears on it."""
        life = asking.epoch_life
        headers, form = asking.form["headers"], asking.form
        if life is not None:
            headers[EPOCH] = str(life.epoch)
        if asking.ask.incarnation is not None:
            headers[INCARNATION] = str(asking.ask.incarnation)
        if not self.slots:
            return
        query, body = urlencode(form["params"]) if "params" in form else "", form["content"]
        arguments = (form["url"], query, headers["content-type"], body)
        if len(body) <= HASHED_AT_ONCE:
            headers[FINGERPRINT] = fingerprint_of(*arguments)
        else:
            headers[FINGERPRINT] = await asyncio.to_thread(fingerprint_of, *arguments)
        asking.require_alive()
        epoch = life.epoch if life is not None else None
        if self._session is None or self._session[0] != epoch:
            self._session = (epoch, Session(self._new_id(), self._connections))
        asking.session = self._session[1]
        asking.slot = asking.session.take(asking.depth)
        if asking.slot is None:  # as many slots as turns, but for those that were out of step
            asking.session = Session(self._new_id(), self._connections)
            self._session = (epoch, asking.session)
            asking.slot = asking.session.take(asking.depth)
            assert asking.slot is not None  # noqa: S101 - it is new
        headers[SLOT] = str(asking.session.call_id(asking.slot))

    async def _until_outcome(self, asking: _Asking, until: float | None) -> Reply | None:
        """Ask until there is an outcome; return None at `until` (the loop's time)."""
        loop = asyncio.get_running_loop()
        wait = FIRST_WAIT
        while True:
            asking.require_alive()
            left = self.timeout if until is None else min(self.timeout, until - loop.time())
            if left <= 0:
                return None
            asking.settled, asking.received = False, True
            try:
                status, body, media = await self._attempt(asking, left)
                reply = self._outcome(asking, status, body, media)
            except (PeerFailure, Ended):
                asking.settled = True
                raise
            except NoOutcome as failure:
                asking.reason = str(failure)
                if asking.slot is None:
                    asking.settled = True
                    raise PeerFailure(asking.ask.name, self.name, asking.reason) from None
                await asyncio.sleep(wait if until is None else max(0.0, min(wait, until - loop.time())))
                wait = min(LONGEST_WAIT, wait * 2)
                continue
            if reply is not None:
                asking.settled = True
                return reply

    async def _attempt(self, asking: _Asking, seconds: float) -> tuple[int, bytes, str]:
        """Send the call once: return status, body and media type; raise NoOutcome where no answer comes.

        It goes to the transport itself: of what a client does beside that - cookies, redirects, merging of
        URLs and headers - a call needs nothing.
        """
        form = asking.form
        form["headers"][TIME_LEFT] = str(int(self._time_left(asking.ask, seconds) * 1000))
        content = form["content"] if asking.with_body else b""
        asking.with_body = len(form["content"]) <= SMALL_BODY
        request = httpx.Request("POST", self._url_of(form), headers=form["headers"], content=content)
        with self._reaching(seconds):
            async with asyncio.timeout(seconds):
                response = await self._transports[asking.depth].handle_async_request(request)
                async with aclosing(response):
                    if response.headers.get("content-encoding", "identity") != "identity":
                        raise NoOutcome("an answer that is packed, which nobody asked for")
                    media = response.headers.get("content-type", JSON)
                    longest = longest_answer(media)
                    body = bytearray()
                    async for chunk in response.aiter_raw():
                        body += chunk
                        if len(body) > longest:
                            reason = f"an answer of over {longest} bytes"
                            raise PeerFailure(asking.ask.name, self.name, reason)
        return response.status_code, bytes(body), media

    def _outcome(self, asking: _Asking, status: int, body: bytes, media: str) -> Reply | None:
        """Return the reply; None where the body has to be sent again; raise what the answer means else."""
        name = asking.ask.name
        if status == httpx.codes.OK:
            try:
                return decode_reply(asking.call, body, media)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
                raise NoOutcome(f"not an answer of the protocol: {failure}") from None
        kind = problem_type(body)
        reason = f"HTTP status {status}" + (f" ({kind.name})" if kind else "")
        if status == TOO_EARLY and not asking.with_body:
            asking.with_body = True
            return None
        if kind is ProblemType.BROKEN:
            asking.out_of_step = True
            raise PeerFailure(name, self.name, reason)
        if kind is ProblemType.OTHER_EPOCH:
            self._other_epoch()  # a rumour: it is asked again until our epoch has ended
        if kind is None or kind in {ProblemType.NOT_NOW, ProblemType.OTHER_EPOCH}:
            raise NoOutcome(reason)
        asking.received = kind is ProblemType.OTHER_INCARNATION
        asking.out_of_step = kind in {ProblemType.SLOT, ProblemType.LATE}
        raise PeerFailure(name, self.name, reason, done=False)

    def _time_left(self, ask: PeerCall, seconds: float) -> float:
        deadline = (CURRENT.get() or CallContext()).deadline
        if deadline is None or ask.ignore_deadline:
            return seconds
        return max(0.0, min(seconds, deadline - asyncio.get_running_loop().time() - MARGIN))

    async def close(self) -> None:
        """Close all connections; nobody asks any more."""
        for task in tuple(self._asked_for):
            task.cancel()
        await asyncio.gather(*self._asked_for, return_exceptions=True)
        await super().close()
