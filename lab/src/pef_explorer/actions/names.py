"""The names of all actions, in the search, in the simulation and in their files."""

from enum import StrEnum


class ActionName(StrEnum):
    """What an actor does."""

    LOAD = "load"
    STORE = "store"
    SHARE = "share"
    UNSHARE = "unshare"
    UNSHARE_ALL = "unshare all"
    ESM = "UV_ESM"
    BAD_ESM = "UV_ESM with a bad image"
    REBOOT = "reboot"
    HOST_READ = "host read"
    HOST_WRITE = "host write"
    HOT_ADD = "hot-add"
    HOT_REMOVE = "hot-remove"
    RESET = "reset"
    CREATE = "create"
    REPLACE = "destroy + create"
    PAGE_OUT = "page out"
    UNMAP = "unmap"


class ExtraActionName(StrEnum):
    """What an actor does in a search in which that is switched on."""

    SHARE_TWO = "share two"
    UNSHARE_TWO = "unshare two"
    KEEP = "keep ciphertext"
    WRITE_KEPT = "write kept ciphertext"
