"""A counterexample as a file: a small system, the steps that break an invariant, and what was seen.

    {"format": "pef-counterexample/2", "title", "design", "mutant", "invariant", "sentence", "found_by",
     "system": {"image": ["brought", "unmigrated"], "plug": 1, "vcpus": 1},
     "steps": [{"actor": "guest 0", "action": "UV_ESM", "gfn": null, "fault": null,
                "leads_to": "asks H_SVM_…"}, …],
     "violated_after": 17, "tables": {"0": ["NORMAL", "SECURE"], …},
     "observations": {"0": {"guest": "zero", "host": "other"}, …}}

A step starts an action, which then runs to the first thing it needs from outside, or lets an actor `go on`:
what its innermost operation needed is performed. `leads_to` says what it stops at next. The invariant is
broken after `violated_after` steps: `tables` has the states of each GFN at that moment, the Hypervisor's and
the Ultravisor's. `observations` is what guest and host read of each GFN after the last step, each alone.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from pef_lab.failures import WrongInput
from pef_lab.known_designs import known_name
from pef_protocol.calls import CALLS
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import DesignName
from pef_protocol.states import HvGfnState, UvGfnState

FAMILY: Final = "pef-counterexample/"
FORMAT: Final = FAMILY + "2"
GO_ON: Final = "go on"
NOTHING: Final = "nothing"
"""Stands for the state of a GFN of which a side has none, and for an answer that does not come."""
WAITS, WORKS, MOVES, ENDS = "waits", "works", "moves pages", "ends "
UNSEEN: Final = frozenset({WAITS, WORKS})
"""Stops that are inside a service: nothing of them is seen from outside."""
BAD_IMAGE: Final = "UV_ESM with a bad image"

Actor: TypeAlias = Literal["guest 0", "guest 1", "vmm", "memory"]
Fault: TypeAlias = Literal["refused", "busy", "doubled", "lost"]
Role: TypeAlias = Literal["brought", "shared", "unmigrated"]
Word: TypeAlias = Literal["as written", "zero", "other", "refused"]
ActionName: TypeAlias = Literal[
    "go on",
    "load",
    "store",
    "share",
    "unshare",
    "unshare all",
    "share two",
    "unshare two",
    "UV_ESM",
    "UV_ESM with a bad image",
    "reboot",
    "host read",
    "host write",
    "keep ciphertext",
    "write kept ciphertext",
    "hot-add",
    "hot-remove",
    "reset",
    "page out",
    "unmap",
]

TWO_GFNS: Final = frozenset({"share two", "unshare two"})
OF_CIPHERTEXT: Final = frozenset({"keep ciphertext", "write kept ciphertext"})
AT_ONE_GFN: Final = (
    frozenset({"load", "store", "share", "unshare", "host read", "host write", "page out", "unmap"})
    | OF_CIPHERTEXT
)
AT_A_GFN: Final = AT_ONE_GFN | TWO_GFNS
_GUEST: Final = (
    frozenset({"load", "store", "share", "unshare", "unshare all", "UV_ESM", BAD_IMAGE, "reboot"}) | TWO_GFNS
)
ACTIONS: Final[Mapping[str, frozenset[str]]] = {
    "guest 0": _GUEST,
    "guest 1": _GUEST,
    "vmm": frozenset({"host read", "host write", "hot-add", "hot-remove", "reset"}) | OF_CIPHERTEXT,
    "memory": frozenset({"page out", "unmap"}),
}
BETWEEN_PHASES: Final = "suspended"
"""What a step leads to after which a UV_ESM waits for its next phase; over HTTP none does."""
_STOP: Final = re.compile(
    r"asks (?P<call>\S+)|answers (?P<code>\S+)|moves pages|works|waits|suspended|ends \S.*"
)
_CODES: Final = frozenset({*UCode.__members__, *HCode.__members__, NOTHING})


def _a_stop(leads_to: str) -> str:
    found = _STOP.fullmatch(leads_to)
    if not found:
        message = f"{leads_to!r} is nothing that an operation stops at"
        raise ValueError(message)
    if found["call"] and found["call"] not in CALLS:
        message = f"there is no call {found['call']}"
        raise ValueError(message)
    if found["code"] and found["code"] not in _CODES:
        message = f"there is no code {found['code']}"
        raise ValueError(message)
    return leads_to


class Part(BaseModel):
    """A part of the file: nothing in it is guessed or left out."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ScheduleStep(Part):
    """One step of the schedule, and what it led to."""

    actor: Actor
    action: ActionName
    gfn: Annotated[int, Field(ge=0)] | None = None
    fault: Fault | None = None
    leads_to: Annotated[str, AfterValidator(_a_stop)]

    @property
    def starts(self) -> bool:
        """Tell whether the step starts an action."""
        return self.action != GO_ON

    @property
    def ends(self) -> bool:
        """Tell whether the action has ended with this step."""
        return self.leads_to.startswith(ENDS)

    def __str__(self) -> str:
        where = "" if self.gfn is None else f" {self.gfn}"
        fault = f" ({self.fault})" if self.fault else ""
        return f"{self.actor}: {self.action}{where}{fault}"


class System(Part):
    """The system that was explored: the roles of slot 0's GFNs, GFNs of the slot to be plugged, vCPUs.

    `measured_plug`: UV_ESM asks for the GFNs of the slot to be plugged, too.
    """

    image: Annotated[tuple[Role, ...], Field(min_length=1, max_length=8)]
    plug: Annotated[int, Field(ge=0, le=8)]
    vcpus: Annotated[int, Field(ge=1, le=2)]
    measured_plug: bool = False

    @property
    def gfns(self) -> range:
        """Return all GFNs, those of the slot to be plugged last."""
        return range(len(self.image) + self.plug)


class FoundBy(BaseModel):
    """Which command found it, at which commit; and whatever else that command tells."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    command: str
    commit: str


class GfnReads(Part):
    """What a guest load and a host read of one GFN gave."""

    guest: Word
    host: Word


Known = Annotated[DesignName, PlainValidator(known_name)]
Gfn = Annotated[str, Field(pattern="^(0|[1-9][0-9]?)$")]
HvState = Annotated[str, Field(pattern=f"^({'|'.join(HvGfnState.__members__)}|{NOTHING})$")]
UvState = Annotated[str, Field(pattern=f"^({'|'.join(UvGfnState.__members__)}|{NOTHING})$")]


class Counterexample(Part):
    """A schedule that breaks an invariant."""

    format: Literal["pef-counterexample/2"]
    title: str
    design: Known
    mutant: str | None
    invariant: str
    sentence: str
    found_by: FoundBy
    system: System
    steps: Annotated[tuple[ScheduleStep, ...], Field(min_length=1)]
    violated_after: Annotated[int, Field(ge=0)]
    tables: dict[Gfn, tuple[HvState, UvState]]
    observations: dict[Gfn, GfnReads]

    @model_validator(mode="after")
    def _is_a_schedule(self) -> Self:
        """Check that every step can come where it stands."""
        if self.violated_after > len(self.steps):
            message = f"violated_after: there are only {len(self.steps)} steps"
            raise ValueError(message)
        for where, gfns in (("tables", self.tables), ("observations", self.observations)):
            if strange := [gfn for gfn in gfns if int(gfn) not in self.system.gfns]:
                message = f"{where}: the system has no GFN {strange[0]}"
                raise ValueError(message)
        stops: dict[str, str] = {}
        for number, step in enumerate(self.steps, start=1):
            if fault := _misplaced(step, stops.get(step.actor), self.system):
                message = f"step {number}: {fault}"
                raise ValueError(message)
            stops[step.actor] = step.leads_to
        return self


def _misplaced(step: ScheduleStep, stop: str | None, system: System) -> str:
    """Say why a step can't come where its actor stopped at `stop`; empty where it can."""
    at_rest = stop is None or stop.startswith(ENDS)
    if step.actor == "guest 1" and system.vcpus == 1:
        return "there is no guest 1"
    if step.starts != at_rest:
        return f"{step.actor} has nothing to go on with" if at_rest else f"{step.actor} is still at work"
    if step.starts and step.action not in ACTIONS[step.actor]:
        return f"{step.actor} can't {step.action}"
    if (step.gfn is not None) != (step.action in AT_A_GFN):
        return f"{step.action}: it names {'no' if step.gfn is None else 'a'} GFN"
    last = step.gfn if step.gfn is None or step.action not in TWO_GFNS else step.gfn + 1
    if last is not None and last not in system.gfns:
        return f"the system has no GFN {last}"
    if step.fault and not (stop or "").startswith("asks "):
        return f"{step.fault}: no request is on its way"
    return ""


def is_counterexample(path: Path) -> bool:
    """Tell whether a file says of itself that it is a counterexample, of whatever version."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and str(found.get("format", "")).startswith(FAMILY)


def read(path: Path) -> Counterexample:
    """Read a counterexample; raise WrongInput, with the place and the reason, where it can't be followed."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as failure:
        raise WrongInput(f"{path}: {failure.strerror}") from None
    except UnicodeDecodeError:
        raise WrongInput(f"{path}: not a JSON file") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Counterexample:
    """Return the counterexample that a text is; raise WrongInput as `read` does."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise WrongInput(f"{name}: not a JSON file") from None
    version = str(found.get("format", "")) if isinstance(found, dict) else ""
    if not version.startswith(FAMILY):
        raise WrongInput(f"{name}: not a counterexample: its format is not {FORMAT}")
    if version != FORMAT:
        raise WrongInput(f"{name}: of another version: {version!r:.60}, where {FORMAT} is read here")
    try:
        return Counterexample.model_validate_json(text)
    except ValidationError as refusal:
        first = refusal.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        why = " ".join(first["msg"].removeprefix("Value error, ").split())
        raise WrongInput(f"{name}: {where + ': ' if where else ''}{why}") from None
