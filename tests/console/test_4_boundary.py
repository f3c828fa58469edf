"""What the browser gets: no token of the protocol, no other origin, and one line for each mistake."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.console_process import ConsoleProcess, console_process
from console.shown_page import Opener, ShownPage

TOKENS = {
    name: f"canary-{name.lower().replace('_', '-')}-0123456789abcdef0123456789abcdef"
    for name in (
        "PEF_OBSERVER_TOKEN",
        "PEF_VMM_TOKEN",
        "PEF_ULTRAVISOR_TOKEN",
        "PEF_HYPERVISOR_TOKEN",
        "PEF_ULTRAVISOR_GUEST_KEY",
        "PEF_HYPERVISOR_GUEST_KEY",
        "PEF_MACHINE_KEY",
    )
}


@pytest.fixture(scope="module")
def with_tokens() -> Iterator[ConsoleProcess]:
    """Have a console whose environment has each token of the protocol."""
    with console_process(environment=TOKENS) as process:
        yield process


def test_no_request_leaves_the_origin(page: ShownPage) -> None:
    urls: list[str] = []
    page.context.on("request", lambda request: urls.append(request.url))
    page.open(file="broken-the-tables-agree")
    page.press_to("j", 1)
    page.press("?", "Escape", "o")
    page.by("open-dialog").get_by_role("button", name="broken-the-tables-agree").first.wait_for()
    assert len(urls) > 15
    assert [url for url in urls if not url.startswith(f"{page.console.origin}/")] == []


def test_no_token_is_in_any_answer_script_storage_or_log(
    with_tokens: ConsoleProcess, new_page: Opener
) -> None:
    page = new_page(with_tokens)
    bodies: list[str] = []
    page.context.on(
        "requestfinished",
        lambda request: bodies.append(request.url + json.dumps(request.headers)),
    )
    page.open(file="broken-the-tables-agree")
    page.press_to("e", 12)
    page.by("observe").click()
    page.wait_for_text("page-view", "Reading changed")
    urls = {body.partition("{")[0] for body in bodies if "/events" not in body}
    read = [page.context.request.get(url) for url in urls]
    everything = "\n".join(
        [
            *bodies,
            *(answer.text() + json.dumps(answer.headers) for answer in read),
            page.page.content(),
            json.dumps(page.context.storage_state()),
            json.dumps(page.page.evaluate("({...localStorage, ...sessionStorage})")),
            *with_tokens.printed,
        ]
    )
    assert "the_tables_agree" in everything
    assert [name for name, token in TOKENS.items() if token in everything] == []


def test_the_secret_leaves_the_url_at_once_and_no_script_can_read_the_cookie(page: ShownPage) -> None:
    page.page.add_init_script(
        "window.seen = []; const send = fetch;"
        "window.fetch = (...given) => { seen.push(location.hash); return send(...given); };"
    )
    page.open(file="broken-the-tables-agree")
    seen = page.page.evaluate("seen")
    assert len(seen) > 2
    assert "secret" not in "".join([page.page.url, *seen])
    assert page.page.evaluate("document.cookie") == ""
    assert page.console.secret not in page.page.content()
    (cookie,) = page.context.cookies()
    assert cookie["name"].startswith("pef_console")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.console.secret not in cookie["value"]


def test_without_the_secret_the_page_says_how_to_enter(console: ConsoleProcess, new_page: Opener) -> None:
    page = new_page(console)
    page.page.goto(f"{console.origin}/#file=broken-the-tables-agree")
    page.wait_for_text("error", "secret")
    assert page.page.evaluate("document.body.dataset.node") is None


def test_a_script_in_the_markup_does_not_run(page: ShownPage) -> None:
    page.open(file="broken-the-tables-agree")
    page.page.evaluate(
        "() => { const made = document.createElement('script'); made.textContent = 'window.ran = 1';"
        " document.body.append(made); }"
    )
    assert page.page.evaluate("window.ran") is None
    assert [problem for problem in page.problems if "Content Security Policy" in problem]
    page.problems.clear()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("not.json", "this is no JSON"),
        ("other.json", '{"format": "something-else/1"}'),
        ("version.json", '{"format": "pef-counterexample/99"}'),
        ("list.json", "[1, 2, 3]"),
    ],
)
def test_a_file_that_is_none_of_ours_is_one_line_and_changes_nothing(
    page: ShownPage, tmp_path: Path, name: str, text: str
) -> None:
    page.open(file="broken-the-tables-agree")
    page.press_to("j", 1)
    session, banner = page.part("s"), page.text("banner")
    (tmp_path / name).write_text(text, encoding="utf-8")
    page.press("o")
    page.page.set_input_files("#upload", tmp_path / name)
    page.wait("() => error.textContent !== ''")
    assert "\n" not in (page.by("error").text_content() or "\n").strip()
    assert (page.part("s"), page.node, page.text("banner")) == (session, 1, banner)


def test_a_file_of_a_hundred_megabytes_is_one_line_and_is_not_sent(page: ShownPage, tmp_path: Path) -> None:
    page.open(file="broken-the-tables-agree")
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(100 << 20)
    sent: list[str] = []
    page.context.on("request", lambda request: sent.append(request.method))
    page.press("o")
    page.page.set_input_files("#upload", large)
    page.wait_for_text("error", "large.json")
    assert "POST" not in sent


def test_a_file_of_ours_that_is_uploaded_opens(page: ShownPage) -> None:
    page.open()
    page.press("o")
    page.page.set_input_files("#upload", "docs/counterexamples/broken-the-tables-agree.json")
    page.wait_for_text("stage", "recorded")
    page.press_to("e", 12)
    assert "BROKEN the_tables_agree" in page.text("banner")


def test_a_move_that_is_not_possible_has_its_reason_beside_it(page: ShownPage) -> None:
    page.open()
    refused = next(move for move in page.frame()["moves"] if move["why_not"])
    page.type_number(refused["n"])
    page.wait_for_text("error", refused["why_not"])
    move = page.by(f"move-{refused['n']}")
    described = move.get_attribute("aria-describedby") or ""
    assert (page.page.locator(f"#{described}").text_content() or "") == refused["why_not"]
    assert page.node == 0
