"""What each service is told when it is started here, and the ports that it is started on.

Every token is random and fresh, and travels by the process's environment. Each side has its own key for
guests. Both have the designs from outside that `PEF_DESIGNS` names here.
"""

import os
import secrets
from typing import Final

from pef_kit.core.designs import NAMED_BY
from pef_lab.endpoints import Endpoints
from pef_lab.ports import LOOPBACK, free_ports
from pef_protocol.quantities import pages_in

ULTRAVISOR_SCRIPT: Final = "pef-ultravisor"
HYPERVISOR_SCRIPT: Final = "pef-hypervisor"


def fresh_endpoints(ultravisor_port: int = 0, hypervisor_port: int = 0) -> Endpoints:
    """Return two loopback ports, as URLs, and all tokens and keys, fresh; port 0 is any that is free."""
    some, other = free_ports(2)
    ultravisor, hypervisor = ultravisor_port or some, hypervisor_port or other
    tokens = {
        part: secrets.token_hex(32)
        for part in (
            "vmm_token",
            "observer_token",
            "ultravisor_guest_key",
            "hypervisor_guest_key",
            "ultravisor_token",
            "hypervisor_token",
        )
    }
    return Endpoints(f"http://{LOOPBACK}:{ultravisor}", f"http://{LOOPBACK}:{hypervisor}", **tokens)


def ultravisor_environment(
    endpoints: Endpoints,
    *,
    peer_url: str,
    normal_memory: str,
    secure_memory: int,
    gfns_a_message: int = 0,
    machine_key: str = "",
) -> dict[str, str]:
    """Return the environment of the Ultravisor of `endpoints`; memory in bytes, normal memory as its file."""
    return _common_environment(endpoints, endpoints.ultravisor_url, peer_url, normal_memory) | {
        "PEF_SECURE_MEMORY": str(secure_memory),
        "PEF_GFNS_A_MESSAGE": str(gfns_a_message),
        "PEF_GUEST_KEY": endpoints.ultravisor_guest_key,
        **({"PEF_MACHINE_KEY": machine_key} if machine_key else {}),
    }


def hypervisor_environment(
    endpoints: Endpoints, *, peer_url: str, normal_memory: str, secure_memory: int
) -> dict[str, str]:
    """Return the environment of the Hypervisor of `endpoints`; memory in bytes, normal memory as its file."""
    return _common_environment(endpoints, endpoints.hypervisor_url, peer_url, normal_memory) | {
        "PEF_GUEST_KEY": endpoints.hypervisor_guest_key,
        "PEF_VMM_TOKEN": endpoints.vmm_token,
        "PEF_DEVICE_PAGES": str(pages_in(secure_memory)),
    }


def _common_environment(endpoints: Endpoints, url: str, peer_url: str, normal_memory: str) -> dict[str, str]:
    return {
        "PEF_HOST": LOOPBACK,
        "PEF_PORT": url.rpartition(":")[2],
        "PEF_PEER_URL": peer_url,
        "PEF_NORMAL_MEMORY": normal_memory,
        "PEF_ULTRAVISOR_TOKEN": endpoints.ultravisor_token,
        "PEF_HYPERVISOR_TOKEN": endpoints.hypervisor_token,
        "PEF_OBSERVER_TOKEN": endpoints.observer_token,
        NAMED_BY: os.environ.get(NAMED_BY, ""),
    }
