"""Keeping a pair up for others to speak to, and asking a machine for its public key."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from rich.console import Console

from pef_lab import standing
from pef_lab.endpoint import Endpoint
from pef_lab.endpoints import check_url, find_endpoints, option_of
from pef_lab.failures import Unanswered, WrongInput
from pef_lab.pair import Pair, PairPlan, started
from pef_lab.progress import waiting
from pef_lab.sizes import show_size
from pef_lab.watch import machine_key_of

WARNING: Final = (
    "For tests only: the file also holds the tokens of both visors. Whoever has them can play the Hypervisor"
    " to the Ultravisor, and the Ultravisor to the Hypervisor."
)
GLANCE: Final = 0.5
"""Seconds between looks at whether both processes are alive."""


async def keep_up(plan: PairPlan, console: Console, *, for_tests: bool = False) -> None:
    """Start a pair and keep it until cancelled; raise Unanswered where a service ends by itself.

    `for_tests`: the tokens by which the two sides know each other are written too.
    """
    path = standing.standing_file()
    with standing.standing(path):
        plan = replace(plan, machine_key=standing.kept_machine_key(path.parent))
        async with AsyncExitStack() as stack:
            with waiting(console, "starting both services"):
                pair = await stack.enter_async_context(started(plan))
            visors = {f"{role}_token": token for role, token in pair.visor_tokens.items()}
            endpoints = replace(pair.endpoints, **visors) if for_tests else pair.endpoints
            standing.write(path, endpoints.environment)
            _tell(plan, pair, str(path), console)
            if for_tests:
                console.print(WARNING, style="bold yellow", markup=False, soft_wrap=True)
            while (ended := pair.ended) is None:  # noqa: ASYNC110 - a process that ends sets no event
                await asyncio.sleep(GLANCE)
            raise Unanswered(f"the {ended.name}", f"it ended; its last words:\n{ended.last_words()}")


def _tell(plan: PairPlan, pair: Pair, path: str, console: Console) -> None:
    lines = (
        f"Ultravisor   {pair.endpoints.ultravisor_url}   process {pair.ultravisor.pid},"
        f" {show_size(plan.secure_memory)} of secure memory",
        f"Hypervisor   {pair.endpoints.hypervisor_url}   process {pair.hypervisor.pid},"
        f" normal memory {pair.normal_memory or 'over HTTP'}",
        "",
        f"Tokens are kept in {path}, for you alone. Try:",
        "",
        f"  . {path}",
        '  curl "$PEF_ULTRAVISOR_URL/v1/machine-key"',
        '  curl -H "Authorization: Bearer $PEF_OBSERVER_TOKEN" "$PEF_HYPERVISOR_URL/v1/observer/vms"',
        '  curl -H "Authorization: Bearer $PEF_VMM_TOKEN" -H "Content-Type: application/json" \\',
        """    -d '{"design":"tracked","secure_guest":true,"radix":true}' \\""",
        '    "$PEF_HYPERVISOR_URL/v1/vmm/vms"',
        "  pef token guest 1 --endpoint hypervisor",
        "",
        "With these variables set, `pef designs` runs on this pair. Ctrl-C or `pef down` stops it.",
    )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    console.file.flush()


async def machine_key_at(ultravisor_url: str | None) -> bytes:
    """Return the public key of the machine at a URL, or of the pair that is known, if any is."""
    if ultravisor_url is None:
        endpoints = find_endpoints()
        if endpoints is None:
            raise WrongInput("whose image? Give --machine-key HEX or --ultravisor-url URL")
        ultravisor_url = endpoints.ultravisor_url
    check_url(ultravisor_url, option_of("ultravisor_url"))
    async with Endpoint("Ultravisor", ultravisor_url, "") as endpoint:
        return await machine_key_of(endpoint)
