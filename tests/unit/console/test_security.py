"""The secret and its cookie; Host, Origin, headers and the length of bodies."""

from collections.abc import AsyncIterator

import pytest

from harness.console import HOST, PORT, SECRETS, URL, Consoles
from pef_console.security import HEADERS, SMALL_BODY, UPLOAD, Entrance, Right

ABOUT = "/api/v1/about"


def test_a_secret_gives_its_right_and_a_cookie_that_is_not_the_secret() -> None:
    entrance = Entrance(SECRETS, PORT)
    for right, secret in SECRETS.items():
        found = entrance.enter(secret)
        assert found is not None
        assert found[0] is right
        assert secret not in found[1]
        assert entrance.right_of(found[1]) is right
        assert entrance.right_of(secret) is None
    assert len({entrance.enter(secret) for secret in SECRETS.values()}) == 2


@pytest.mark.parametrize(
    "wrong", ["", "the secret to mov", "the secret to move ", "das Geheimnis: ä", "\ud800"]
)
def test_any_other_word_gives_nothing(wrong: str) -> None:
    entrance = Entrance(SECRETS, PORT)
    assert entrance.enter(wrong) is None
    assert entrance.right_of(wrong) is None


def test_without_a_secret_to_watch_nobody_may_watch_only() -> None:
    alone = Entrance({Right.MOVE: SECRETS[Right.MOVE]}, PORT)
    assert alone.enter(SECRETS[Right.WATCH]) is None


def test_another_consoles_cookie_gives_nothing() -> None:
    found = Entrance({Right.MOVE: "another"}, PORT).enter("another")
    assert found is not None
    assert Entrance(SECRETS, PORT).right_of(found[1]) is None


async def test_the_cookie_is_for_no_script_and_for_no_other_site() -> None:
    async with Consoles().client(None) as client:
        answer = await client.post("/api/v1/enter", json={"secret": SECRETS[Right.MOVE]})
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith(f"pef_console_{PORT}=")
    assert {each.lower() for each in attributes} == {"httponly", "path=/", "samesite=strict"}
    assert SECRETS[Right.MOVE] not in str(answer.headers) + answer.text


@pytest.mark.parametrize("path", ["/", "/static/index.html", ABOUT, "/nowhere"])
async def test_every_answer_has_the_headers(path: str) -> None:
    async with Consoles().client(None) as client:
        answer = await client.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["cache-control"] in {"no-store", "no-cache"}
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT + 1}", f"{HOST}.", ""]
)
@pytest.mark.parametrize("path", ["/", ABOUT])
async def test_another_host_is_refused(path: str, host: str) -> None:
    async with Consoles().client() as client:
        assert (await client.get(path)).status_code == 200
        answer = await client.get(path, headers={"host": host})
        assert answer.status_code == 421
        assert answer.json() == {"detail": f"this console answers at {HOST}, and at no other host"}


@pytest.mark.parametrize("origin", ["null", "http://evil.example", f"https://{HOST}", f"http://{HOST}0", ""])
async def test_another_origin_is_refused(origin: str) -> None:
    async with Consoles().client() as client:
        body = {"stage": "model"}
        answer = await client.post("/api/v1/sessions", json=body, headers={"origin": origin})
        assert (answer.status_code, answer.json()["detail"]) == (
            403,
            "a request of another origin is refused",
        )
        assert (await client.get("/api/v1/sessions")).json() == []
        allowed = await client.post("/api/v1/sessions", json=body, headers={"origin": URL})
        assert allowed.status_code == 201


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_site_reaches_the_page_by_a_link_and_nothing_else(site: str) -> None:
    async with Consoles().client() as client:
        headers = {"sec-fetch-site": site}
        assert (await client.get("/", headers=headers)).status_code == 200
        assert (await client.get(ABOUT, headers=headers)).status_code == 403
        assert (await client.get(ABOUT, headers={"sec-fetch-site": "same-origin"})).status_code == 200


async def _octets(number: int, piece: int = 1 << 20) -> AsyncIterator[bytes]:
    for at in range(0, number, piece):
        yield b" " * min(piece, number - at)


@pytest.mark.parametrize(("path", "most"), [("/api/v1/enter", SMALL_BODY), ("/api/v1/sessions", UPLOAD)])
async def test_a_body_that_says_it_is_too_long_is_not_read(path: str, most: int) -> None:
    async with Consoles().client() as client:
        answer = await client.post(path, content=b"", headers={"content-length": str(most + 1)})
    assert answer.status_code == 413
    assert answer.json() == {"detail": f"the request is too long: at most {most:,} octets are read"}


async def test_a_body_that_does_not_say_how_long_it_is_is_read_no_further_than_the_limit() -> None:
    read = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal read
        async for piece in _octets(100 << 20):
            read += len(piece)
            yield piece

    async with Consoles().client() as client:
        answer = await client.post("/api/v1/sessions", content=counted())
    assert answer.status_code == 413
    assert answer.json() == {"detail": f"the request is too long: at most {UPLOAD:,} octets are read"}
    assert read == UPLOAD + (1 << 20)
