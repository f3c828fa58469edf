"""The page in one browser, driven by its keyboard, and what a person reads there."""

import json
from collections.abc import Callable
from typing import Any, Final, cast

from playwright.sync_api import BrowserContext, Locator, Page

from console.console_process import ConsoleProcess

WAIT: Final = 15_000
"""Milliseconds after which a condition that does not come is a failure."""
OF_NODE: Final = ("seq", "children", "nodes")
"""What of a frame is not the node's: its number in the stream, and how the tree grows."""


Opener = Callable[..., "ShownPage"]
"""Opens a page of a console in a context of its own; options are those of the context."""


Keep = Callable[["ShownPage", str], None]
"""Keeps a picture of a scene."""


def of_node(frame: dict[str, Any]) -> str:
    """Return what of a frame is its node's, as text."""
    return json.dumps({name: frame[name] for name in frame if name not in OF_NODE}, sort_keys=True)


class ShownPage:
    """A console's page in a context of its own, as one person has it."""

    def __init__(self, console: ConsoleProcess, context: BrowserContext) -> None:
        self.console = console
        self.context = context
        self.problems: list[str] = []
        self.sessions: set[str] = set()
        context.set_default_timeout(WAIT)
        self.page: Page = context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: self._note(message.text))

    def end_sessions(self) -> None:
        """End the sessions that this page has opened: a console has only so many at once."""
        self._note_session()
        if self.console.process.poll() is None:
            for session in self.sessions:
                self.context.request.delete(f"{self.console.origin}/api/v1/sessions/{session}")

    def _note_session(self) -> None:
        if session := self.part("s"):
            self.sessions.add(session)

    def _note(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.problems.append(text)

    def wait(self, condition: str, arg: object = None) -> None:
        """Wait until a function of the page is true; the page's policy forbids `wait_for_function`."""
        self.page.evaluate(
            """([arg, most]) => new Promise((resolve, reject) => {
                const condition = CONDITION, end = performance.now() + most;
                const ask = () => condition(arg) ? resolve()
                    : performance.now() > end ? reject(new Error(`never true: ${condition} of ${arg}`))
                    : setTimeout(ask, 4);
                ask(); })""".replace("CONDITION", condition),
            [arg, WAIT],
        )

    def open(self, **parts: str | int | None) -> "ShownPage":
        """Open a link with this fragment, and wait for the first frame."""
        self.page.goto(self.console.link(**parts))
        self.wait("() => document.body.dataset.node !== undefined || error.textContent")
        return self

    def by(self, name: str) -> Locator:
        """Return the element of a test id."""
        return self.page.get_by_test_id(name)

    def text(self, name: str) -> str:
        """Return the text of the element of a test id, on one line."""
        return " ".join((self.by(name).text_content() or "").split())

    def press(self, *keys: str) -> None:
        """Press keys, one after another."""
        self._note_session()
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def node(self) -> int:
        """Return the node that is shown."""
        return int(cast("str", self.page.evaluate("document.body.dataset.node")))

    def wait_for_node(self, node: int) -> None:
        """Wait until a node is shown."""
        self.wait("node => document.body.dataset.node === String(node)", node)

    def wait_for_text(self, name: str, part: str) -> None:
        """Wait until the element of a test id has this text."""
        self.wait(
            "([name, part]) => document.querySelector(`[data-testid='${name}']`)?.textContent.includes(part)",
            [name, part],
        )

    def press_to(self, key: str, node: int) -> None:
        """Press a key that leads to a node, and wait for it."""
        self.press(key)
        self.wait_for_node(node)

    def type_number(self, number: int) -> None:
        """Type the number of a move, as fast as a person who knows it."""
        self.press(*str(number), "Enter")

    def part(self, name: str) -> str | None:
        """Return what the URL's fragment says of a name."""
        return cast(
            "str | None",
            self.page.evaluate("name => new URLSearchParams(location.hash.slice(1)).get(name)", name),
        )

    def frame(self) -> dict[str, Any]:
        """Read the session's frame from the server."""
        answer = self.context.request.get(f"{self.console.origin}/api/v1/sessions/{self.part('s')}")
        assert answer.ok, answer.text()
        return cast("dict[str, Any]", answer.json())

    def states(self, side: str) -> dict[int, str]:
        """Return what a side's table shows: the state of each GFN."""
        rows = self.by(f"{side}-table").locator("tbody tr")
        read = "all => all.map(row => [row.dataset.gfn, row.querySelector('.value .state-name').textContent])"
        return {int(gfn): state for gfn, state in cast("list[list[str]]", rows.evaluate_all(read))}

    def move(self, actor: str, action: str, gfn: int | None = None) -> dict[str, Any]:
        """Return a move of the frame, with its number."""
        wanted = (actor, action, gfn)
        moves = self.frame()["moves"]
        found = [each for each in moves if (each["actor"], each["action"], each["gfn"]) == wanted]
        assert found, f"{wanted} is not among {[each['label'] for each in moves]}"
        return cast("dict[str, Any]", found[0])

    def make(self, actor: str, action: str, gfn: int | None = None) -> None:
        """Make a move by its number, and wait until another node is shown."""
        before = self.node
        self.type_number(self.move(actor, action, gfn)["n"])
        self.wait("node => document.body.dataset.node !== String(node)", before)

    def end_calls(self) -> None:
        """Let everything that is open go on, one step after another, until nothing is."""
        while not (frame := self.frame())["quiescent"]:
            self.make(frame["calls"][0]["actor"], "go on")

    def select(self, gfn: int) -> None:
        """Go to a GFN by the keyboard."""
        for _ in self.frame()["gfns"]:
            if self.part("g") == str(gfn):
                return
            self.press("g")
        assert self.part("g") == str(gfn)

    def observe(self) -> None:
        """Read the selected page as guest and as host."""
        self.by("observe").focus()
        self.press("Enter")
        self.wait_for_text("page-view", "Reading changed")

    def check(self) -> None:
        """Ask whether the end of the lesson is reached."""
        with self.page.expect_response("**/check"):
            self.by("check").focus()
            self.press("Enter")
        self.page.locator(".lesson .answer").wait_for()
