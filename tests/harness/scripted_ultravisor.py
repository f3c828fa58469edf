"""A scripted Ultravisor.

It keeps what a simple Ultravisor would: slots, and of each GFN whether it is secure, paged out or shared,
with its bytes. An ultracall is answered as its script says, else honestly. "Encryption" turns every bit over.

    world.uv.answers("UV_PAGE_IN", refuse(UCode.U_P2), silent())     the next two of that name

Every reply, of either side, is held against the codes that its call may answer with.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from harness.scripted_peer import AnswerOf, ScriptedPeer
from pef_kit.core.effects import PeerCall
from pef_kit.runtime.bus import NormalMemory
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import CodedRuns, PlacedRuns

Answer: TypeAlias = AnswerOf["ScriptedUltravisor"]

TURN_OVER: Final = bytes(255 - byte for byte in range(256))
ZERO_PAGE: Final = bytes(PAGE_SIZE)


def refuse_gfns(code: UCode, *gfns: int) -> Answer:
    """Refuse some GFNs with `code`, and do nothing for them; the rest is done honestly."""

    def answer(uv: "ScriptedUltravisor", ask: PeerCall) -> Reply:
        uv.honest(ask, passed_over=set(gfns))
        return Reply(code, refused=CodedRuns.of(*((gfn << PAGE_ORDER, 1, code) for gfn in gfns)))

    return answer


class ScriptedUltravisor(ScriptedPeer):
    """What the Ultravisor keeps of its one VM, and its script.

    `pages` has for each GFN a letter and bytes: S (secure), P (paged out), H (shared; no bytes).
    """

    def __init__(self, memory: NormalMemory) -> None:
        super().__init__()
        self.memory = memory
        self.known = False
        self.slots: dict[int, tuple[int, int]] = {}
        self.pages: dict[int, tuple[str, bytes]] = {}
        self.sharing = False
        """UV_PAGE_IN is what a share asked for."""
        self.aborted = False
        """UV_PAGE_OUT gives clear text, and the page stays where it is."""

    def honest(self, ask: PeerCall, passed_over: set[int] | None = None) -> Reply:
        """Do what an ultracall asks for."""
        request: Any = ask.request
        refused: list[tuple[int, int, int]] = []
        match ask.name:
            case "UV_REGISTER_MEM_SLOT":
                self.known = True
                self.slots[request.slotid] = request.start_gpa, request.size
            case "UV_UNREGISTER_MEM_SLOT":
                if self.slots.pop(request.slotid, None) is None:
                    return Reply(UCode.U_P2)
            case "UV_SVM_TERMINATE":
                if not self.known:
                    return Reply(UCode.U_INVALID)
                self.known = self.aborted = False
                self.slots.clear()
                self.pages.clear()
            case "UV_PAGE_IN" | "UV_PAGE_OUT":
                for gfn, ra in placed(request.runs):
                    if gfn not in (passed_over or ()):
                        self.move(ask.name, gfn, ra, refused)
            case "UV_PAGE_INVAL":
                gfns = [gfn for run in rows(ask) for gfn in range(run[0], sum(run))]
                private = [gfn for gfn in gfns if self.pages.get(gfn, ("S", b""))[0] != "H"]
                refused = [(gfn << PAGE_ORDER, 1, UCode.U_P2) for gfn in private]
        return Reply(UCode(refused[0][2]) if refused else UCode.U_SUCCESS, refused=CodedRuns.of(*refused))

    def move(self, name: str, gfn: int, ra: int, refused: list[tuple[int, int, int]]) -> None:
        """Move one page in or out."""
        letter, content = self.pages.get(gfn, ("S", ZERO_PAGE))
        if name == "UV_PAGE_IN":
            offered = bytes(self.memory.at(ra, PAGE_SIZE))
            if self.sharing or letter == "H":
                self.pages[gfn] = "H", b""
            elif letter == "P" and offered != content.translate(TURN_OVER):
                refused.append((gfn << PAGE_ORDER, 1, UCode.U_P3))
            else:
                self.pages[gfn] = "S", content if letter == "P" else offered
        elif letter == "P":
            refused.append((gfn << PAGE_ORDER, 1, UCode.U_PARAMETER))
        elif letter == "S":
            self.pages[gfn] = "S" if self.aborted else "P", content
            self.memory.at(ra, PAGE_SIZE)[:] = content if self.aborted else content.translate(TURN_OVER)


def placed(runs: PlacedRuns) -> Iterator[tuple[int, int]]:
    """Yield (GFN, real address) of every page of placed runs."""
    for ra, gpa, count in runs:
        for page in range(count):
            yield (gpa >> PAGE_ORDER) + page, ra + page * PAGE_SIZE


def rows(ask: PeerCall) -> list[tuple[int, int]]:
    """Return the runs of a paging ultracall as (GFN, pages)."""
    request: Any = ask.request
    return [(row[-2] >> PAGE_ORDER, row[-1]) for row in request.runs]
