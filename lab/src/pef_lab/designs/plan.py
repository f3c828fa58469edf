"""Where in a VM's memory the guest writes: several runs spread over all of it, beside the image.

    |image| run 0 .f......| run 1 .f.....|hole| run 2 .f ...                         f: a fresh page

The hole is the last mebibyte under the memory that firmware may use (768 MiB at most): there the Ultravisor
reserves its bounce pages. A fresh page is one that nobody touches before UV_ESM.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pef_lab.failures import WrongInput
from pef_lab.image import GuestImage
from pef_lab.sizes import show_size
from pef_protocol.quantities import PAGE_SIZE, gfn_of, gpa_of, pages_in

RUNS: Final = 8
SMALLEST_TOUCHED: Final = 2 * RUNS * PAGE_SIZE
FIRMWARE_MEMORY: Final = 768 << 20
HOLE: Final = 1 << 20
SAMPLED: Final = 4
"""Pages at the end of each run that the host reads."""
PLUGGED: Final = 16 << 20
"""Bytes of the slot that is plugged in beyond the VM's memory."""
PLUGGED_PAGES: Final = 8
"""Pages that the guest uses at either end of it."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of `count` GFNs from `first`."""

    first: int
    count: int

    @property
    def gpa(self) -> int:
        """Return the guest physical address of the run."""
        return gpa_of(self.first)

    @property
    def size(self) -> int:
        """Return the bytes of the run."""
        return self.count * PAGE_SIZE

    @property
    def without_first(self) -> "Run":
        """Return the run but for its first page."""
        return Run(self.first + 1, self.count - 1)

    def parts(self, size: int) -> Iterator["Run"]:
        """Yield the run in parts of at most `size` bytes."""
        most = size // PAGE_SIZE
        end = self.first + self.count
        for first in range(self.first, end, most):
            yield Run(first, min(most, end - first))


@dataclass(frozen=True, slots=True)
class Plan:
    """Which GFNs a run of a design touches, and which part each plays."""

    size: int
    touched: tuple[Run, ...]
    fresh: tuple[Run, ...]
    sampled: tuple[Run, ...]
    shared: int
    shared_after_out: int
    invalidated: int
    plugged: tuple[Run, ...]

    @property
    def private(self) -> tuple[Run, ...]:
        """Return the touched runs without the pages that stay shared until the reboot."""
        in_clear = {self.shared_after_out, self.invalidated}
        runs = (run.without_first if run.first in in_clear else run for run in self.touched)
        return tuple(run for run in runs if run.count)

    @property
    def plugged_gpa(self) -> int:
        """Return where the plugged slot begins: right beyond the VM's memory."""
        return self.size


def plan_touched(size: int, touched: int, image: GuestImage) -> Plan:
    """Spread `touched` bytes over a VM of `size` bytes; raise WrongInput where they don't fit."""
    pages = pages_in(touched)
    if touched < SMALLEST_TOUCHED:
        raise WrongInput(
            f"--touched: {show_size(touched)} is too little: at least {show_size(SMALLEST_TOUCHED)}"
        )
    free = _free(size, image)
    room = sum(run.count for run in free)
    stride = room // RUNS
    longest = -(-pages // RUNS)
    if longest + 1 > stride:
        most = (stride - 1) * RUNS * PAGE_SIZE
        raise WrongInput(
            f"--touched: {show_size(touched)} do not fit beside the image into {show_size(size)}:"
            f" at most {show_size(max(most, 0))}"
        )
    runs: list[Run] = []
    fresh: list[Run] = []
    for number in range(RUNS):
        count = pages // RUNS + (number < pages % RUNS)
        runs += _placed(free, number * stride, count)
        fresh += _placed(free, number * stride + count, 1)
    widest = sorted((run for run in runs if run.count > 1), key=lambda run: run.count, reverse=True)
    sampled = tuple(_end_of(run) for run in runs if run.count > 1)
    slot_end = gfn_of(size + PLUGGED)
    plugged = (Run(gfn_of(size), PLUGGED_PAGES), Run(slot_end - PLUGGED_PAGES, PLUGGED_PAGES))
    one, two, three = (run.first for run in widest[:3])
    return Plan(size, tuple(runs), tuple(fresh), sampled, one, two, three, plugged)


def _end_of(run: Run) -> Run:
    count = min(SAMPLED, run.count - 1)
    return Run(run.first + run.count - count, count)


def _free(size: int, image: GuestImage) -> list[Run]:
    """Return the GFNs that neither the image nor the Ultravisor's reservations take."""
    image_end = max(gfn_of(piece.gpa) + pages_in(len(piece.content)) for piece in image.layout)
    firmware_end = min(size, FIRMWARE_MEMORY)
    below = Run(image_end, gfn_of(firmware_end - HOLE) - image_end)
    above = Run(gfn_of(firmware_end), gfn_of(size) - gfn_of(firmware_end))
    return [run for run in (below, above) if run.count > 0]


def _placed(free: list[Run], offset: int, count: int) -> list[Run]:
    """Return `count` GFNs from the `offset`th free one, in as many runs as the hole makes of them."""
    placed: list[Run] = []
    for run in free:
        taken = min(count, run.count - offset)
        if taken > 0:
            placed.append(Run(run.first + offset, taken))
            offset, count = offset + taken, count - taken
        offset -= run.count
    return placed
