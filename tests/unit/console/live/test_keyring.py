"""Which tokens a console was given, by name and never by value."""

import json

from pef_console.live.keyring import Keyring
from pef_lab.endpoints import Endpoints
from pef_protocol.http import Role

WITHOUT_VMM = Endpoints("http://h:1", "http://h:2", "", "observer-secret", "guest-secret", "guest-secret-2")


def test_what_is_missing_is_named_and_no_token_is() -> None:
    keyring = Keyring.of(WITHOUT_VMM)
    assert keyring.why_not(Role.OBSERVER) == keyring.why_not(Role.GUEST) == ""
    assert keyring.why_not(Role.VMM) == "this console was not given the VMM's token (PEF_VMM_TOKEN)"
    assert [(row["role"], row["given"]) for row in keyring.shown()] == [
        ("guest", True),
        ("vmm", False),
        ("observer", True),
    ]
    assert "secret" not in json.dumps(keyring.shown())


def test_half_of_the_guests_keys_is_none() -> None:
    half = Endpoints("http://h:1", "http://h:2", "vmm", "observer", "key", "")
    assert (
        Keyring.of(half)
        .why_not(Role.GUEST)
        .endswith("(PEF_ULTRAVISOR_GUEST_KEY and PEF_HYPERVISOR_GUEST_KEY)")
    )
