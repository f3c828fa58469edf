"""The spans of a live pair: one tree over both services, which says nothing that only a guest may know."""

import pytest

from harness.live import LivePlan, live_pair
from harness.live_vm import FREE, live_vm
from harness.loopback import unused_url
from harness.otlp_receiver import otlp_receiver
from pef_protocol.events import EventKind, EventPhase

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

HOSTILE = {
    "OTEL_SDK_DISABLED": "true",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "planted=header",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "never",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "none",
    "OTEL_RESOURCE_ATTRIBUTES": "planted=resource",
    "OTEL_SERVICE_NAME": "planted",
    "OTEL_TRACES_SAMPLER": "always_off",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER": "planted",
    "HTTP_PROXY": "http://127.0.0.1:1",
}


async def test_a_uv_esm_is_one_tree_over_both_services() -> None:
    """One UV_ESM is one trace, as the services recorded its calls; no secret is in the bytes.

    Given a pair that exports spans, under variables of the library that say otherwise
    When a VM becomes secure, and its guest stores and loads
    Then there is one trace of UV_ESM, with the parents that the events name, and no span of an access.
    """
    async with otlp_receiver() as receiver:
        variables = (("PEF_OTLP_ENDPOINT", receiver.url), *HOSTILE.items())
        async with live_pair(LivePlan(between=False, variables=variables)) as pair:
            async with live_vm(pair, disk_key=b"planted-disk-key" * 6) as vm:
                await pair.watch.fresh_events()
                await vm.boot()
                events = await pair.watch.fresh_events()
                await vm.write(FREE)
                await vm.reads_what_it_wrote()
                planted = [*vm.wrote.values(), b"planted"]
            planted += [token.encode() for token in pair.tokens.values()]
            for process in (pair.ultravisor, pair.hypervisor):
                process.ask_to_stop()
            for process in (pair.ultravisor, pair.hypervisor):
                process.stop()
        spans, sent = receiver.spans, b"".join(receiver.bodies) + repr(receiver.headers).encode()
    calls = [e for e in events if e["kind"] == EventKind.CALL and e["phase"] == EventPhase.END]
    (root,) = [call for call in calls if call["name"] == "UV_ESM"]
    (trace,) = {span.trace for span in spans if span.name == "UV_ESM"}
    tree = [span for span in spans if span.trace == trace]
    recorded = {root["call_id"]}
    while more := {c["call_id"] for c in calls if c["parent_id"] in recorded} - recorded:
        recorded |= more
    found = {(span.span, span.parent, span.name, span.service) for span in tree}
    assert found == {
        (call["call_id"], call["parent_id"], call["name"], f"pef-{call['side']}")
        for call in calls
        if call["call_id"] in recorded
    }
    assert len(tree) == len(found)
    assert {"H_SVM_INIT_START", "H_SVM_PAGE_IN", "UV_PAGE_IN"} <= {span.name for span in tree}
    by_name = {span.name: span.attributes for span in tree}
    assert by_name["UV_ESM"] == {"pef.call": "UV_ESM", "pef.lpid": vm.lpid, "pef.design": "tracked"}
    assert by_name["UV_PAGE_IN"]["pef.code"] == "U_SUCCESS"
    assert not {span.name for span in spans if span.service == "pef-ultravisor"} & {"load", "store"}
    assert not [secret for secret in planted if secret in sent or secret[:64] in sent]


@pytest.mark.parametrize("status", [500, 0])
async def test_a_receiver_that_fails_changes_no_call(status: int) -> None:
    """Given a receiver that answers 500, or none, a VM becomes secure, and both services stop silently."""
    async with otlp_receiver(status or 200) as receiver:
        url = receiver.url if status else unused_url()
        plan = LivePlan(between=False, variables=(("PEF_OTLP_ENDPOINT", url),))
        async with live_pair(plan) as pair:
            async with live_vm(pair) as vm:
                await vm.boot()
            for side in pair.observers:
                assert "pef_spans_total" in (await side.ask("GET", "/metrics")).text
            for process in (pair.ultravisor, pair.hypervisor):
                process.ask_to_stop()
                process.stop()
                assert process.last_words() == ""
