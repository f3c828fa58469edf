"""All options of all commands, each once: one name, one type and one help for one meaning.

Nothing is imported here that takes long: the help of a command must not wait for what the command does.
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.numbers import number, range_of

LAST_PORT: Final = 65535


def _number(name: str, meaning: str, least: int, most: int | None = None, metavar: str = "N") -> Any:
    reported = f"{meaning} ({range_of(least, most)})."
    return typer.Option(name, metavar=metavar, parser=number(least, most), help=reported)


def _port(name: str, meaning: str, least: int = 1) -> Any:
    return _number(name, meaning, least, LAST_PORT, "PORT")


def _file(name: str, meaning: str, metavar: str = "FILE") -> Any:
    return typer.Option(name, metavar=metavar, help=meaning)


UltravisorUrl = Annotated[
    str | None,
    typer.Option(
        "--ultravisor-url",
        metavar="URL",
        help="A running Ultravisor; its tokens come from the environment.",
    ),
]
HypervisorUrl = Annotated[
    str | None, typer.Option("--hypervisor-url", metavar="URL", help="A running Hypervisor.")
]
UltravisorPort = Annotated[int, _port("--ultravisor-port", "Port of the Ultravisor; 0: any", 0)]
HypervisorPort = Annotated[int, _port("--hypervisor-port", "Port of the Hypervisor; 0: any", 0)]
ConsolePort = Annotated[int, _port("--port", "Port of the console; 0: any", 0)]
Published = Annotated[
    str | None,
    typer.Option(
        "--published", metavar="HOST:PORT", help="How browsers reach it, where that is another address."
    ),
]
ReadOnly = Annotated[
    bool, typer.Option("--read-only", help="Print a second URL, for those who may watch and never move.")
]
Opened = Annotated[Path | None, _file("--open", "Open this file at the start.")]
Files = Annotated[
    Path | None, _file("--files", "Offer the files of this directory, and of those in it.", "DIR")
]
BetweenUltravisor = Annotated[
    int | None, _port("--between-ultravisor", "Where that Hypervisor calls its Ultravisor")
]
BetweenHypervisor = Annotated[
    int | None, _port("--between-hypervisor", "Where that Ultravisor calls its Hypervisor")
]
PeerPort = Annotated[
    int | None, _port("--peer-port", "Test one side alone, which was told to call its peer here")
]
Bind = Annotated[
    str | None,
    typer.Option(
        "--bind", metavar="HOST", help="Address of this machine that is listened on, else 127.0.0.1."
    ),
]
NormalMemory = Annotated[
    NormalMemoryForm,
    typer.Option(
        "--normal-memory",
        help="How the Ultravisor reaches normal memory: a shared mapping, or HTTP to its owner.",
    ),
]
SecureMemory = Annotated[str, typer.Option("--secure-memory", metavar="SIZE", help="Secure memory.")]
ForTests = Annotated[
    bool, typer.Option("--for-tests", help="Write the tokens of the two visors into pair.env, too.")
]
Size = Annotated[str, typer.Option("--size", metavar="SIZE", help="Memory of the VM.")]
Touched = Annotated[str, typer.Option("--touched", metavar="SIZE", help="Memory written before UV_ESM.")]
DesignNames = Annotated[
    list[str] | None,
    typer.Option(
        "--design",
        metavar="NAME",
        help="Run this design; `all` and `readings` name several. May be repeated.",
    ),
]
JsonFile = Annotated[Path | None, _file("--json", "Write the report as JSON.")]
JunitFile = Annotated[Path | None, _file("--junit", "Write the report as JUnit XML.")]
TraceFile = Annotated[Path | None, _file("--trace", "Record every event, for `pef trace`.")]
Keep = Annotated[
    Path | None, _file("--keep", "Keep what shows a failure in this directory, a file each.", "DIR")
]
State = Annotated[Path | None, _file("--state", "Searches are kept there, and gone on with.", "DIR")]
FailureFile = Annotated[Path | None, _file("--file", "Run the file of a failure again, and nothing else.")]
Waivers = Annotated[Path | None, _file("--waive", "Waivers (TOML): id, owner, reason, expires.")]
Ids = Annotated[
    list[str] | None,
    typer.Option("--id", metavar="PATTERN", help="Try only what has such an id; may be repeated."),
]
Listed = Annotated[bool, typer.Option("--list", help="List what there is; try none of it.")]
RequestSeconds = Annotated[
    float, typer.Option("--patience", metavar="SECONDS", help="How long one request may take.")
]
GiveUp = Annotated[
    float,
    typer.Option(
        "--give-up", metavar="SECONDS", help="When that Ultravisor gives a call up (its PEF_GIVE_UP)."
    ),
]
AsMermaid = Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid sequence diagram.")]
ProblemState = Annotated[
    bool, typer.Option("--problem-state", help="For a user program of the VM, not its kernel.")
]
MachineKey = Annotated[
    str | None,
    typer.Option(
        "--machine-key", metavar="HEX", help="The machine's public key; else a running one is asked."
    ),
]
Bootargs = Annotated[str, typer.Option("--bootargs", metavar="TEXT", help="The kernel's command line.")]
Attached = Annotated[
    list[str] | None,
    typer.Option("--attach", metavar="NAME=PATH", help="Attach a file to the ESM blob; may be repeated."),
]
ImageSeed = Annotated[int, _number("--image-seed", "What kernel, initrd and RTAS are made of", 0)]
Slots = Annotated[str, typer.Option("--slots", metavar="N[,M]", help="GFNs of slot 0, and to plug.")]
Section = Annotated[int | None, _number("--section", "Show this section only", 1, 10)]
WithPauses = Annotated[bool, typer.Option("--pause", help="Wait for Enter after each section.")]
Image = Annotated[
    str,
    typer.Option("--image", metavar="PART,...", help="The GFNs of slot 0: brought, shared or unmigrated."),
]
Plug = Annotated[int, _number("--plug", "GFNs of slot 1, which can be plugged in", 0, 8)]
SteppedFile = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="A counterexample, or a session that was saved.")
]
SaveSession = Annotated[Path | None, _file("--save", "Write the session here at the end.")]
Vcpus = Annotated[int, _number("--vcpus", "vCPUs of the guest", 1, 2)]
Calls = Annotated[int, _number("--calls", "Calls begun together", 1, 4)]
Faults = Annotated[int, _number("--faults", "Messages that a peer refuses, or answers busy", 0, 3)]
Wire = Annotated[
    Literal["once", "unreliable"],
    typer.Option("--wire", help="Whether such a fault may also be a message that is lost, or acts twice."),
]
GuestWaits = Annotated[
    bool, typer.Option("--guest-waits", help="The guest uses a slot only once it is plugged in.")
]
LostAnswers = Annotated[
    int, _number("--lost-answers", "Answers that are lost; the call is sent again, in its slot", 0, 3)
]
Late = Annotated[int, _number("--late", "Messages that arrive once more, at any later time", 0, 3)]
Deaths = Annotated[int, _number("--deaths", "Sides that die, and start anew", 0, 2)]
Destroys = Annotated[
    int, _number("--destroys", "VMs that are destroyed; another one has the lpid at once", 0, 2)
]
With = Annotated[
    str,
    typer.Option(
        "--with",
        metavar="NAME[,NAME]",
        help="What actors may do beyond the usual: range (the guest shares or unshares two GFNs by one"
        " ultracall), old-ciphertext (the host keeps an encrypted page, and writes it back when it is not the"
        " newest), measured-plug (UV_ESM asks for the GFNs to plug, too, and their slot may go meanwhile).",
    ),
]
Limit = Annotated[int, _number("--limit", "Transitions of a search; 0: all", 0)]
Minutes = Annotated[
    float, typer.Option("--minutes", min=0, metavar="MINUTES", help="Minutes of a search; 0: all it takes.")
]
Processes = Annotated[int | None, _number("--processes", "Work in so many processes of this machine", 1)]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="ADDRESS", help="Work on the Dask scheduler that runs there."),
]
Student = Annotated[str, typer.Option("--student", metavar="NAME", help="Who does the lesson.")]
HandIn = Annotated[Path | None, _file("--hand-in", "Where the hand-in is written, else lesson-N.json.")]
OfLesson = Annotated[
    str | None,
    typer.Option("--lesson", metavar="N", help="The lesson, for a file that does not name one (1 to 12)."),
]
CsvFile = Annotated[Path | None, _file("--csv", "Write the table as CSV.")]
Seeds = Annotated[int | None, _number("--seeds", "How many seeds to run", 1)]
FirstSeed = Annotated[int, _number("--first", "The first seed", 0)]
Steps = Annotated[int, _number("--steps", "Actions of a seed", 1)]
