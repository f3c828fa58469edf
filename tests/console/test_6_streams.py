"""The event stream: it comes back at the cursor, and it does not keep the console from ending."""

from console.console_process import ConsoleProcess, console_process
from console.relay import free_port, relay
from console.shown_page import Opener, ShownPage

FOLLOWERS = 5


def test_a_stream_that_drops_comes_back_at_the_cursor(new_page: Opener) -> None:
    """Given a network that is cut, when others step meanwhile, then the page shows their node again."""
    port = free_port()
    with (
        relay(port) as network,
        console_process("--port", str(port), "--published", f"127.0.0.1:{network.port}") as console,
    ):
        page = new_page(console)
        page.open(file="broken-the-tables-agree")
        page.wait_for_text("connection", "connected")
        network.cut()
        page.wait_for_text("connection", "reconnecting")
        session = f"http://127.0.0.1:{port}/api/v1/sessions/{page.part('s')}"
        for node in range(4):
            assert page.context.request.post(f"{session}/forward", data={"if_at": node}).ok
        assert page.node == 0
        network.mend()
        page.wait_for_node(4)
        page.wait_for_text("connection", "connected")
        page.press_to("j", 5)


def test_a_command_without_a_network_is_one_line_and_the_next_one_works(page: ShownPage) -> None:
    page.open(file="broken-the-tables-agree")
    page.wait_for_text("connection", "connected")
    page.context.set_offline(True)
    page.press("j")
    page.wait_for_text("error", "does not answer")
    assert page.node == 0
    page.context.set_offline(False)
    page.press_to("j", 1)
    assert page.text("error") == ""


def test_the_newest_frame_wins(page: ShownPage) -> None:
    page.open(file="broken-the-guest-finds-what-it-wrote")
    last = page.frame()["nodes"] - 1
    page.press(*"j" * last)
    page.wait_for_node(last)
    page.press(*"k" * last)
    page.wait_for_node(0)


def test_ctrl_c_with_five_streams_open_ends_within_two_seconds(new_page: Opener) -> None:
    with console_process() as console:
        first = new_page(console)
        first.open(file="broken-the-tables-agree")
        pages = [first, *(new_page(console).open(s=first.part("s")) for _ in range(FOLLOWERS - 1))]
        for page in pages:
            page.wait_for_text("connection", "connected")
        assert console.interrupt() < 2
        for page in pages:
            page.wait_for_text("connection", "ended")
            assert "ended" in page.text("error")


def test_a_console_that_is_killed_is_said_in_one_line(new_page: Opener) -> None:
    with console_process() as console:
        page = new_page(console)
        page.open(file="broken-the-tables-agree")
        page.wait_for_text("connection", "connected")
        console.process.kill()
        console.process.wait()
        page.wait_for_text("connection", "reconnecting")
        page.press("j")
        page.wait_for_text("error", "does not answer")


def test_several_streams_of_one_browser_get_the_same_frame(console: ConsoleProcess, new_page: Opener) -> None:
    first = new_page(console)
    first.open(file="broken-the-tables-agree")
    address = f"{console.origin}/api/v1/sessions/{first.part('s')}/events"
    first.page.evaluate(
        """address => { window.seen = []; window.streams = Array.from({length: 4}, (_, at) => {
            const source = new EventSource(address);
            source.addEventListener('frame', event => { seen[at] = JSON.parse(event.data).node; });
            return source; }); }""",
        address,
    )
    first.press_to("j", 1)
    first.wait("() => seen.length === 4 && seen.every(node => node === 1)")
    first.page.evaluate("streams.forEach(source => source.close())")
