"""Mutants of what either side answers, and the operation that does nothing.

Source: decisions, "return codes"; the ledger, "runs".
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from fastapi import Request, Response

from pef_kit.core.checks import CheckOrder, Codes
from pef_kit.core.effects import Operation
from pef_kit.core.replies import Refusals
from pef_kit.runtime import calls, messages
from pef_mutants.exchange import attribute, everywhere
from pef_protocol.calls import Reply
from pef_protocol.check_orders import Check
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side


def nothing(*_: object) -> Operation[None]:
    """Do nothing, as an operation."""
    yield from ()


@contextmanager
def wrong_numbers() -> Iterator[None]:
    """Answer a refusal with the right name and the number next to it."""
    original = messages.envelope

    def envelope(name: str, reply: Reply) -> dict[str, Any]:
        reported = original(name, reply)
        if not reply.code.succeeded:
            reported["code"]["number"] -= 1
        return reported

    with everywhere(original, envelope):
        yield


@contextmanager
def refused_runs_untold() -> Iterator[None]:
    """Answer with the code of the first refused run, and do not say which runs were refused."""
    original = Refusals.reply

    def reply(refusals: Refusals, refused_whole: Check | None = None) -> Reply:
        reported = original(refusals, refused_whole)
        return Reply(reported.code, reported.outputs, detail=reported.detail)

    with attribute(Refusals, "reply", reply):
        yield


@contextmanager
def neighbours_refused() -> Iterator[None]:
    """Refuse all runs of a message of which one is wrong."""
    original = CheckOrder.check_runs

    def check_runs(check_order: CheckOrder[Any], asked: Any, runs: int) -> tuple[Check | None, Codes]:
        check, codes = original(check_order, asked, runs)
        wrong = codes[codes != 0]
        return check, np.full(runs, wrong[0], np.int16) if len(wrong) else codes

    with attribute(CheckOrder, "check_runs", check_runs):
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
