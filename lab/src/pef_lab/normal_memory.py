"""The forms of the memory bus: how the Ultravisor reaches normal memory."""

from enum import StrEnum


class NormalMemoryForm(StrEnum):
    """How the Ultravisor reaches normal memory: a mapping that both share, or HTTP to its owner."""

    SHM = "shm"
    HTTP = "http"
