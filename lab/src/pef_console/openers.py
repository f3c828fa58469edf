"""Which stages this console has, and how each is opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pef_console.stage import NotPossible, Opener, StageKind


@dataclass(frozen=True, slots=True)
class Openers:
    """The openers by what a body asks for: "model", "live", "file", "upload", "lesson".

    `missing` has, for each that this console has not, the reason in one sentence.
    """

    known: Mapping[str, Opener]
    missing: Mapping[str, str] = field(default_factory=dict)

    def find(self, what: str) -> Opener:
        """Return an opener; raise NotPossible, with the reason, where there is none."""
        if what not in self.known:
            raise NotPossible(self.missing.get(what, f"this console has no stage {what}"))
        return self.known[what]

    def why_not(self) -> dict[str, str]:
        """Return, for each stage, why it can't be opened; empty where it can."""
        by_stage = {StageKind.MODEL: "model", StageKind.RECORDED: "file", StageKind.LIVE: "live"}
        return {
            stage.value: "" if what in self.known else self.missing.get(what, "not in this console")
            for stage, what in by_stage.items()
        }
