"""What a row of a pair tells: step by step what was expected and what guest, host and observer saw."""

from dataclasses import dataclass, field
from typing import Final

from pef_lab.rows.hypervisor.outside import Outside
from pef_lab.rows.hypervisor.secure_vm import FREE, Guest
from pef_lab.rows.hypervisor.vms import page_of
from pef_lab.rows.pair.joint_view import AGREE, Joint, can_be_seen, in_design, joint_of, tables_of
from pef_lab.rows.playing.pages import BLANK
from pef_lab.rows.row import Finding
from pef_lab.rows.subject import Evidence
from pef_protocol.designs import Design

ZERO, OPAQUE, REFUSED = "zero", "opaque", "refused"
KNOWN: Final = {"as the host wrote it": b"", "the guest's": b"guest", "a shared page": b"shared"}
HOSTS, GUESTS, SHARED = KNOWN


def text_of(lpid: int, gfn: int, kind: str) -> bytes:
    """Return a page of a kind of text: the host's, the guest's own, what the guest shares."""
    page = page_of(lpid, gfn)
    mark = KNOWN[kind]
    return mark + page[len(mark) :]


@dataclass
class Story:
    """A VM of a pair, and what was seen of it so far."""

    outside: Outside
    guest: Guest
    design: Design
    expected: list[str] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)
    number: int = FREE
    """The next GFN that the guest may use."""

    @property
    def lpid(self) -> int:
        """Return the VM's lpid."""
        return self.guest.lpid

    def fresh(self) -> int:
        """Return a GFN that nobody used yet."""
        self.number += 2
        return self.number

    def see(self, what: str, expected: str, observed: str) -> None:
        """Note a step."""
        self.expected.append(f"{what}: {expected}")
        self.observed.append(f"{what}: {observed}")

    def kind(self, gfn: int, content: bytes | str | None) -> str:
        """Name what somebody read of a page."""
        if content is None or isinstance(content, str):
            return content or REFUSED
        texts = {text_of(self.lpid, gfn, kind): kind for kind in KNOWN}
        return ZERO if content == BLANK else texts.get(content, OPAQUE)

    async def guest_reads(self, gfn: int, expected: str) -> None:
        """Have the secure guest load a page."""
        self.see(f"guest reads {gfn:#x}", expected, self.kind(gfn, await self.guest.load(gfn)))

    async def host_reads(self, gfn: int, expected: str) -> None:
        """Have the host read a page."""
        seen = self.kind(gfn, await self.outside.read(self.lpid, gfn))
        self.see(f"host reads {gfn:#x}", expected, seen)

    async def normal_guest_reads(self, gfn: int, expected: str) -> None:
        """Have the guest, as a normal one, load a page."""
        seen = self.kind(gfn, await self.outside.load(self.lpid, gfn))
        self.see(f"normal guest reads {gfn:#x}", expected, seen)

    async def guest_writes(self, gfn: int, kind: str = GUESTS) -> None:
        """Have the secure guest write a page."""
        done = await self.guest.store(gfn, text_of(self.lpid, gfn, kind))
        self.see(f"guest writes {gfn:#x}", "resolved", done)

    async def tables(self, joint: Joint | None = None, gfn: int = 0) -> None:
        """Compare both tables, where they can be seen; and what they say of one GFN."""
        stage = self.outside.stage
        if not can_be_seen(stage):
            return
        self.see("tables", AGREE, await tables_of(stage, self.lpid, self.design))
        if joint is not None:
            said = await joint_of(stage, self.lpid, gfn)
            self.see(f"tables on {gfn:#x}", in_design(joint, self.design), said)

    def finding(self) -> Finding:
        """Return what the row found; without an observer's token it is told by bytes and codes alone."""
        seen = can_be_seen(self.outside.stage)
        told = [f"{one}" for one, other in zip(self.observed, self.expected, strict=True) if one != other]
        good = self.observed == self.expected
        evidence = None if seen else Evidence.INFERRED
        return Finding("; ".join(self.expected), "as expected" if good else "; ".join(told), good, evidence)
