"""Starts the Ultravisor in a process whose memory is nobody else's, and keeps nothing that was freed.

What a guest stores passes through many buffers on its way to a frame: of the connection, of the parser, of
Python, of the libraries. None of their owners zeroes what it frees, so the allocator does: glibc fills each
freed block, gives large ones back to the kernel, and Python asks it for small objects, too. A process has
these settings from its first instruction on. So this module, which imports nothing large, has the program
start once more with them, and with no variable that is not a setting.

Source: mallopt(3), M_PERTURB; GNU C Library manual, "Memory Allocation Tunables"; Python, PYTHONMALLOC;
prctl(2), PR_SET_DUMPABLE; getrlimit(2), RLIMIT_CORE.
"""

import ctypes
import os
import resource
import sys
from typing import Final

from pef_kit.runtime.environment import keep_settings_only

FORGETFUL: Final = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": ":".join(
        (
            "glibc.malloc.perturb=165",
            # A block in a thread's cache would not be filled.
            "glibc.malloc.tcache_count=0",
            # From this size on a block is a mapping of its own, which the kernel gets back at once. Fixed: it
            # would grow with what is freed. Larger than a chunk of page bytes on its way, for fresh memory is
            # slow. Columns are no blocks (`pef_kit.core.allocation`).
            "glibc.malloc.mmap_threshold=8388608",
            "glibc.malloc.trim_threshold=33554432",
        )
    ),
}
"""Environment in which freed memory keeps nothing. Other C libraries pay no heed to it."""
PR_SET_DUMPABLE: Final = 4


def keep_memory_private() -> None:
    """Have the kernel refuse this process's memory to all but root, and write no core of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Run the service until it is told to stop."""
    keep_settings_only()
    if any(os.environ.get(name) != value for name, value in FORGETFUL.items()):
        # An exec makes a process dumpable again.
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | FORGETFUL)  # noqa: S606
    keep_memory_private()
    from pef_ultravisor import app  # noqa: PLC0415 - what is imported before is imported twice

    app.main()


if __name__ == "__main__":
    main()
