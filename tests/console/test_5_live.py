"""A live pair behind the page: held messages, a page as both see it, a flipped bit, the map of 100 GiB."""

import asyncio
import re
from collections.abc import Iterator
from typing import Final

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from console.console_process import ConsoleProcess, console_process
from console.shown_page import Keep, Opener, ShownPage
from pef_lab.endpoints import Endpoints
from pef_lab.guest import Guest
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.pair import PairPlan, started
from pef_protocol.quantities import Gfn, Lpid
from pef_protocol.ultracalls import SharePage

UNUSED: Final = 102
"""A GFN that the image does not use."""
GIB: Final = 1 << 30
GFNS: Final = 100 * GIB >> 16
ODD: Final = 1500
AT_ONCE: Final = 16


def opened(page: ShownPage, **system: int) -> ShownPage:
    """Open a live session with a system of these sizes, and follow it."""
    page.open(file="broken-the-tables-agree")
    body = {"stage": "live", "design": "tracked", "system": system}
    headers = {"origin": page.console.origin}
    url = f"{page.console.origin}/api/v1/sessions"
    answer = page.context.request.post(url, data=body, headers=headers, timeout=60_000)
    assert answer.status == 201, answer.text()
    page.page.goto(f"{page.console.origin}/#s={answer.json()['id']}")
    page.page.reload()
    page.wait_for_text("stage", "live")
    page.wait_for_text("connection", "connected")
    return page


def until_quiescent(page: ShownPage) -> None:
    """Press the key of a step until nothing is held any more."""
    for _ in range(40):
        if page.frame()["quiescent"]:
            return
        page.press_to("j", page.node + 1)
    raise AssertionError(page.text("calls"))


def boot(page: ShownPage) -> None:
    """Make the VM secure, message by message."""
    page.make("guest 0", "UV_ESM")
    until_quiescent(page)
    assert page.frame()["ended"] == "ends U_SUCCESS"


def select(page: ShownPage, gfn: int) -> None:
    """Select a GFN by the keyboard."""
    for _ in range(40):
        if page.part("g") == str(gfn):
            return
        page.press("g")
    raise AssertionError(page.part("g"))


def observe(page: ShownPage, gfn: int) -> str:
    """Select a GFN and read it as both, by the keyboard; return what the page says of it."""
    select(page, gfn)
    page.by("observe").focus()
    page.press("Enter")
    page.wait_for_text("page-view", "asked as vmm")
    return page.text("page-view")


@pytest.fixture
def live(page: ShownPage) -> ShownPage:
    """Give a page with a live session on a pair of its own."""
    return opened(page)


def test_a_live_pair_is_opened_from_the_dialog_by_the_keyboard(page: ShownPage) -> None:
    page.open(file="broken-the-tables-agree")
    page.press("o")
    page.page.locator("#open-live").focus()
    page.press("Enter")
    page.context.set_default_timeout(60_000)
    page.wait_for_text("stage", "live")
    assert "guest's token" in page.text("keyring")
    assert page.frame()["system"]["pair"] == "a pair of its own"


def test_a_boot_is_delivered_message_by_message(live: ShownPage) -> None:
    live.make("guest 0", "UV_ESM")
    live.wait_for_text("calls", "H_SVM_INIT_START is held on the wire")
    for action in ("deliver", "lose", "repeat", "refuse", "busy"):
        assert live.by(f"held-{action}").is_visible()
    live.by("held-deliver").focus()
    live.press("Enter")
    live.wait_for_node(2)
    until_quiescent(live)
    assert set(live.states("hypervisor").values()) == {"SECURE", "SHARED"}
    assert live.states("ultravisor")[UNUSED] == "SECURE"
    assert "BROKEN" not in live.text("banner")


def test_a_shared_page_is_one_page_for_both(live: ShownPage) -> None:
    boot(live)
    live.make("guest 0", "share", UNUSED)
    until_quiescent(live)
    live.make("vmm", "host write", UNUSED)
    until_quiescent(live)
    seen = observe(live, UNUSED)
    assert seen.count("as written") == 2
    assert "Reading changed nothing" in seen
    assert (live.states("hypervisor")[UNUSED], live.states("ultravisor")[UNUSED]) == ("SHARED", "SHARED")


def test_the_host_that_reads_a_secure_page_gets_ciphertext(live: ShownPage) -> None:
    boot(live)
    live.make("guest 0", "store", UNUSED)
    seen = observe(live, UNUSED)
    assert "as written asked as guest at the ultravisor" in seen
    assert "ciphertext asked as vmm at the hypervisor" in seen
    assert f"GFN {UNUSED}: Hypervisor SECURE -> PAGED_OUT, Ultravisor SECURE -> PAGEDOUT" in seen


def test_a_flipped_bit_is_refused_attacked_by_the_keyboard(live: ShownPage, keep: Keep) -> None:
    """Given a secure page, when the host pages it out and flips a bit, then the guest's load is refused."""
    boot(live)
    live.make("guest 0", "store", UNUSED)
    live.make("memory", "page out", UNUSED)
    until_quiescent(live)
    live.make("vmm", "flip a bit", UNUSED)
    live.make("guest 0", "load", UNUSED)
    until_quiescent(live)
    assert live.frame()["ended"] == "ends refused"
    assert "U_P3" in live.text("sequence")
    assert "BROKEN" not in live.text("banner")
    keep(live, "flipped-bit")


def test_pages_that_are_corrupted_on_the_wire_are_refused(live: ShownPage) -> None:
    boot(live)
    live.make("guest 0", "store", UNUSED)
    live.make("memory", "page out", UNUSED)
    while not live.by("held-corrupt").count():
        live.press_to("j", live.node + 1)
    node = live.node
    live.by("held-corrupt").focus()
    live.press("Enter")
    live.wait_for_node(node + 1)
    until_quiescent(live)
    live.make("guest 0", "load", UNUSED)
    until_quiescent(live)
    assert live.frame()["ended"] == "ends refused"


def test_back_makes_the_moves_again_on_another_vm(live: ShownPage) -> None:
    boot(live)
    last, lpid = live.node, live.frame()["system"]["lpid"]
    live.press_to("k", last - 1)
    live.wait_for_text("toolbar", "replayed in")
    assert live.frame()["system"]["lpid"] != lpid
    live.press_to("j", last)
    assert live.frame()["nodes"] == last + 1


class RunningPair:
    """A pair of services of this test, on which a console's live sessions run."""

    def __init__(self, portal: BlockingPortal, endpoints: Endpoints) -> None:
        self._portal = portal
        self.endpoints = endpoints

    def share(self, lpid: int, gfns: range) -> None:
        """Share pages one by one, as the VM does."""
        self._portal.call(self._share, lpid, gfns)

    async def _share(self, lpid: int, gfns: range) -> None:
        async with Guest(self.endpoints, Lpid(lpid)) as guest:
            for first in range(0, len(gfns), AT_ONCE):
                calls = (SharePage(Gfn(gfn), 1) for gfn in gfns[first : first + AT_ONCE])
                await asyncio.gather(*(guest.ultravisor.call("UV_SHARE_PAGE", call) for call in calls))


@pytest.fixture(scope="module")
def running() -> Iterator[RunningPair]:
    """Give a pair with room for 100 GiB."""
    plan = PairPlan(102 * GIB, NormalMemoryForm.HTTP)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(started(plan)) as pair:
        yield RunningPair(portal, pair.endpoints)


@pytest.fixture(scope="module")
def beside(running: RunningPair) -> Iterator[ConsoleProcess]:
    """Give a console that was given that pair and its tokens."""
    with console_process(environment=running.endpoints.environment) as process:
        yield process


DRAWN: Final = """async () => {
    const { cellsOfOctets, drawMap } = await import("/static/map.js");
    const canvas = document.querySelector("[data-testid='map']");
    const id = new URLSearchParams(location.hash.slice(1)).get("s"), cells = canvas.clientWidth;
    const answer = await fetch(`/api/v1/sessions/${id}/map?cells=${cells}`, { cache: "no-store" });
    drawMap(canvas, cellsOfOctets(new Uint8Array(await answer.arrayBuffer()), GFNS), 0);
    await new Promise(requestAnimationFrame);
    return canvas.getAttribute("aria-label");
}""".replace("GFNS", str(GFNS))


def test_1500_odd_pages_of_100_gib_are_on_the_map(
    beside: ConsoleProcess, running: RunningPair, new_page: Opener
) -> None:
    """Given a secure VM of 100 GiB, when the guest shares 1,500 pages, then the map shows them."""
    page = opened(new_page(beside), memory=100 * GIB)
    boot(page)
    frame = page.frame()
    assert frame["map"]["gfns"] == GFNS
    running.share(frame["system"]["lpid"], range(20_000, 20_000 + ODD * 1000, 1000))
    words = page.page.evaluate(DRAWN)
    assert words.startswith((f"{GFNS:,} GFN", f"{GFNS} GFN")), words
    found = re.search(r"Hypervisor: [^.]*?(\d+) SHARED", words)
    shared = int(found[1]) if found else 0
    assert shared > 0.8 * page.page.evaluate("document.querySelector(\"[data-testid='map']\").clientWidth")
    assert "differs" not in words
    assert running.endpoints.observer_token not in page.page.content()


def test_a_service_that_dies_is_said_and_the_session_can_be_left(new_page: Opener) -> None:
    plan = PairPlan(64 << 20, NormalMemoryForm.HTTP)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(started(plan)) as pair,
        console_process(environment=pair.endpoints.environment) as process,
    ):
        page = opened(new_page(process))
        portal.call(pair.hypervisor.stop)
        page.wait_for_text("banner", "Hypervisor")
        assert page.frame()["stopped"]
        page.press("o")
        page.by("open-dialog").get_by_role("button", name="broken-the-tables-agree").first.click()
        page.wait_for_text("stage", "recorded")
