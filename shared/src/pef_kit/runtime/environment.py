"""A service's settings are `PEF_…` and nothing else: no environment variable of a library decides anything.

Libraries read variables of their own, some when they are imported: one names a file to which the keys of TLS
are written, one makes an import fail. So a service removes all that it does not know, before it imports a
library; this module imports none.
"""

import os
from typing import Final

OF_A_PROCESS: Final = frozenset({"PATH", "HOME", "TMPDIR", "TZ", "LANG"})
"""What a process has from its machine."""
KNOWN: Final = ("PEF_", "LC_", "LD_", "PYTHON", "GLIBC_")
"""How other names that are kept begin: of settings, the locale, the loader, Python and glibc."""


def keep_settings_only() -> None:
    """Remove each variable that is no setting of a service, nor of the machine, the loader or Python."""
    for name in [*os.environ]:
        if name not in OF_A_PROCESS and not name.upper().startswith(KNOWN):
            del os.environ[name]
