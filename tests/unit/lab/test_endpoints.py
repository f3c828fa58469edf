"""Finding a pair, and the file of the pair that is kept up."""

from dataclasses import fields
from pathlib import Path
from typing import Final

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pef_lab.endpoints import KEYS, OF_OUTSIDERS, URLS, Endpoints, find_endpoints, option_of, variable_of
from pef_lab.failures import WrongInput

PAIR = Endpoints("http://u", "http://h", "vmm", "observer", "guest key u", "guest key h")


def test_a_pair_is_found_by_its_environment(tmp_path: Path) -> None:
    assert find_endpoints(PAIR.environment, tmp_path) == PAIR
    assert find_endpoints({}, tmp_path) is None


def test_arguments_go_before_the_environment_and_that_before_secret_files(tmp_path: Path) -> None:
    for part in fields(PAIR):
        scheme = "http://" if part.name.endswith("url") else ""
        (tmp_path / variable_of(part.name).lower()).write_text(f"{scheme}file/{part.name}\n")
    found = find_endpoints({"PEF_VMM_TOKEN": "environment"}, tmp_path, ultravisor_url="http://argument")
    assert found == Endpoints(
        "http://argument",
        "http://file/hypervisor_url",
        "environment",
        "file/observer_token",
        "file/ultravisor_guest_key",
        "file/hypervisor_guest_key",
        "file/ultravisor_token",
        "file/hypervisor_token",
    )


def test_half_a_pair_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="PEF_HYPERVISOR_URL, PEF_VMM_TOKEN"):
        find_endpoints({"PEF_ULTRAVISOR_URL": "http://u"}, tmp_path)


def test_who_plays_a_side_needs_other_parts_of_a_pair(tmp_path: Path) -> None:
    needs = frozenset({"ultravisor_url", "hypervisor_token"})
    alone = {"PEF_ULTRAVISOR_URL": "http://u", "PEF_HYPERVISOR_TOKEN": "token"}
    found = find_endpoints(alone, tmp_path, needs)
    assert found == Endpoints("http://u", "", "", "", "", "", hypervisor_token="token")
    assert found.environment == alone
    with pytest.raises(WrongInput, match=r"set PEF_HYPERVISOR_TOKEN$"):
        find_endpoints({"PEF_ULTRAVISOR_URL": "http://u"}, tmp_path, needs)


def test_tokens_are_not_shown() -> None:
    assert "vmm" not in repr(PAIR).replace("vmm_token", "")
    assert "guest key" not in repr(PAIR)


NO_SECRETS: Final = Path("/nowhere")
PARTS: Final = [part.name for part in fields(Endpoints)]
TOKENS: Final = [name for name in PARTS if name not in URLS | KEYS]
NO_TOKENS: Final = ["a\nb", "a\rb", "a\0b", "a b", "a\tb", "\x7f", "é", "字", "\udc80"]
NO_URLS: Final = [
    *("x", "h:1", "//h", "ftp://h", "http://", "http:///p", "http://:1", "http://h:p", "http://h:0"),
    *("http://h:65536", "http://h:-1", "http://[::1", "http://h?q", "http://h#f", "http://n:word@h"),
    *("http://h /", "http://h\n", "http://h\t:1", "http://\0", "http://é", "\udc80"),
]


def named(name: str, value: str) -> dict[str, str]:
    """Return the environment of a whole pair with one part replaced."""
    visors = {"PEF_ULTRAVISOR_TOKEN": "ultravisor", "PEF_HYPERVISOR_TOKEN": "hypervisor"}
    return PAIR.environment | visors | {variable_of(name): value}


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("token", NO_TOKENS)
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(name: str, token: str) -> None:
    with pytest.raises(
        WrongInput, match=f"^{variable_of(name)}: no header can carry this token; "
    ) as refused:
        find_endpoints(named(name, token), NO_SECRETS)
    assert token not in str(refused.value).replace("; use visible ASCII characters without spaces", "")


@pytest.mark.parametrize("name", sorted(URLS))
@pytest.mark.parametrize("url", NO_URLS)
def test_a_url_that_no_request_can_be_sent_to_is_refused(name: str, url: str) -> None:
    with pytest.raises(WrongInput, match=f"^{variable_of(name)}: .* is no URL: ") as refused:
        find_endpoints(named(name, url), NO_SECRETS)
    assert str(refused.value).isprintable()
    assert "word" not in str(refused.value)
    with pytest.raises(WrongInput, match=f"^{option_of(name)}: .* is no URL: "):
        find_endpoints(PAIR.environment, NO_SECRETS, OF_OUTSIDERS, **{name: url})


@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_key_may_be_any_text_and_nothing_else(name: str) -> None:
    assert find_endpoints(named(name, "a key of é and 字"), NO_SECRETS) is not None
    with pytest.raises(WrongInput, match=f"^{variable_of(name)}: it is not text in UTF-8$"):
        find_endpoints(named(name, "\udc80"), NO_SECRETS)


def test_a_secret_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pef_vmm_token").write_bytes(b"\xff\xfe")
    variables = {name: value for name, value in PAIR.environment.items() if name != "PEF_VMM_TOKEN"}
    with pytest.raises(WrongInput, match=r"^PEF_VMM_TOKEN: no header"):
        find_endpoints(variables, tmp_path)


ANY_URL: Final = st.one_of(
    st.text(),
    st.builds(
        "{}://{}{}{}".format,
        st.sampled_from(["http", "https"]),
        st.text(max_size=6) | st.ip_addresses(v=6).map("[{}]".format) | st.ip_addresses(v=4).map(str),
        st.sampled_from(["", ":", ":80", ":65535", ":٣"]),
        st.sampled_from(["", "/", "/a/b", "/%zz"]),
    ),
)


@given(url=ANY_URL, token=st.text(min_size=1))
@example(url="http://h:1", token="!~")
def test_what_is_accepted_can_be_sent(url: str, token: str) -> None:
    """Given any text as URL and token, when it is not refused, then a request with it can be built."""
    try:
        found = find_endpoints({**named("ultravisor_url", url), "PEF_VMM_TOKEN": token}, NO_SECRETS)
    except WrongInput:
        return
    assert found is not None
    request = httpx.Request(
        "GET", found.ultravisor_url, headers={"authorization": f"Bearer {found.vmm_token}"}
    )
    assert request.headers["authorization"].isascii()
    assert request.url.host
