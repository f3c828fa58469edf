"""What a peer may do with a request, well or ill: answers for the script of a go-between."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from model.go_between import Answer, Passing
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import Code
from pef_protocol.runs import CodedRuns
from pef_protocol.wire import JSON, OCTETS


async def silent(_: Passing) -> web.StreamResponse:
    """Take the request, and never answer; nothing is done."""
    await asyncio.Event().wait()
    raise AssertionError


async def unheard(passing: Passing) -> web.StreamResponse:
    """Have the request carried out, and never tell."""
    await passing.forward()
    return await silent(passing)


async def late(passing: Passing) -> web.StreamResponse:
    """Have the request carried out once whoever asked has given up."""
    try:
        return await silent(passing)
    finally:
        passing.between.later(passing)


async def dropped(passing: Passing) -> web.StreamResponse:
    """Break the connection; nothing is done."""
    if passing.request.transport is not None:
        passing.request.transport.abort()
    return web.Response()


async def html(_: Passing) -> web.StreamResponse:
    """Answer with a page for people."""
    return web.Response(text="<html><body>It works!</body></html>", content_type="text/html")


async def unavailable(_: Passing) -> web.StreamResponse:
    """Answer with HTTP 503."""
    return web.Response(status=503, text="later")


def garbage(content: bytes) -> Answer:
    """Answer with bytes that claim to be JSON."""

    async def answer(_: Passing) -> web.StreamResponse:
        return web.Response(body=content, content_type=JSON)

    return answer


def octets(content: bytes) -> Answer:
    """Answer with bytes of memory."""

    async def answer(_: Passing) -> web.StreamResponse:
        return web.Response(body=content, content_type=OCTETS)

    return answer


def claim(code: Code, **outputs: str) -> Answer:
    """Answer with a code, whatever the truth: nothing is done."""

    async def answer(passing: Passing) -> web.StreamResponse:
        return web.json_response(told(passing.name, Reply(code, outputs)))

    return answer


def told(name: str, reply: Reply) -> dict[str, Any]:
    """Return a reply as it travels."""
    return {
        "call": name,
        "code": {"name": reply.code.name, "number": int(reply.code)},
        "outputs": dict(reply.outputs),
        "refused": list(reply.refused.coded()),
        "detail": reply.detail,
    }


def impossible(passing: Passing) -> Awaitable[web.StreamResponse]:
    """Answer with a code of the family that this call never gives."""
    call = CALLS[passing.name]
    family = type(call.success)
    return claim(next(code for code in family if code not in call.codes))(passing)


def before(deed: Callable[[Passing], Awaitable[object]]) -> Answer:
    """Do something before the request is passed on."""

    async def answer(passing: Passing) -> web.StreamResponse:
        await deed(passing)
        return await passing.forward()

    return answer


def after(deed: Callable[[Passing], Awaitable[object]]) -> Answer:
    """Do something after the request was carried out, before its answer is passed back."""

    async def answer(passing: Passing) -> web.StreamResponse:
        response = await passing.forward()
        await deed(passing)
        return response

    return answer


def instead(deed: Callable[[Passing], Awaitable[object]], code: Code) -> Answer:
    """Do something else than what was asked, and answer with `code`."""

    async def answer(passing: Passing) -> web.StreamResponse:
        await deed(passing)
        return await claim(code)(passing)

    return answer


def in_part(code: Code) -> Answer:
    """Have all runs of a paging call but the last carried out, and refuse that one with `code`."""

    async def answer(passing: Passing) -> web.StreamResponse:
        form = passing.form
        *runs, (gpa, count) = form["runs"]
        whole, passing.body = passing.body, json.dumps({**form, "runs": runs}).encode()
        await passing.forward()
        passing.body = whole
        return web.json_response(told(passing.name, Reply(code, refused=CodedRuns.of((gpa, count, code)))))

    return answer
