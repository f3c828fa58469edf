"""What an operator reads of a pair that runs: its log, its version, its gauges, its health."""

import json
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.live import LivePair, LivePlan, live_pair
from harness.live_vm import FREE, live_vm
from limits.services import alone, everything, request
from pef_lab.service_process import ServiceProcess
from pef_protocol.events import EventKind, EventPhase
from pef_protocol.http import VERSION_PATH
from pef_protocol.states import HvVmState, UvVmState
from pef_protocol.version import VERSION

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

SIDES: Final = ("ultravisor", "hypervisor")
UPLOADS: Final = {
    "ultravisor": ("/v1/hello", "HYPERVISOR"),
    "hypervisor": ("/v1/guest/store?gpa=0", ""),
}
"""What may be sent to a side without an epoch, and the role that sends it; none: a guest."""
HEALTH: Final = ("/", "/livez", "/readyz", VERSION_PATH)


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair."""
    async with live_pair(LivePlan(between=False)) as running:
        yield running


def url_of(pair: LivePair, side: str) -> str:
    """Return where a side answers."""
    return pair.endpoints.ultravisor_url if side == "ultravisor" else pair.endpoints.hypervisor_url


def lines_of(process: ServiceProcess) -> list[dict[str, Any]]:
    """Return the lines of a service that has ended; all of them are JSON."""
    return [json.loads(line) for line in process.log.read_text(encoding="utf-8").splitlines()]


async def test_a_line_per_call_says_what_the_trace_says() -> None:
    """Given a pair that logs JSON.

    When a VM becomes secure, is written to and read, and both services have stopped,
    then the log has one line for the end of each call and operation in the trace, with the same fields, in
    the same order; none for a load or a store, and nothing else.
    """
    async with live_pair(LivePlan(between=False, variables=(("PEF_LOG", "json"),))) as pair:
        async with live_vm(pair) as vm:
            await vm.boot()
            await vm.write(FREE)
            await vm.reads_what_it_wrote()
        events = await pair.watch.fresh_events()
        processes = (pair.ultravisor, pair.hypervisor)
        for process in processes:
            process.ask_to_stop()
        for process in processes:
            process.stop()
        for process in processes:
            side = process.name.lower()
            ends = [e for e in events if e["side"] == side and e["phase"] == EventPhase.END]
            wanted = [
                (e["number"], f"{e['name']} {e['code']}", e["call_id"], e["caller"], e["arguments"])
                for e in ends
                if e["kind"] != EventKind.ACCESS
            ]
            lines = lines_of(process)
            said = [(x["number"], x["message"], x["call_id"], x["caller"], x["arguments"]) for x in lines]
            assert said == wanted
            assert {x["side"] for x in lines} == {side}
            text = process.log.read_text(encoding="utf-8")
            assert not [name for name, token in pair.tokens.items() if token in text]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_a_client_that_leaves_is_one_line(side: str, chunked: bool) -> None:
    """Given a service that logs nothing but what goes wrong.

    When a client leaves in the middle of a body,
    then the service says so in one line, and still serves.
    """
    async with alone(side, PEF_READ_TIMEOUT="30") as service:
        path, role = UPLOADS[side]
        token = service.tokens[role] if role else service.guest_token()
        head = request(path, token, 100)
        body = bytes(50)
        if chunked:
            head = head.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")
            body = b"64\r\n" + body
        with closing(service.connect()) as connection:
            connection.sendall(head + body)
            async with httpx.AsyncClient(trust_env=False) as client:  # all of it is read by then
                assert (await client.get(f"http://127.0.0.1:{service.port}/livez")).is_success
        service.process.stop()
        (line,) = service.process.log.read_text(encoding="utf-8").splitlines()
        assert "a client left" in line
        assert f"POST {path.partition('?')[0]}" in line
        assert token not in line


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("path", HEALTH)
async def test_health_answers_head_as_it_answers_get(pair: LivePair, side: str, path: str) -> None:
    async with httpx.AsyncClient(trust_env=False, base_url=url_of(pair, side)) as client:
        got, head = await client.get(path), await client.head(path)
    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    assert head.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize("side", SIDES)
async def test_health_answers_head_without_an_epoch_as_it_answers_get(side: str) -> None:
    async with (
        alone(side) as service,
        httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{service.port}") as client,
    ):
        assert [(await client.head(path)).status_code for path in HEALTH] == [200, 200, 503, 200]
        with closing(service.connect()) as connection:
            connection.sendall(b"HEAD /readyz HTTP/1.1\r\nHost: visor\r\nConnection: close\r\n\r\n")
            head, _, body = everything(connection).partition(b"\r\n\r\n")
        assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 503 Service Unavailable", b"")


@pytest.mark.parametrize("side", SIDES)
async def test_a_side_says_its_version(pair: LivePair, side: str) -> None:
    async with httpx.AsyncClient(trust_env=False, base_url=url_of(pair, side)) as client:
        assert (await client.get(VERSION_PATH)).json() == {"side": side, "version": VERSION}


async def measured(pair: LivePair, number: int) -> dict[tuple[str, str], float]:
    """Return the metrics of a side, by name and state; each has a type and a help text."""
    text = (await pair.observers[number].ask("GET", "/metrics")).text
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("pef_"), family.name
        assert family.documentation, family.name
        assert family.type in {"counter", "gauge", "histogram"}, family.name
        for sample in family.samples:
            found[sample.name, sample.labels.get("state", "")] = sample.value
            if sample.name == "pef_build_info":
                assert sample.labels["side"] == SIDES[number]
                assert sample.labels["version"] == VERSION
    assert found["pef_build_info", ""] == 1
    return found


def of_vms(found: dict[tuple[str, str], float]) -> dict[str, float]:
    """Return the number of VMs by state, as they are measured."""
    return {state: number for (name, state), number in found.items() if name == "pef_vms"}


async def test_gauges_follow_what_happens(pair: LivePair) -> None:
    """Given a pair without a VM.

    When a VM is created, becomes secure, and is destroyed,
    then each side's gauges say in which state it is, and both count the same resident pages.
    """
    all_states = ({state.name for state in UvVmState}, {state.name for state in HvVmState})

    async def by_state(number: int) -> dict[str, float]:
        found = of_vms(await measured(pair, number))
        assert found.keys() == all_states[number]
        return {state: count for state, count in found.items() if count}

    async def resident() -> list[float]:
        return [(await measured(pair, number))["pef_resident_pages", ""] for number in (0, 1)]

    assert [await by_state(number) for number in (0, 1)] == [{}, {}]
    async with live_vm(pair) as vm:
        assert [await by_state(number) for number in (0, 1)] == [{}, {"NORMAL": 1}]
        await vm.boot()
        assert [await by_state(number) for number in (0, 1)] == [{"SECURE": 1}, {"SECURE": 1}]
        ultravisors, hypervisors = await resident()
        assert ultravisors == hypervisors > 0
        await vm.page_out(FREE)
        assert await resident() == [ultravisors - 1] * 2
    assert [await by_state(number) for number in (0, 1)] == [{}, {}]
    assert await resident() == [0, 0]
