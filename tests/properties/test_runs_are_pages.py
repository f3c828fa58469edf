"""A paging call on runs is the same as the calls on their pages, one after another.

Two machines of one seed get the same pages, one in runs and one page by page; afterwards their digests are
equal, which takes in states, records and contents.
"""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.linked import LinkedPair
from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa, Lpid, SlotId
from pef_protocol.runs import CodedRuns, PageRuns, PlacedRuns
from pef_protocol.states import UvGfnState, UvVmState
from pef_protocol.ultracalls import PageIn, PageInval, PageOut, RegisterMemSlot, WritePate
from pef_ultravisor import invariants
from pef_ultravisor.gfn.columns import FRAME_POPULATED
from pef_ultravisor.gfn.table import IS_BACKED

LPID = Lpid(1)
PAGES = 24
PLACES = NORMAL_BASE + (256 << 20)
CALLS = {"UV_PAGE_IN": PageIn, "UV_PAGE_OUT": PageOut, "UV_PAGE_INVAL": PageInval}
Message = tuple[str, list[tuple[int, int]], int]
MIXED = (UvGfnState.SECURE, UvGfnState.SHARED, UvGfnState.SHARED_INV, UvGfnState.PSEUDO_SHARED)


def secure_vm(states: list[int]) -> LinkedPair:
    """Return a pair whose Ultravisor has one secure VM of PAGES pages in the given states."""
    pair = LinkedPair()
    pair.call("UV_WRITE_PATE", WritePate(LPID, 1, 1))
    svm = pair.uv.new_svm(LPID)
    pair.call("UV_REGISTER_MEM_SLOT", RegisterMemSlot(LPID, Gpa(0), PAGES * PAGE_SIZE, 0, SlotId(0)))
    svm.state = UvVmState.SECURE
    (slot,) = svm.slots
    for gfn, state in enumerate(states):
        slot.put(slice(gfn, gfn + 1), state)
        if IS_BACKED[state]:
            slot.normal[gfn] = NORMAL_BASE + gfn * PAGE_SIZE
        elif state == UvGfnState.SECURE:
            slot.frames.at(gfn, PAGE_SIZE).fill(gfn + 1)
            slot.mark(slice(gfn, gfn + 1), FRAME_POPULATED)
    pair.uv.normal_pages.take(slot.normal[slot.normal != 0])
    return pair


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Draw a call, the runs (first, count) it carries, none overlapping, and the place of its pages."""
    name = draw(st.sampled_from(sorted(CALLS)))
    cuts = sorted(draw(st.sets(st.integers(0, PAGES), min_size=2, max_size=8)))
    runs = [(first, end - first) for first, end in pairwise(cuts)]
    kept = draw(st.permutations(runs))[: draw(st.integers(1, len(runs)))]
    return name, kept, draw(st.integers(0, 4))


def request(name: str, place: int, *runs: tuple[int, int]) -> object:
    """Return the request that carries the given runs, with their normal pages at `place`."""
    if name == "UV_PAGE_INVAL":
        return PageInval(LPID, PageRuns.of(*((at << PAGE_ORDER, pages) for at, pages in runs)), PAGE_ORDER)
    placed = PlacedRuns.of(*((place + (at << PAGE_ORDER), at << PAGE_ORDER, pages) for at, pages in runs))
    return CALLS[name](LPID, placed, 0, PAGE_ORDER)


def codes_by_page(refused: CodedRuns) -> dict[int, int]:
    """Return the code of each refused page, by GFN."""
    return {(gpa >> PAGE_ORDER) + at: code for gpa, count, code in refused.coded() for at in range(count)}


@settings(max_examples=60, deadline=None)
@given(
    states=st.lists(st.sampled_from(MIXED), min_size=PAGES, max_size=PAGES),
    script=st.lists(messages(), min_size=1, max_size=5),
)
def test_runs_are_pages(states: list[int], script: list[Message]) -> None:
    in_runs, in_pages = secure_vm(states), secure_vm(states)
    for turn, (name, runs, drawn) in enumerate(script):
        # Pages go out to a fresh place each time, and come in from any earlier one, right or wrong.
        area = turn + 1 if name == "UV_PAGE_OUT" else drawn % (turn + 1)
        place = PLACES + area * PAGES * PAGE_SIZE
        refused = codes_by_page(in_runs.call(name, request(name, place, *runs)).refused)
        singly: dict[int, int] = {}
        for gfn in [gfn for first, count in runs for gfn in range(first, first + count)]:
            singly |= codes_by_page(in_pages.call(name, request(name, place, (gfn, 1))).refused)
        assert refused == singly
        assert in_runs.uv.digest() == in_pages.uv.digest()
        assert invariants.broken(in_runs.uv) == []
