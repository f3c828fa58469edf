"""The twin: the pair as a dict a page, slow and obvious, under an honest Hypervisor and design `tracked`.

It knows no columns, no runs and no generators. Every rule is an `if` on one page. The property machine drives
it and the services alike and compares them whole.
"""

from dataclasses import dataclass, field

ZERO = "zero"
CIPHERTEXT = "ciphertext"


@dataclass
class ReferencePage:
    """One GFN: both sides' states, what its frame and its normal page hold, and whether one is mapped."""

    uv: str = ""
    hv: str = "NORMAL"
    frame: str = ZERO
    normal: str = ZERO
    replaced: bool = False


class Denied(Exception):
    """An access or a call that the pair refuses."""


@dataclass
class ReferenceModel:
    """One VM: `image` GFNs are measured, `bounce` ones shared implicitly, `rtas` ones pseudo-shared."""

    image: frozenset[int]
    bounce: frozenset[int]
    rtas: frozenset[int]
    pages: dict[int, ReferencePage] = field(default_factory=dict)
    secure: bool = False

    def plug(self, gfns: range) -> None:
        """Add memory: secure at once in a secure VM."""
        for gfn in gfns:
            self.pages[gfn] = ReferencePage("SECURE", "SECURE") if self.secure else ReferencePage()

    def unplug(self, gfns: range) -> None:
        """Take memory away."""
        for gfn in gfns:
            del self.pages[gfn]

    def esm(self) -> None:
        """Make the VM secure: the image stays, everything else is zero."""
        if self.secure:
            return
        for gfn, page in self.pages.items():
            if gfn in self.bounce:
                page.uv, page.hv, page.frame, page.normal = "SHARED_IMPLICIT", "SHARED", ZERO, ZERO
                page.replaced = False
            elif gfn in self.rtas:
                page.uv, page.hv, page.frame, page.normal = "PSEUDO_SHARED", "SHARED", page.normal, ZERO
                page.replaced = True
            else:
                page.uv, page.hv = "SECURE", "SECURE"
                page.frame = page.normal if gfn in self.image else ZERO
                page.normal = ZERO
                page.replaced = False
        self.secure = True

    def load(self, gfn: int) -> str:
        """Return what the guest reads."""
        page = self._accessible(gfn)
        return page.normal if not self.secure or page.uv == "SHARED" else page.frame

    def store(self, gfn: int, text: str) -> None:
        """Write as the guest."""
        page = self._accessible(gfn)
        if not self.secure or page.uv == "SHARED":
            page.normal = text
        else:
            page.frame = text

    def _accessible(self, gfn: int) -> ReferencePage:
        page = self.pages.get(gfn)
        if page is None or page.uv.startswith("SHARED_IMPLICIT"):
            raise Denied
        if self.secure:
            self._bring_all_back([page])
        return page

    def _bring_all_back(self, pages: list[ReferencePage]) -> None:
        """Bring each genuine page back that is out; deny where one is spoiled. Then map what was unmapped."""
        out = [page for page in pages if page.uv == "PAGEDOUT"]
        for page in out:
            if page.normal == CIPHERTEXT:
                page.uv, page.hv, page.normal, page.replaced = "SECURE", "SECURE", ZERO, False
        if any(page.uv == "PAGEDOUT" for page in out):
            raise Denied
        for page in pages:
            if page.uv == "SHARED_INV":
                page.uv = "SHARED"

    def share(self, gfns: range) -> None:
        """Share pages: zero at the change of owner, zero again if they were shared already."""
        self._need(gfns)
        self._bring_all_back([self.pages[gfn] for gfn in gfns])
        for gfn in gfns:
            page = self.pages[gfn]
            if page.uv in {"SECURE", "SHARED"}:
                page.replaced |= page.uv == "SECURE"
                page.uv, page.hv, page.frame, page.normal = "SHARED", "SHARED", ZERO, ZERO

    def unshare(self, gfns: range) -> None:
        """Take pages back: zero, whether they were shared or secure."""
        self._need(gfns)
        if any(gfn in self.bounce | self.rtas for gfn in gfns):
            raise Denied
        self._bring_all_back([self.pages[gfn] for gfn in gfns if self.pages[gfn].uv == "PAGEDOUT"])
        for gfn in gfns:
            self.pages[gfn] = ReferencePage("SECURE", "SECURE")

    def unshare_all(self) -> None:
        """Take back every page that the SVM shared itself."""
        for gfn, page in self.pages.items():
            if page.uv in {"SHARED", "SHARED_INV"}:
                self.pages[gfn] = ReferencePage("SECURE", "SECURE")

    def _need(self, gfns: range) -> None:
        if not self.secure or any(gfn not in self.pages for gfn in gfns):
            raise Denied

    def host_read(self, gfn: int) -> str:
        """Return what the host reads: a secure page comes out encrypted."""
        page = self._out(gfn)
        return page.normal

    def host_write(self, gfn: int, text: str) -> None:
        """Write as the host; on a paged-out page that spoils the ciphertext."""
        self._out(gfn).normal = text

    def _out(self, gfn: int) -> ReferencePage:
        if gfn not in self.pages:
            raise Denied
        page = self.pages[gfn]
        if page.hv == "SECURE":
            page.uv, page.hv, page.normal = "PAGEDOUT", "PAGED_OUT", CIPHERTEXT
            page.replaced = True
        return page

    def unmap(self, gfns: range) -> None:
        """Unmap shared pages on the host; their bytes stay."""
        if any(gfn not in self.pages for gfn in gfns):
            raise Denied
        withdrawn = {
            "SHARED": "SHARED_INV",
            "SHARED_IMPLICIT": "SHARED_IMPLICIT_INV",
            "PSEUDO_SHARED": "PSEUDO_SHARED_INV",
        }
        for gfn in gfns:
            page = self.pages[gfn]
            page.uv = withdrawn.get(page.uv, page.uv)

    def reset(self) -> None:
        """Reboot: secure pages are gone, what replaced one is scrubbed, the rest stays."""
        for page in self.pages.values():
            if self.secure and (page.replaced or page.hv == "SECURE"):
                page.normal = ZERO
            page.uv, page.hv, page.frame, page.replaced = "", "NORMAL", ZERO, False
        self.secure = False

    def states(self) -> tuple[dict[int, str], dict[int, str]]:
        """Return both sides' states by GFN; the Ultravisor has none of a normal VM."""
        uv = {gfn: page.uv for gfn, page in self.pages.items() if self.secure}
        return uv, {gfn: page.hv for gfn, page in self.pages.items()}
