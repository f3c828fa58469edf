"""The live stage on a real pair: two services, and go-betweens on both wires."""

from contextlib import suppress
from typing import Any

import pytest

from harness.live_session import SECURE_MEMORY, UNUSED, broken, lent, row_of, session
from pef_console.live.observing import NO_VM, VmObserver
from pef_console.live.pairs import Places, SessionPair, own_pair
from pef_console.stage import NotPossible
from pef_protocol.designs import Design

pytestmark = [pytest.mark.sockets, pytest.mark.anyio]


async def test_a_boot_goes_message_by_message_and_back_by_another_vm(pair: SessionPair) -> None:
    """Given a VM, when UV_ESM goes message by message, then each is shown, and back makes it again."""
    async with session(lent(pair)) as live:
        frame = await live.move("guest 0", "UV_ESM")
        assert live.held["message"] == "H_SVM_INIT_START"
        assert (live.held["kind"], live.held["from"], live.held["to"]) == ("ask", "ultravisor", "hypervisor")
        assert frame["calls"][0]["stack"] == [{"side": "ultravisor", "call": "UV_ESM"}]
        assert not frame["quiescent"]
        await live.release("deliver")
        assert frame["parent"] == 0
        frame = await live.settle()
        assert frame["ended"] == "ends U_SUCCESS"
        assert (frame["vm"]["hypervisor"], frame["vm"]["ultravisor"]) == ("SECURE", "SECURE")
        assert {row["joint"] for row in frame["gfns"]} == {"agrees"}
        assert broken(frame) == {}
        assert frame["cost"]["hypercalls"] > 3
        codes = [arrow["code"] for arrow in frame["arrows"] if arrow["text"] == "UV_ESM"]
        assert codes[-1] == "U_SUCCESS"
        last, outcomes = frame["node"], [step.get("outcome") for step in frame["path"]]
        lpid = frame["system"]["lpid"]
        await live.stage.back()
        frame = live.frame
        assert (frame["node"], frame["nodes"]) == (last - 1, last + 1)
        assert frame["system"]["lpid"] != lpid
        assert frame["replayed"]["moves"] == last - 1
        await live.stage.forward()
        assert [step.get("outcome") for step in live.frame["path"]] == outcomes
        await live.stage.goto(1)
        assert live.held["message"] == "H_SVM_INIT_START"
        await live.stage.run("end")
        assert live.frame["node"] == last


async def test_the_host_sees_ciphertext_and_a_flipped_bit_is_refused(pair: SessionPair) -> None:
    """Given a page of the guest, when the host reads it and flips a bit, then a load is refused."""
    async with session(lent(pair)) as live:
        await live.boot()
        await live.move("guest 0", "store", UNUSED)
        view = await live.stage.observe(UNUSED)
        assert (view["guest"]["words"], view["guest"]["by"], view["guest"]["at"]) == (
            "as written",
            "guest",
            "ultravisor",
        )
        assert (view["host"]["words"], view["host"]["by"]) == ("ciphertext", "vmm")
        assert view["guest"]["bytes_hex"].startswith(b"tok00001".hex())
        assert b"tok00001".hex() not in view["host"]["bytes_hex"]
        assert view["changed"] == [
            f"GFN {UNUSED}: Hypervisor SECURE -> PAGED_OUT, Ultravisor SECURE -> PAGEDOUT"
        ]
        row = row_of(live.frame, UNUSED)
        assert (row["guest_page"], row["host_page"]) == ("as written", "ciphertext")
        await live.move("vmm", "flip a bit", UNUSED)
        await live.move("guest 0", "load", UNUSED)
        frame = await live.settle()
        assert frame["ended"] == "ends refused"
        assert broken(frame) == {}
        assert "U_P3" in {arrow["code"] for arrow in frame["arrows"]}


async def test_a_code_that_a_check_gave_says_which_check_and_why(pair: SessionPair) -> None:
    """Given a VM that is not secure, when it shares a page, then the arrow of the answer says why not."""
    async with session(lent(pair)) as live:
        frame = await live.move("guest 0", "share", UNUSED)
        answer = frame["arrows"][-1]
        assert (answer["text"], answer["code"]) == ("UV_SHARE_PAGE", "U_INVALID")
        assert answer["why"]["check"] == "secure"
        assert answer["why"]["sentence"] == "a VM that is not secure"
        assert answer["why"]["source"]


async def test_a_page_that_is_corrupted_on_the_bus_is_refused(pair: SessionPair) -> None:
    """Given ciphertext in which a bit flips on the bus, then the guest's load is refused."""
    async with session(lent(pair)) as live:
        await live.boot()
        await live.move("guest 0", "store", UNUSED)
        await live.move("memory", "page out", UNUSED)
        while live.held["kind"] != "bus":
            await live.release("deliver")
        assert live.held["actions"] == ["deliver", "lose", "corrupt"]
        await live.release("corrupt")
        await live.settle()
        assert row_of(live.frame, UNUSED)["ultravisor"] == "PAGEDOUT"
        await live.move("guest 0", "load", UNUSED)
        frame = await live.settle()
        assert frame["ended"] == "ends refused"
        assert [arrow["fault"] for arrow in frame["arrows"] if arrow["fault"]] in (["corrupted"], [])
        assert broken(frame) == {}


@pytest.mark.parametrize(
    ("action", "ends"),
    [("refuse", "ends U_"), ("busy", "ends U_"), ("repeat", "ends U_SUCCESS"), ("lose", "ends U_")],
)
async def test_what_becomes_of_a_held_request_is_what_its_sender_sees(
    pair: SessionPair, action: Any, ends: str
) -> None:
    async with session(lent(pair)) as live:
        await live.boot()
        await live.move("guest 0", "share", UNUSED)
        assert live.held["message"] == "H_SVM_PAGE_IN"
        node = live.frame["node"]
        frame = await live.release(action)
        assert frame["node"] == node + 1
        assert [arrow["fault"] for arrow in frame["arrows"] if arrow["node"] == node + 1 and arrow["fault"]]
        for _ in range(8):
            if live.frame["quiescent"]:
                break
            await live.settle()
        assert live.frame["ended"].startswith(ends)
        assert "no_plaintext_outside" not in broken(live.frame)


async def test_a_design_that_loses_a_page_is_seen_from_outside(pair: SessionPair) -> None:
    """Given `broken`, when the VM is secure, then the tables differ, and on `tracked` they agree."""
    async with session(lent(pair), Design.BROKEN) as live:
        await live.move("guest 0", "store", UNUSED)
        frame = await live.boot()
        assert "the_tables_agree" in broken(frame)
        assert frame["violated"]
        assert "differs" in {row["joint"] for row in frame["gfns"]}
        copy = await live.stage.copied(None, "tracked", lambda kind, content: None)
        try:
            assert copy.frame()["design"] == "tracked"
            assert broken(copy.frame()) == {}
            assert copy.frame()["path"][-1]["outcome"] == "ends U_SUCCESS"
        finally:
            await copy.close()


async def test_a_service_that_dies_is_said_and_the_session_can_be_left() -> None:
    """Given a held message, when the Hypervisor ends, then the frame says so, and closing stops the rest."""
    async with session(await own_pair(SECURE_MEMORY, Places())) as live:
        started = live.pair.started
        assert started is not None
        await live.move("guest 0", "UV_ESM")
        assert live.held["message"] == "H_SVM_INIT_START"
        started.hypervisor.stop()
        with suppress(NotPossible):
            await live.settle()
        assert live.frame["stopped"] == "the Hypervisor was ended by SIGTERM"
        assert all(live.frame["stopped"] in each["why_not"] for each in live.frame["moves"])
        with pytest.raises(NotPossible, match="nothing can be done any more: the Hypervisor was ended"):
            await live.move("vmm", "reset")
        with pytest.raises(NotPossible):
            await live.stage.observe(UNUSED)
        with pytest.raises(NotPossible):
            await live.stage.map(16)
    assert started.ultravisor.ended


async def test_what_is_held_fails_when_the_session_is_closed(pair: SessionPair) -> None:
    """Given a held request, when the session is closed, then nothing is held, and no VM stays."""
    async with session(lent(pair)) as live:
        await live.move("guest 0", "UV_ESM")
        lpid = live.frame["system"]["lpid"]
        assert live.held["message"] == "H_SVM_INIT_START"
    assert live.pair.traffic.held_messages == ()
    async with VmObserver(pair.endpoints, lpid) as observer:
        assert (await observer.at_hypervisor()).state == NO_VM


async def test_a_move_that_is_not_possible_changes_nothing(pair: SessionPair) -> None:
    async with session(lent(pair)) as live:
        before = live.frame
        for actor, action, gfn, reason in (
            ("guest 1", "load", UNUSED, "no actor guest 1"),
            ("guest 0", "go on", None, "nothing to go on with"),
            ("guest 0", "host read", UNUSED, "can't host read"),
            ("guest 0", "load", None, "names a GFN"),
            ("guest 0", "load", 16, "holds a part of the image"),
            ("guest 0", "load", 1 << 30, "outside the memory"),
        ):
            with pytest.raises(NotPossible, match=reason):
                await live.move(actor, action, gfn)
        with pytest.raises(NotPossible, match="no message h9"):
            await live.stage.held("h9", "deliver")
        with pytest.raises(NotPossible, match="the start"):
            await live.stage.back()
        with pytest.raises(NotPossible, match="lies in no memory slot"):
            await live.stage.observe(1 << 30)
        assert live.frame == before
        await live.move("guest 0", "UV_ESM")
        with pytest.raises(NotPossible, match="another action under way"):
            await live.move("guest 0", "load", UNUSED)
        with pytest.raises(NotPossible, match="can't be corrupted"):
            await live.move("guest 0", "go on", None, "corrupted")
