"""Page views: each by its role's own request; and no plaintext of a secure page, nor any token, elsewhere."""

import json
import logging
from dataclasses import fields

import numpy as np
import pytest

from harness.live_session import UNUSED, SteppedSession, lent, session
from pef_console.live.columns import NOTHING, Columns, Extent
from pef_console.live.page_view import changes, word_for
from pef_console.live.pairs import SessionPair
from pef_console.stage import NotPossible
from pef_lab.guest import World
from pef_lab.replay.stage import TOKEN_AT
from pef_protocol.designs import Design
from pef_protocol.quantities import gpa_of

pytestmark = [pytest.mark.anyio]
CANARY = b"what the guest keeps to itself: 0f3b9d"


def columns(*states: tuple[int, int]) -> Columns:
    """Return the columns of a VM with these pairs of states."""
    own, theirs = zip(*states, strict=True)
    octets = np.array(own, np.uint8), np.array(theirs, np.uint8)
    return Columns((Extent(40, len(states)),), *octets, Design.TRACKED, settled=True)


def test_what_looking_changed_is_said_of_each_gfn() -> None:
    before, after = columns((1, 0), (1, 0), (0, NOTHING)), columns((1, 0), (2, 1), (0, NOTHING))
    assert changes(before, after) == ["GFN 41: Hypervisor SECURE -> PAGED_OUT, Ultravisor SECURE -> PAGEDOUT"]
    assert changes(before, before) == []
    many = changes(columns(*[(1, 0)] * 20), columns(*[(2, 1)] * 20))
    assert (len(many), many[-1]) == (9, "and 12 more GFNs")


def test_bytes_of_which_nobody_knows_who_wrote_them_have_a_word() -> None:
    assert (word_for(bytes(8)), word_for(b"12345678")) == ("zero", "other")


async def exported(live: SteppedSession) -> str:
    """Return all files that a session can be exported as."""
    texts = []
    for kind in ("json", "curl", "mermaid", "counterexample"):
        try:
            texts.append((await live.stage.export(kind)).text)
        except NotPossible as refusal:
            texts.append(str(refusal))
    return "\n".join(texts)


@pytest.mark.sockets
async def test_no_plaintext_of_a_secure_page_and_no_token_is_shown(
    pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    """Given a secret in a secure page, when all is shown, then the guest's own view alone has it."""
    caplog.set_level(logging.DEBUG)
    async with session(lent(pair)) as live:
        await live.boot()
        await live.move("guest 0", "store", UNUSED)
        vm = live.stage.own_vm()
        guest = vm.small.guests[0]
        guest.world = World.SECURE
        await guest.store(gpa_of(UNUSED) + TOKEN_AT + 64, CANARY)
        first = await live.stage.observe(UNUSED)
        await live.move("guest 0", "load", UNUSED)
        await live.settle()
        await live.move("memory", "page out", UNUSED)
        while not live.frame["quiescent"]:
            await live.release("deliver")
        second = await live.stage.observe(UNUSED)
        shown = json.dumps([live.frames, live.published, first["host"], second["host"], first["changed"]])
        shown += await exported(live) + caplog.text
        octets = (await live.stage.map(256)).octets
    assert CANARY.hex() in first["guest"]["bytes_hex"]
    assert CANARY.hex() in second["guest"]["bytes_hex"]
    for form in (CANARY.decode(), CANARY.hex(), CANARY.hex().upper()):
        assert form not in shown
    assert CANARY not in octets
    secrets = [
        getattr(pair.endpoints, part.name) for part in fields(pair.endpoints) if "url" not in part.name
    ]
    assert all(len(each) >= 32 for each in secrets if each)
    assert not [each for each in secrets if each and each in shown]
    assert "PEF_VMM_TOKEN" in shown
