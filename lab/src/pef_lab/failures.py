"""What may go wrong for an actor: the person, the protocol, or the connection.

| exception | who is at fault |
|---|---|
| `WrongInput` | the one who typed the command: one line, exit 2 |
| `OperatorFault` | the machine, or its operator: a full disk, no memory, a service that does not start |
| `Refusal` | nobody: a side answered that it will not, by a code of the protocol or of the VMM's door |
| `Unanswered` | a service that is down, too slow, or gives an answer that is not of the protocol |
| `Unreached` | the same, where nothing answers by HTTP at all |
"""


class WrongInput(ValueError):
    """A command line or a file that can't be followed; its text says what to write instead."""


class OperatorFault(Exception):
    """What the command was not about went wrong: on this machine, or in how services were set up."""


class Refusal(Exception):
    """A side refused what an actor asked: what it was, the code or reason, and the side's own words."""

    def __init__(self, what: str, code: str, detail: str = "") -> None:
        super().__init__(f"{what}: {code}" + (f" ({detail})" if detail else ""))
        self.what = what
        self.code = code
        self.detail = detail


class Unanswered(OperatorFault):
    """A request without an answer of the protocol: what it was and why."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.reason = reason


class Unreached(Unanswered):
    """A request without an answer of HTTP: nobody listens, the connection breaks, or it takes too long."""
