"""What only a test has a peer answer; the other misdeeds are those of `pef_lab.between`."""

from collections.abc import Awaitable

from aiohttp import web

from pef_lab.between.fault_injections import claim
from pef_lab.between.go_between import Conduct
from pef_lab.between.passing import Passing
from pef_protocol.calls import CALLS
from pef_protocol.http import OCTETS


async def unavailable(_: Passing) -> web.StreamResponse:
    """Answer with HTTP 503."""
    return web.Response(status=503, text="later")


def octets(content: bytes) -> Conduct:
    """Answer with bytes of memory."""

    async def answer(_: Passing) -> web.StreamResponse:
        return web.Response(body=content, content_type=OCTETS)

    return answer


def impossible(passing: Passing) -> Awaitable[web.StreamResponse]:
    """Answer with a code of the family that this call never gives."""
    call = CALLS[passing.name]
    family = type(call.success)
    return claim(next(code for code in family if code not in call.codes))(passing)
