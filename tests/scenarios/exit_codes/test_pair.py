"""A pair that is named, and that nobody serves, or that can't be spoken to."""

import pytest

from pef_lab.cli import app
from pef_lab.endpoints import variable_of
from scenarios.exit_codes.commands import NOBODY, ON_A_PAIR, WRONG, answering, name_the_pair, one_line


@pytest.mark.sockets
@pytest.mark.parametrize("name", ON_A_PAIR)
def test_a_url_at_which_nobody_listens_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name_the_pair(monkeypatch, NOBODY)
    assert app.run(ON_A_PAIR[name]) == WRONG
    line = one_line(capsys)
    assert "no answer" in line
    assert "Connection refused" in line


@pytest.mark.sockets
@pytest.mark.parametrize("name", ON_A_PAIR)
@pytest.mark.parametrize("body", [(200, "text/html", b"<html>"), (500, "text/plain", b"")])
def test_what_is_no_service_is_one_line(
    name: str,
    body: tuple[int, str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with answering(*body) as url:
        name_the_pair(monkeypatch, url)
        assert app.run(ON_A_PAIR[name]) == WRONG
    assert one_line(capsys)


@pytest.mark.sockets
@pytest.mark.parametrize("name", ON_A_PAIR)
def test_a_token_that_is_not_known_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = b'{"title": "Unauthorized", "detail": "this token is not known", "status": 401}'
    with answering(401, "application/problem+json", problem) as url:
        name_the_pair(monkeypatch, url)
        assert app.run(ON_A_PAIR[name]) == WRONG
    assert "401" in one_line(capsys)


@pytest.mark.parametrize("name", ON_A_PAIR)
@pytest.mark.parametrize(
    ("part", "value"),
    [
        *(("ultravisor_url", url) for url in ("localhost:8001", "http://h:port", "ftp://h", "http://h\n")),
        *(("observer_token", token) for token in ("a\nb", "a b", "é", "\udc80")),
    ],
)
def test_what_no_request_can_carry_is_one_line_that_names_it(
    name: str, part: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name_the_pair(monkeypatch, NOBODY, **{part: value})
    assert app.run(ON_A_PAIR[name]) == WRONG
    named = {variable_of(part), f"--{part.replace('_', '-')}"}
    assert one_line(capsys).partition(":")[0] in named
