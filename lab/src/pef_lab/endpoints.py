"""Where a pair of services is, and what the outside world needs to speak to it.

The lab holds what guests, the VMM and an observer hold. The tokens by which the two sides know each other are
for whoever plays one side to the other, the protocol rows and the attacks, and empty for all else. Tokens
travel by environment or by files under `/run/secrets`, never on a command line.
"""

import os
import string
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pef_lab.failures import WrongInput

SECRETS: Final = Path("/run/secrets")
PREFIX: Final = "PEF_"
VISIBLE: Final = frozenset(string.ascii_letters + string.digits + string.punctuation)
"""Characters that every header field and every URL can carry."""
_BEYOND_A_BASE: Final = frozenset("?#@")
"""Characters of the parts that no base of URLs has here: query, fragment, and a name with a password."""
URLS: Final = frozenset({"ultravisor_url", "hypervisor_url"})
KEYS: Final = frozenset({"ultravisor_guest_key", "hypervisor_guest_key"})
"""Parts of `Endpoints` that tokens are made of: they never travel, and may have any text."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Two base URLs, the tokens of VMM and observer, and the keys that guests' tokens are minted from."""

    ultravisor_url: str
    hypervisor_url: str
    vmm_token: str = field(repr=False)
    observer_token: str = field(repr=False)
    ultravisor_guest_key: str = field(repr=False)
    hypervisor_guest_key: str = field(repr=False)
    ultravisor_token: str = field(default="", repr=False)
    """By which the Hypervisor knows the Ultravisor; and the other way."""
    hypervisor_token: str = field(default="", repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """Return these endpoints as environment variables, the form that `find_endpoints` reads."""
        parts = {variable_of(part.name): getattr(self, part.name) for part in fields(self)}
        return {name: value for name, value in parts.items() if value}


OF_OUTSIDERS: Final = frozenset(part.name for part in fields(Endpoints) if part.default is MISSING)
"""The parts that it takes to be a guest, the VMM and an observer of a pair."""


def variable_of(name: str) -> str:
    """Return the environment variable of a part of `Endpoints`."""
    return PREFIX + name.upper()


def find_endpoints(
    environment: Mapping[str, str] = os.environ,
    secrets: Path = SECRETS,
    needs: frozenset[str] = OF_OUTSIDERS,
    **given: str | None,
) -> Endpoints | None:
    """Return the pair that is named by arguments, environment or secret files; None where none is.

    A pair is named as soon as one of its URLs is. Raise WrongInput where a part that it `needs` is missing,
    or where a part can't be sent: what no header can carry is no token, and a URL is one of HTTP.
    """
    found = {
        part.name: given.get(part.name) or _look_up(part.name, environment, secrets)
        for part in fields(Endpoints)
    }
    if not (found["ultravisor_url"] or found["hypervisor_url"]):
        return None
    missing = [variable_of(name) for name, value in found.items() if name in needs and not value]
    if missing:
        raise WrongInput(f"a running pair is named, but not all that it takes: set {', '.join(missing)}")
    for name, value in found.items():
        if value:
            _check(name, value, option_of(name) if given.get(name) else variable_of(name))
    return Endpoints(**{name: value or "" for name, value in found.items()})


def option_of(name: str) -> str:
    """Return the option by which a part of `Endpoints` is given."""
    return f"--{name.replace('_', '-')}"


def check_url(url: str, what: str) -> None:
    """Raise WrongInput, which names `what`, where no request can be sent to `url`."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not VISIBLE.issuperset(url) or not _BEYOND_A_BASE.isdisjoint(url):
        shown = "this" if "@" in url else repr(url)  # Trust: what stands before @ may be a password
        raise WrongInput(
            f"{what}: {shown} is no URL: write http://HOST:PORT, in visible ASCII characters without spaces"
        )


def _check(name: str, value: str, what: str) -> None:
    """Raise WrongInput where a part can't be used. A token or a key is never repeated in it."""
    if name in URLS:
        check_url(value, what)
    elif name in KEYS:
        if not _is_text(value):
            raise WrongInput(f"{what}: it is not text in UTF-8")
    elif not VISIBLE.issuperset(value):
        raise WrongInput(
            f"{what}: no header can carry this token; use visible ASCII characters without spaces"
        )


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _look_up(name: str, environment: Mapping[str, str], secrets: Path) -> str | None:
    value = environment.get(variable_of(name))
    if value:
        return value
    secret = secrets / variable_of(name).lower()
    return secret.read_text(encoding="utf-8", errors="surrogateescape").strip() if secret.is_file() else None
