"""A family of mutants, one per call: a refused call answers with the right code, and changes something.

The Ultravisor uses up an IV of the SVM, or, where there is none, writes an entry of the partition table. The
Hypervisor counts a device page as held.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pef_hypervisor.state import Store
from pef_kit.core.effects import Operation
from pef_mutants.checks import HANDLERS, path_of, side_of
from pef_mutants.exchange import everywhere
from pef_mutants.mutant import GeneratedMutant
from pef_protocol.calls import CALLS, Call, Reply
from pef_protocol.check_orders import Check
from pef_protocol.http import Caller
from pef_protocol.quantities import Lpid
from pef_ultravisor.state import Ultravisor


def change(side: Ultravisor | Store, caller: Caller, asked: object) -> None:
    """Change something of a side that it must not forget."""
    if isinstance(side, Store):
        side.pool.take(1)
        return
    named = getattr(asked, "lpid", caller.lpid)
    svm = side.svm(named) or next(iter(side.svms.values()), None)
    if svm is not None:
        svm.sealer.take_ivs(1)
    else:
        dw0, dw1 = side.pates.get(Lpid(1), (0, 0))
        side.pates[Lpid(1)] = dw0 ^ 1, dw1


@contextmanager
def meddling(call: Call) -> Iterator[None]:
    """Have `call` change something whenever it is refused."""
    original = HANDLERS[call.name]

    def handler(side: Any, caller: Caller, asked: Any) -> Operation[Reply]:
        reply: Reply = yield from original(side, caller, asked)
        if not reply.code.succeeded:
            change(side, caller, asked)
        return reply

    with everywhere(original, handler):
        yield


def _ends(call: Call) -> tuple[Check, ...]:
    """Return the first and the last check of a call: rows of those between them look no other way."""
    return call.check_order[0], call.check_order[-1]


def _generated(call: Call) -> GeneratedMutant:
    return GeneratedMutant(
        f"changes/{call.name}",
        side_of(call),
        f"{call.name} changes something although it is refused",
        lambda: meddling(call),
        ids=tuple(f"{path_of(call)}/{check.name}{way}" for check in _ends(call) for way in ("", ":*")),
    )


MEDDLING: Final = tuple(_generated(call) for call in CALLS.values())
