"""What is done once, before any service with a mutant in it is forked off: imports, and what building leaves.

Imported by the process that forks; no thread and no event loop may begin here.
"""

import gc
from typing import Any, Final

import pef_mutants.all_mutants  # noqa: F401 - with both services
from pef_hypervisor import app as hypervisor
from pef_kit.runtime.settings import GIBIBYTE
from pef_ultravisor import app as ultravisor

ROLES: Final = ("hypervisor_token", "ultravisor_token", "observer_token", "vmm_token", "guest_key")
NOT_FOUND: Final[dict[str, Any]] = {
    "peer_url": "http://127.0.0.1:9",
    "normal_memory_size": GIBIBYTE,
    **{role: f"the-{role}-of-nobody" for role in ROLES},
}

# Building makes models and their schemas, which the libraries keep.
ultravisor.build(ultravisor.UltravisorSettings.model_validate(NOT_FOUND))
hypervisor.build(hypervisor.Settings.model_validate(NOT_FOUND))
gc.collect()
gc.freeze()
