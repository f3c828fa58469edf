"""A hypercall that there is not is H_FUNCTION: an error for whoever made it, and for nobody else.

Source: decisions, "unknown hypercall".
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from pef_lab.rows.doors import ULTRAVISOR, Answer, read_answer
from pef_lab.rows.hypervisor.scene import HypervisorScene
from pef_lab.rows.row import Finding, Kind, Row
from pef_lab.rows.sheet import refused
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import Subject
from pef_protocol.codes import HCode
from pef_protocol.http import HYPERCALL_PATH

NAMES: Final = ("H_SVM_TPM_COMM", "H_SVM_NOTHING", "UV_PAGE_IN")
"""One of the real machine that nobody serves here, one of none, one of the other side."""


def rows() -> Iterator[Row]:
    """Yield a row for each call that there is not."""
    for name in NAMES:
        clause = f"{name} is no hypercall: H_FUNCTION, and nothing changes"
        of = frozenset({Subject.HYPERVISOR, Subject.PAIR})
        yield Row(f"hv/unknown/{name}", Kind.CODE, "unknown hypercall", clause, of, _play(name))


def _play(name: str) -> Callable[[Stage], Awaitable[Finding]]:
    async def make(scene: HypervisorScene) -> Answer:
        doors = scene.outside.doors
        response = await doors.ask(ULTRAVISOR, "POST", HYPERCALL_PATH + name, json={})
        return read_answer(f"{name} at the {doors.name}", response)

    async def play(stage: Stage) -> Finding:
        return await refused(stage, HypervisorScene, make, HCode.H_FUNCTION.name)

    return play
