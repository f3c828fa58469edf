"""A live session is opened on a pair of its own or on a running one, or says in one line why not."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from harness.live_session import SECURE_MEMORY, UNUSED, lent, session
from pef_console.live.opening import LiveSettings, LiveSystem, open_live
from pef_console.live.pairs import SessionPair
from pef_console.stage import HasMap, HoldsMessages, Move, NotPossible, Stage, StageKind
from pef_lab.between.wire import Ports
from pef_lab.endpoints import Endpoints
from pef_lab.failures import WrongInput
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.pair import PairPlan, started
from pef_lab.ports import free_ports
from pef_lab.service_process import LIVE
from pef_lab.vmm import Vmm

pytestmark = [pytest.mark.anyio]
NOBODY = Endpoints("http://127.0.0.1:9", "http://127.0.0.1:9", "", "", "", "")


def publish(kind: str, content: object) -> None:
    """Send what nobody follows."""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"memory": 1000}, "memory: whole pages of 65536 bytes, from 16777216"),
        ({"memory": 1 << 50}, "memory: whole pages"),
        ({"secure_memory": 1 << 50}, "secure_memory: whole pages"),
        ({"lpid": 1}, "lpid: a VM is watched on a running pair"),
    ],
)
async def test_a_system_that_cannot_be_is_one_line(given: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongInput, match=says):
        await open_live("tracked", LiveSystem(**given), LiveSettings(), publish)


async def test_a_design_that_nobody_knows_is_wrong_input() -> None:
    with pytest.raises(WrongInput, match="no such design; there are"):
        await open_live("perfect", LiveSystem(), LiveSettings(), publish)


async def test_a_missing_token_is_named_and_nothing_is_asked() -> None:
    for system, reason in (
        (LiveSystem(), r"a VM can't be created: .* \(PEF_OBSERVER_TOKEN\)"),
        (LiveSystem(lpid=1), r"nothing can be seen: .* \(PEF_OBSERVER_TOKEN\)"),
    ):
        with pytest.raises(NotPossible, match=reason):
            await open_live("tracked", system, LiveSettings(NOBODY), publish)
    without_vmm = replace(NOBODY, observer_token="observer")
    with pytest.raises(NotPossible, match=r"the VMM's token \(PEF_VMM_TOKEN\)"):
        await open_live("tracked", LiveSystem(), LiveSettings(without_vmm), publish)


async def test_a_pair_that_does_not_answer_is_one_line() -> None:
    there = Endpoints("http://127.0.0.1:9", "http://127.0.0.1:9", "vmm", "observer", "key", "key")
    for system in (LiveSystem(), LiveSystem(lpid=1)):
        with pytest.raises(NotPossible, match="Connection refused"):
            await open_live("tracked", system, LiveSettings(there), publish)


@pytest.mark.sockets
async def test_a_vm_of_others_is_watched_with_the_observers_token_alone(pair: SessionPair) -> None:
    """Given another session's VM and the observer's token, then its tables are seen, and no more."""
    async with session(lent(pair)) as live:
        await live.boot()
        lpid = live.frame["system"]["lpid"]
        observing = replace(pair.endpoints, vmm_token="", ultravisor_guest_key="", hypervisor_guest_key="")
        stage = await open_live("broken", LiveSystem(lpid=lpid), LiveSettings(observing), publish)
        try:
            frame = stage.frame()
            assert frame["design"] == "tracked"
            assert not frame["system"]["holds"]
            assert frame["vm"]["ultravisor"] == "SECURE"
            assert (frame["moves"], {row["joint"] for row in frame["gfns"]}) == ([], {"agrees"})
            assert [row["given"] for row in frame["keyring"]] == [False, False, True]
            with pytest.raises(NotPossible, match=f"only watches VM {lpid}"):
                await stage.move(Move(actor="guest 0", action="load", gfn=UNUSED))
            view = await stage.observe(UNUSED)
            assert "PEF_ULTRAVISOR_GUEST_KEY" in view["guest"]["why"]
            assert "PEF_VMM_TOKEN" in view["host"]["why"]
            assert view["guest"]["bytes_hex"] == view["host"]["bytes_hex"] == ""
            assert isinstance(stage, HasMap)
            octets = (await stage.map(16)).octets
            assert octets == (await live.stage.map(16)).octets
        finally:
            await stage.close()
        assert live.frame["vm"]["ultravisor"] == "SECURE"


@pytest.fixture(scope="module")
async def wire() -> AsyncIterator[LiveSettings]:
    """Start a pair whose services call each other at two ports at which nobody listens yet."""
    ultravisor, hypervisor = free_ports(2)
    plan = PairPlan(
        SECURE_MEMORY,
        NormalMemoryForm.HTTP,
        ultravisor_called_at=f"http://127.0.0.1:{ultravisor}",
        hypervisor_called_at=f"http://127.0.0.1:{hypervisor}",
        until=LIVE,
    )
    async with started(plan) as running:
        yield LiveSettings(running.endpoints, Ports(running.endpoints, ultravisor, hypervisor))


@pytest.mark.sockets
async def test_a_session_stands_between_the_services_of_a_running_pair(wire: LiveSettings) -> None:
    """Given a running pair and its two ports, then messages are held, and no second session gets the wire."""
    stage: Stage = await open_live("tracked", LiveSystem(), wire, publish)
    try:
        assert stage.kind is StageKind.LIVE
        assert isinstance(stage, HoldsMessages)
        await stage.move(Move(actor="guest 0", action="UV_ESM"))
        assert stage.frame()["system"]["holds"]
        (call,) = stage.frame()["calls"]
        assert call["held"]["message"] == "H_SVM_INIT_START"
        with pytest.raises(WrongInput, match="address already in use"):
            await open_live("tracked", LiveSystem(), wire, publish)
    finally:
        await stage.close()
    assert wire.endpoints is not None
    async with Vmm(wire.endpoints) as vmm:
        assert await vmm.list() == []
