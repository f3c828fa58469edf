"""Why a session did not do what was asked. Nothing has changed then."""


class NotPossible(Exception):
    """A move that can't be made, or a node that is not there; the message is one sentence."""


class SessionFull(Exception):
    """The session has as many moves as it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The session is full: it has {limit} moves.")
