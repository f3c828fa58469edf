"""What docs/performance.md promises, each as a ratio of medians of one run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Medians = Mapping[str, float]
"""Seconds by the benchmark's name."""

CONTENT_BYTES = 256 << 20
GFNS_OF_100_GIB = 100 << 14
GFNS_ONE_BY_ONE = 64 << 4
EXPLORED = 20_000
"""Transitions of the search that is timed, at least; it stops where it next can, a few hundred later."""
MOVES = 12
"""Moves of a round in the console: a UV_ESM from its begin on."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A ratio and its bound: `at_most`, or else at least."""

    says: str
    bound: float
    at_most: bool
    ratio: Callable[[Medians], float]

    def judged(self, medians: Medians) -> str:
        """Return the promise with what was measured, or nothing where this run did not measure it."""
        try:
            reached = self.ratio(medians)
        except KeyError:
            return ""
        kept = reached <= self.bound if self.at_most else reached >= self.bound
        word = "at most" if self.at_most else "at least"
        return f"{'kept  ' if kept else 'BROKEN'}  {reached:10.2f}  ({word} {self.bound:g})  {self.says}"


def esm(size: str) -> str:
    """Return the name of the benchmark of UV_ESM at a size."""
    return f"test_uv_esm[{size}]"


def _slower(medians: Medians) -> float:
    return max(medians["test_memory_copy"], medians["test_aes_gcm"])


def _against_stream(way: str, name: str) -> Callable[[Medians], float]:
    return lambda medians: medians[f"test_bare_stream[{way}]"] / medians[name]


def _against_memory(name: str) -> Callable[[Medians], float]:
    return lambda medians: _slower(medians) / medians[name]


PROMISES = (
    Promise(
        "1. UV_ESM of 100 GiB, tracked, against as many empty nested calls",
        1.5,
        True,
        lambda medians: medians[esm("100GiB")] / medians["test_empty_nested_calls"],
    ),
    Promise(
        "2. UV_ESM of 1 TiB against 100 GiB",
        3,
        True,
        lambda medians: medians[esm("1TiB")] / medians[esm("100GiB")],
    ),
    Promise(
        "3. pages sealed, shared memory, against the slower of memory copy and AES-GCM",
        0.7,
        False,
        _against_memory("test_page_out[shm]"),
    ),
    Promise(
        "4. pages opened, shared memory, against the same",
        0.7,
        False,
        _against_memory("test_page_in[shm]"),
    ),
    Promise(
        "5. pages opened, shared memory, against memory copy to memory that was given back",
        0.7,
        False,
        lambda medians: medians["test_memory_copy_to_fresh_memory"] / medians["test_page_in[shm]"],
    ),
    Promise(
        "6. pages sealed, HTTP, against a bare streamed body",
        0.7,
        False,
        _against_stream("upload", "test_page_out[http]"),
    ),
    Promise(
        "7. pages opened, HTTP, against the same",
        0.7,
        False,
        _against_stream("download", "test_page_in[http]"),
    ),
    Promise(
        "8. 100 GiB by one GFN per message, extrapolated from 64 MiB, against tracked",
        1000,
        False,
        lambda medians: (
            medians["test_one_gfn_a_message"] / GFNS_ONE_BY_ONE * GFNS_OF_100_GIB / medians[esm("100GiB")]
        ),
    ),
    Promise("9. `pef demo`, in seconds", 60, True, lambda medians: medians["test_demo"]),
    Promise(
        "12. `pef explore`, in transitions per second on one core",
        3000,
        False,
        lambda medians: EXPLORED / medians["test_explorer"],
    ),
    Promise(
        "15. a move in the console over HTTP, with its frame, against an answer that does nothing",
        6,
        True,
        lambda medians: medians["test_console_moves"] / medians["test_console_bare_answers"],
    ),
    Promise(
        "16. the same move, in milliseconds",
        100,
        True,
        lambda medians: 1e3 * medians["test_console_moves"] / MOVES,
    ),
    Promise(
        "17. the console's map of a secure VM of 100 GiB, in milliseconds",
        500,
        True,
        lambda medians: 1e3 * medians["test_console_map"],
    ),
)
