"""What a peer may do with a request, well or ill: actions for the script of a go-between."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from aiohttp import web

from pef_lab.between.go_between import Conduct
from pef_lab.between.passing import Passing, refusal
from pef_lab.between.script import honest
from pef_lab.between.server import drop
from pef_protocol.calls import Reply
from pef_protocol.codes import Code
from pef_protocol.http import JSON
from pef_protocol.problems import ProblemType
from pef_protocol.runs import CodedRuns

Action: TypeAlias = Callable[[Passing], Awaitable[object]]
"""What is done beside a request, or in its place."""


async def silent(_: Passing) -> web.StreamResponse:
    """Take the request, and never answer; nothing is done. Whoever asked asks again."""
    await asyncio.Event().wait()
    raise AssertionError


async def unanswered(passing: Passing) -> web.StreamResponse:
    """Have the request carried out, and never tell."""
    await passing.forward()
    return await silent(passing)


async def late(passing: Passing) -> web.StreamResponse:
    """Deliver the request once whoever asked has gone: what is asked again meanwhile comes before it."""
    try:
        return await silent(passing)
    finally:
        passing.afterwards(passing.forward())


async def dropped(passing: Passing) -> web.StreamResponse:
    """Break the connection; nothing is done."""
    return drop(passing.request)


async def forgotten(passing: Passing) -> web.StreamResponse:
    """Have the request carried out, and break the connection."""
    await passing.forward()
    return drop(passing.request)


async def doubled(passing: Passing) -> web.StreamResponse:
    """Deliver the request twice, and tell of the second time: of one that bears a slot, the kept answer."""
    await passing.forward()
    return await honest(passing)


def refused(kind: ProblemType, status: int) -> Conduct:
    """Refuse the message in the service's name; nothing is done."""

    async def answer(_: Passing) -> web.StreamResponse:
        return refusal(kind, status).response()

    return answer


broken: Final[Conduct] = refused(ProblemType.BROKEN, 500)
"""Say that a fault of the service leaves nobody who knows what was done: such a call is not asked again."""


async def html(_: Passing) -> web.StreamResponse:
    """Answer with a page for people."""
    return web.Response(text="<html><body>It works!</body></html>", content_type="text/html")


def garbage(content: bytes) -> Conduct:
    """Answer with bytes that claim to be JSON."""

    async def answer(_: Passing) -> web.StreamResponse:
        return web.Response(body=content, content_type=JSON)

    return answer


def claim(code: Code, **outputs: str) -> Conduct:
    """Answer with a code, whatever the truth: nothing is done."""

    async def answer(passing: Passing) -> web.StreamResponse:
        return web.json_response(reported(passing.name, Reply(code, outputs)))

    return answer


def reported(name: str, reply: Reply) -> dict[str, Any]:
    """Return a reply as it travels."""
    return {
        "call": name,
        "code": {"name": reply.code.name, "number": int(reply.code)},
        "outputs": dict(reply.outputs),
        "refused": list(reply.refused.coded()),
        "detail": reply.detail,
    }


def before(action: Action) -> Conduct:
    """Do something before the request is passed on."""

    async def answer(passing: Passing) -> web.StreamResponse:
        await action(passing)
        return await honest(passing)

    return answer


def after(action: Action) -> Conduct:
    """Do something after the request was carried out, before its answer is passed back."""

    async def answer(passing: Passing) -> web.StreamResponse:
        response = await honest(passing)
        await action(passing)
        return response

    return answer


def instead(action: Action, code: Code) -> Conduct:
    """Do something else than what was asked, and answer with `code`."""

    async def answer(passing: Passing) -> web.StreamResponse:
        await action(passing)
        return await claim(code)(passing)

    return answer


def in_part(code: Code) -> Conduct:
    """Have all runs of a paging call but the last carried out, and refuse that one with `code`."""

    async def answer(passing: Passing) -> web.StreamResponse:
        form = passing.form
        *runs, (gpa, count) = form["runs"]
        whole, passing.body = passing.body, json.dumps({**form, "runs": runs}).encode()
        await passing.forward()
        passing.body = whole
        return web.json_response(
            reported(passing.name, Reply(code, refused=CodedRuns.of((gpa, count, code))))
        )

    return answer
