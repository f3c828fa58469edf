"""Messages that come late, again, or with a forged fence, and hellos: attacks 48, 49, 56, 57 and 59."""

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

import httpx
from aiohttp import web

from pef_kit.runtime.messages import encode_call
from pef_lab.between.fault_injections import forgotten
from pef_lab.between.passing import Passing
from pef_lab.between.script import honest
from pef_lab.hostile.attack import Attack
from pef_lab.hostile.requests import NAMES, NOBODY, hypervisor_only, page_out
from pef_lab.hostile.trial import Trial
from pef_lab.hostile.victim import FREE
from pef_protocol.auth import mint_guest_token
from pef_protocol.calls import CALLS, HYPERCALLS
from pef_protocol.events import Side
from pef_protocol.http import EPOCH, EPOCH_PATH, FINGERPRINT, HELLO_PATH, SLOT, Role
from pef_protocol.identity import Epoch
from pef_protocol.quantities import gpa_of
from pef_protocol.ultracalls import SvmTerminate

ONE, TWO = FREE, FREE + 1
ANSWERED_IN: Final = 30.0
"""Seconds that a request may take."""
SESSION: Final = "hostile"
SESSIONS: Final = 8
"""Sessions that an epoch may have."""
MOST_NUMBERS: Final = 1000
KEPT: Final = "refused, or the first answer"


async def late_messages(at: Trial) -> None:
    """Keep every message of a VM's life, and deliver each again when a later VM lives in its place."""
    passed: list[Passing] = []

    async def keep(passing: Passing) -> web.StreamResponse:
        passed.append(passing)
        return await honest(passing)

    for name in (*hypervisor_only(0, 0, 0), *(call.name for call in HYPERCALLS)):
        for between in (at.ground.to_ultravisor, at.ground.to_hypervisor):
            between.always(name, keep)
    async with at.svm() as vm:
        await vm.write(ONE)
        await at.paged_out(vm, ONE)
        await at.guest_finds(vm)
        await vm.guest.share(TWO)
    for between in (at.ground.to_ultravisor, at.ground.to_hypervisor):
        between.honest_again()
    async with at.svm() as later:
        await later.write(ONE)
        before = await at.ground.digests()
        codes = [(passing.name, await passing.forward()) for passing in passed]
        for name, answer in codes:
            is_kept = answer.status in {httpx.codes.OK, httpx.codes.CONFLICT, httpx.codes.BAD_REQUEST}
            at.answered(f"{name}, late", KEPT if is_kept else f"HTTP {answer.status}", KEPT)
        await at.digests_are(before)
        await at.guest_finds(later)
    at.saw("messages that came late", "some" if codes else "none", "some")


async def overtaken_message(at: Trial) -> None:
    """Have a UV_PAGE_OUT and a UV_SVM_TERMINATE come after the next call of their slot."""
    async with at.svm() as vm:
        await vm.write(ONE)
        first = await _next_number(at)
        requests = (page_out(vm.lpid, ONE, at.ground.spare()), SvmTerminate(vm.lpid))
        harmless = SvmTerminate(NOBODY)
        for number in (first, first + 1):
            await _fenced(at, harmless, number)
        before = await at.ground.digests()
        for request in requests:
            response = await _fenced(at, request, first)
            at.answered(f"{NAMES[type(request)]}, late", f"HTTP {response.status_code}", "HTTP 409")
        await at.digests_are(before)
        await at.guest_finds(vm)


async def lost_answers(at: Trial) -> None:
    """Lose the first answer to every ultracall of a VM's life."""
    for name in hypervisor_only(0, 0, 0):
        at.ground.to_ultravisor.answers(name, *[forgotten, honest] * 20)
    async with at.svm() as vm:
        for gfn in (ONE, TWO):
            await vm.write(gfn)
        await at.paged_out(vm, ONE)
        await at.guest_finds(vm)
        await vm.guest.share(TWO)
        vm.wrote.pop(TWO)
        await at.ground.vmm.unmap(vm.lpid, gpa_of(TWO), 1)
        await at.guest_reads_zero(vm, TWO)
        await at.guest_finds(vm)
        await at.ground.vmm.reset(vm.lpid)
        states = {await vm.state(side) for side in Side}
        at.saw("the VM after a reset", " and ".join(sorted(states)), "NORMAL")
        await at.calls_acted_once()


async def hellos_of_the_past(at: Trial) -> None:
    """Say hello with an epoch that is over or of nobody, and repeat the one that began this epoch."""
    async with at.svm() as vm:
        await vm.write(ONE)
        now = (await _send(at, "GET", EPOCH_PATH)).json()
        epoch = Epoch.parse(now["epoch"])
        before = await at.ground.digests()
        if epoch is None or not now["owner"]:
            at.troubled("nobody owns the epoch")
            return
        stranger = secrets.token_hex(16)
        for count, instance in ((epoch.count - 1 or 2, epoch.instance), (epoch.count, stranger)):
            answer = await _hello(at, stranger, f"{instance}.{count}")
            at.answered("a hello of the past", f"HTTP {answer.status_code}", "HTTP 409")
        again = await _hello(at, now["owner"], str(epoch))
        at.answered("its owner's hello again", f"HTTP {again.status_code}", "HTTP 200")
        at.saw("the epoch", (await _send(at, "GET", EPOCH_PATH)).json()["epoch"], now["epoch"])
        await at.digests_are(before)
        await at.guest_finds(vm)


async def hellos_of_others(at: Trial) -> None:
    """Say hello as a guest, a VMM, an observer, the Ultravisor, and nobody."""
    async with at.svm() as vm:
        await vm.write(ONE)
        keys = at.ground.endpoints
        epoch = (await _send(at, "GET", EPOCH_PATH)).json()["epoch"]
        tokens = {
            "a guest": mint_guest_token(keys.ultravisor_guest_key, vm.lpid),
            "a guest of the other door": mint_guest_token(keys.hypervisor_guest_key, vm.lpid),
            "the VMM": keys.vmm_token,
            "an observer": keys.observer_token,
            "the Ultravisor": at.ground.tokens[Role.ULTRAVISOR],
            "nobody": "",
        }
        before = await at.ground.digests()
        for who, token in tokens.items():
            answer = await _hello(at, secrets.token_hex(16), epoch, token)
            at.answered(f"hello of {who}", f"HTTP {answer.status_code}", "HTTP 401", "HTTP 403")
        at.saw("the epoch", (await _send(at, "GET", EPOCH_PATH)).json()["epoch"], epoch)
        await at.digests_are(before)
        await at.guest_finds(vm)


async def forged_numbers(at: Trial) -> None:
    """Use a number for two messages, leave a gap, and open one session more than there may be."""
    async with at.svm() as vm:
        await vm.write(ONE)
        number = await _next_number(at)
        harmless = SvmTerminate(NOBODY)
        terminate = SvmTerminate(vm.lpid)
        await _fenced(at, harmless, number)
        before = await at.ground.digests()
        for what, forged in (("a used number", number), ("a gap", number + 2), ("a far gap", number + 10**9)):
            response = await _fenced(at, terminate, forged)
            at.answered(what, f"HTTP {response.status_code}", "HTTP 400")
        response = await _fenced(at, terminate, number + 1, {SLOT: f"{SESSION}.0.64.1"})
        at.answered("a slot that is none", f"HTTP {response.status_code}", "HTTP 400")
        names = [secrets.token_hex(8) for _ in range(SESSIONS)]
        statuses = [(await _fenced(at, harmless, 1, {SLOT: f"{name}.0.0.1"})).status_code for name in names]
        at.answered("one session too many", f"HTTP {statuses[-1]}", "HTTP 429")
        await at.digests_are(before)
        await at.guest_finds(vm)


# How such messages are made


async def _send(at: Trial, method: str, path: str, token: str | None = None, **form: Any) -> httpx.Response:
    """Make a request at the Ultravisor as the Hypervisor, or with another token."""
    token = at.ground.tokens[Role.HYPERVISOR] if token is None else token
    headers = form.pop("headers", {}) | ({"authorization": f"Bearer {token}"} if token else {})
    async with httpx.AsyncClient(
        base_url=at.ground.endpoints.ultravisor_url, trust_env=False, timeout=ANSWERED_IN
    ) as client:
        return await client.request(method, path, headers=headers, **form)


async def _hello(at: Trial, instance: str, epoch: str, token: str | None = None) -> httpx.Response:
    form = {"instance": instance, "epoch": epoch, "memory": None, "slots": True}
    return await _send(at, "POST", HELLO_PATH, token, content=json.dumps(form).encode())


async def _fenced(at: Trial, request: object, number: int, instead: Mapping[str, str] = {}) -> httpx.Response:
    """Make an ultracall in a session of our own."""
    form = encode_call(CALLS[NAMES[type(request)]], request)
    form["headers"] |= {
        EPOCH: at.ground.epoch,
        SLOT: f"{SESSION}.0.0.{number}",
        FINGERPRINT: secrets.token_hex(32),
        **instead,
    }
    return await _send(at, "POST", form.pop("url"), **form)


async def _next_number(at: Trial) -> int:
    """Return the next number of our session's slot: it may have carried calls before."""
    harmless = SvmTerminate(NOBODY)
    for number in range(1, MOST_NUMBERS):
        status = (await _fenced(at, harmless, number)).status_code
        if status == httpx.codes.OK:
            return number + 1
    at.troubled("no number of our session is taken")
    return MOST_NUMBERS


ATTACKS: Final = (
    Attack(48, "each message of a VM's life comes again after its end", late_messages),
    Attack(48, "UV_SVM_TERMINATE and UV_PAGE_OUT are overtaken", overtaken_message),
    Attack(49, "the first answer to every ultracall is lost", lost_answers),
    Attack(56, "hellos of an epoch that is over, or repeated", hellos_of_the_past),
    Attack(57, "hello with the tokens of others", hellos_of_others),
    Attack(59, "numbers used twice, gaps, a session too many", forged_numbers),
)
