"""A scripted Ultravisor.

It keeps what a simple Ultravisor would: slots, and of each GFN whether it is secure, paged out or shared,
with its bytes. An ultracall is answered as its script says, else honestly. "Encryption" turns every bit over.

    world.uv.answers("UV_PAGE_IN", refuse(UCode.U_P2), silent())     the next two of that name

Every reply, of either side, is held against the codes that its call may answer with.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from pef_kit.core.effects import PeerCall, PeerFailure
from pef_kit.runtime.bus import NormalMemory
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import Code, UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import CodedRuns, PlacedRuns

Answer: TypeAlias = "Callable[[ScriptedUltravisor, PeerCall], Reply]"

TURN_OVER: Final = bytes(255 - byte for byte in range(256))
ZERO_PAGE: Final = bytes(PAGE_SIZE)


def honest(uv: "ScriptedUltravisor", ask: PeerCall) -> Reply:
    """Answer as an Ultravisor does that keeps to the protocol."""
    return uv.honest(ask)


def refuse(code: Code) -> Answer:
    """Answer with `code` and do nothing."""
    return lambda uv, ask: Reply(code)


def refuse_gfns(code: UCode, *gfns: int) -> Answer:
    """Refuse some GFNs with `code`, and do nothing for them; the rest is done honestly."""

    def answer(uv: "ScriptedUltravisor", ask: PeerCall) -> Reply:
        uv.honest(ask, passed_over=set(gfns))
        return Reply(code, refused=CodedRuns.of(*((gfn << PAGE_ORDER, 1, code) for gfn in gfns)))

    return answer


def silent() -> Answer:
    """Let the outcome of the call be one that can't be had."""

    def no_answer(uv: "ScriptedUltravisor", ask: PeerCall) -> Reply:
        raise PeerFailure(ask.name, "ultravisor", "no connection")

    return no_answer


def turned_away() -> Answer:
    """Refuse the call as a message: it is not done, and never will be."""

    def refused(uv: "ScriptedUltravisor", ask: PeerCall) -> Reply:
        raise PeerFailure(ask.name, "ultravisor", "turned away", done=False)

    return refused


def first(action: Callable[[], object], next_state: Answer = honest) -> Answer:
    """Do something, then answer."""

    def answer(uv: "ScriptedUltravisor", ask: PeerCall) -> Reply:
        action()
        return next_state(uv, ask)

    return answer


def first_done(next_state: Answer = honest) -> Answer:
    """Do what is asked for, then answer anew: a doubled message, or one whose answer is lost."""

    def answer(uv: "ScriptedUltravisor", ask: PeerCall) -> Reply:
        uv.honest(ask)
        return next_state(uv, ask)

    return answer


@dataclass(slots=True)
class ScriptedUltravisor:
    """What the Ultravisor keeps of its one VM, and its script."""

    memory: NormalMemory
    known: bool = False
    slots: dict[int, tuple[int, int]] = field(default_factory=dict)
    pages: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    """S with its bytes, P with its bytes, H."""
    sharing: bool = False
    """UV_PAGE_IN is what a share asked for."""
    aborted: bool = False
    """UV_PAGE_OUT gives clear text, and the page stays where it is."""
    asked: list[PeerCall] = field(default_factory=list)
    script: defaultdict[str, deque[Answer]] = field(default_factory=lambda: defaultdict(deque))

    def answers(self, name: str, *answers: Answer) -> None:
        """Answer the next ultracalls of that name so; honestly after them."""
        self.script[name].extend(answers)

    @property
    def names(self) -> list[str]:
        """Return the names of the ultracalls that were made."""
        return [ask.name for ask in self.asked]

    def answer(self, ask: PeerCall) -> Reply:
        """Answer an ultracall, and check that the answer is one that it may have."""
        self.asked.append(ask)
        queue = self.script[ask.name]
        reply = (queue.popleft() if queue else honest)(self, ask)
        assert reply.code in CALLS[ask.name].codes, f"{ask.name} never answers {reply.code!r}"
        known = {int(code) for code in CALLS[ask.name].codes}
        assert {code for _, _, code in reply.refused.coded()} <= known
        return reply

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
