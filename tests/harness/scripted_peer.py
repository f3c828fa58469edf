"""The script of a peer that a test plays in process: which calls it does not answer honestly, and how.

    hv.answers("H_SVM_PAGE_IN", busy(), refuse(HCode.H_PARAMETER))     the next two calls of that name
    hv.at(3, silent())                                                 the third call of all

An answer is a function of the peer and the call, an action one of the peer: `first` and `afterwards` put it
before or after an answer. Every reply is held against the codes that its call may answer with.
"""

from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Self, TypeAlias, TypeVar

from pef_kit.core.effects import PeerCall, PeerFailure
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import Code

P = TypeVar("P", bound="ScriptedPeer")

AnswerOf: TypeAlias = Callable[[P, PeerCall], Reply]
ActionOf: TypeAlias = Callable[[P], object]


class ScriptedPeer(ABC):
    """A peer that answers as its script says, and honestly where the script says nothing."""

    def __init__(self) -> None:
        self.asked: list[PeerCall] = []
        self.script: defaultdict[str, deque[AnswerOf[Self]]] = defaultdict(deque)
        self._at: dict[int, AnswerOf[Self]] = {}

    @abstractmethod
    def honest(self, ask: PeerCall) -> Reply:
        """Answer as a peer does that keeps to the protocol."""

    @property
    def names(self) -> list[str]:
        """Return the names of the calls that were made to this peer, in order."""
        return [ask.name for ask in self.asked]

    def answers(self, name: str, *answers: AnswerOf[Self]) -> None:
        """Answer the next calls of that name so; honestly after them."""
        self.script[name].extend(answers)

    def at(self, number: int, answer: AnswerOf[Self]) -> None:
        """Answer call `number` of all, from 1, so."""
        self._at[number] = answer

    def answer(self: P, ask: PeerCall) -> Reply:
        """Answer a call as the script says; raise PeerFailure where it says that no answer comes."""
        self.asked.append(ask)
        queue = self.script[ask.name]
        scripted = self._at.pop(len(self.asked), None) or (queue.popleft() if queue else None)
        return checked(ask.name, scripted(self, ask) if scripted else self.honest(ask))


def checked(name: str, reply: Reply) -> Reply:
    """Return the reply of a call, whose codes must be those that the call may answer with."""
    codes = CALLS[name].codes
    assert reply.code in codes, f"{name} never answers {reply.code!r}"
    assert {code for _, _, code in reply.refused.coded()} <= {int(code) for code in codes}
    return reply


def honest(peer: ScriptedPeer, ask: PeerCall) -> Reply:
    """Answer as a peer does that keeps to the protocol."""
    return peer.honest(ask)


def refuse(code: Code) -> AnswerOf[ScriptedPeer]:
    """Answer with `code` and do nothing."""
    return lambda peer, ask: Reply(code)


def pretend(**outputs: int | str) -> AnswerOf[ScriptedPeer]:
    """Answer that the call succeeded, and do nothing."""
    return lambda peer, ask: Reply(CALLS[ask.name].success, outputs)


def silent() -> AnswerOf[ScriptedPeer]:
    """Give no answer: nobody can say what was done."""

    def no_answer(peer: ScriptedPeer, ask: PeerCall) -> Reply:
        raise PeerFailure(ask.name, answerer(ask), "no answer")

    return no_answer


def turned_away() -> AnswerOf[ScriptedPeer]:
    """Refuse the call as a message: it is not done, and never will be."""

    def refused(peer: ScriptedPeer, ask: PeerCall) -> Reply:
        raise PeerFailure(ask.name, answerer(ask), "turned away", done=False)

    return refused


def first(action: ActionOf[P], answer: AnswerOf[P] = honest) -> AnswerOf[P]:
    """Do something, then answer."""

    def action_first(peer: P, ask: PeerCall) -> Reply:
        action(peer)
        return answer(peer, ask)

    return action_first


def afterwards(action: ActionOf[P], answer: AnswerOf[P] = honest) -> AnswerOf[P]:
    """Answer, but do something before the answer arrives."""

    def action_last(peer: P, ask: PeerCall) -> Reply:
        reply = answer(peer, ask)
        action(peer)
        return reply

    return action_last


def first_done(answer: AnswerOf[P] = honest) -> AnswerOf[P]:
    """Do what is asked for, then answer anew: a doubled message, or one whose answer is lost."""

    def done(peer: P, ask: PeerCall) -> Reply:
        peer.honest(ask)
        return answer(peer, ask)

    return done


def answerer(ask: PeerCall) -> str:
    """Return the name of the side that answers a call."""
    return "ultravisor" if CALLS[ask.name].is_ultracall else "hypervisor"
