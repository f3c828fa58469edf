"""Mutants of what either side answers, and the operation that does nothing.

Source: decisions, "return codes"; the ledger, "runs".
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from fastapi import Request, Response

from mutants.exchange import attribute, everywhere
from pef_kit.ladder import Codes, Ladder
from pef_kit.operations import Operation
from pef_kit.refusals import Refusals
from pef_kit.runtime import calls, messages
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side
from pef_protocol.ladders import Rung


def nothing(*_: object) -> Operation[None]:
    """Do nothing, as an operation."""
    yield from ()


@contextmanager
def wrong_numbers() -> Iterator[None]:
    """Answer a refusal with the right name and the number next to it."""
    original = messages.envelope

    def envelope(name: str, reply: Reply) -> dict[str, Any]:
        told = original(name, reply)
        if not reply.code.succeeded:
            told["code"]["number"] -= 1
        return told

    with everywhere(original, envelope):
        yield


@contextmanager
def refused_runs_untold() -> Iterator[None]:
    """Answer with the code of the first refused run, and do not say which runs were refused."""
    original = Refusals.reply

    def reply(refusals: Refusals, refused_whole: Rung | None = None) -> Reply:
        told = original(refusals, refused_whole)
        return Reply(told.code, told.outputs, detail=told.detail)

    with attribute(Refusals, "reply", reply):
        yield


@contextmanager
def neighbours_refused() -> Iterator[None]:
    """Refuse all runs of a message of which one is wrong."""
    original = Ladder.climb_runs

    def climb_runs(ladder: Ladder[Any], asked: Any, runs: int) -> tuple[Rung | None, Codes]:
        rung, codes = original(ladder, asked, runs)
        wrong = codes[codes != 0]
        return rung, np.full(runs, wrong[0], np.int16) if len(wrong) else codes

    with attribute(Ladder, "climb_runs", climb_runs):
        yield


@contextmanager
def unknown_is_done() -> Iterator[None]:
    """Answer a call that there is not with success."""

    def unknown_call(side: Side) -> Callable[[Request], Any]:
        success = UCode.U_SUCCESS if side is Side.ULTRAVISOR else HCode.H_SUCCESS

        async def succeed(request: Request) -> Response:
            return calls.reply_response(request.path_params["name"], Reply(success))

        return succeed

    with everywhere(calls.unknown_call, unknown_call):
        yield
