"""Secrets stay out of everything that is shown: peers, failures, answers, traces."""

import json
from typing import Any

import pytest

from harness.in_process import GUEST_KEY, TOKENS, asked, new_peer, toy_service, visitor
from pef_kit.core.effects import PeerFailure
from pef_protocol.auth import mint_guest_token
from pef_protocol.http import Role
from pef_protocol.hypercalls import SvmInitDone


def secrets_in(text: str) -> list[str]:
    """Return the secrets of the toy services that `text` shows."""
    guest = mint_guest_token(GUEST_KEY, 7)
    return [
        secret for secret in (*TOKENS.values(), GUEST_KEY, guest, guest.rpartition(".")[2]) if secret in text
    ]


async def test_a_peer_and_its_failures_show_no_token() -> None:
    async def perform(*_: object) -> Any:
        raise AssertionError

    peer = new_peer("http://127.0.0.1:1", timeout=0.2)
    service = toy_service(perform=perform)
    with pytest.raises(PeerFailure) as caught:
        await peer.call(asked("H_SVM_INIT_DONE", SvmInitDone(7)))  # type: ignore[arg-type]
    request_headers = [repr(client.headers) for client in peer._clients]
    await peer.close()
    everything = [
        peer,
        caught.value,
        caught.value.__context__,
        service,
        service.authenticator,
        *request_headers,
    ]
    assert not secrets_in("".join(repr(thing) + str(thing) for thing in everything))


async def test_no_answer_and_no_trace_shows_a_token() -> None:
    service = toy_service()
    texts: list[str] = []
    for token in (*TOKENS.values(), mint_guest_token(GUEST_KEY, 7), mint_guest_token(GUEST_KEY, 7)[:-1]):
        async with visitor(service, token) as client:
            for path in ("/v1/ultracalls/UV_ESM", "/v1/ultracalls/UV_NO", "/nowhere", "/livez"):
                response = await client.post(path, json={"kernel_base": 65536, "fdt": 8, "more": 1})
                texts += [response.text, repr(response.headers)]
            response = await client.post("/v1/ultracalls/UV_ESM", json={"kernel_base": 65536, "fdt": 8})
            texts.append(response.text)
    async with visitor(service, TOKENS[Role.OBSERVER]) as client:
        for path in ("/metrics", "/v1/observer/trace?after=0", "/openapi.json"):
            texts.append((await client.get(path)).text)
    texts.append(json.dumps(service.observer.since(0)))
    assert len(service.observer.since(0)) == 2 * (len(TOKENS) + 1)
    assert not secrets_in("".join(texts))
