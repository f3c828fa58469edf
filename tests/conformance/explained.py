"""Mutants that no row kills, and rows that kill no mutant, each with the reason; nothing else may be either.

A pattern stands for what it fits. An entry that fits nothing, or something that is killed or kills, is wrong.
"""

from collections.abc import Mapping
from typing import Final

_ONE_STEP: Final = "a grant and the end of its unshare are one step: nobody outside meets a GFN between them"
_NO_WORD: Final = "the document has no word for that cell: the row keeps what it sees, and judges nothing"
_NO_SVM: Final = "an lpid that names no SVM names no aborted one, so no message is refused by both"
_ONE_STATE: Final = "no VM is in both of these states, so no message is refused by both"

SURVIVORS: Final[Mapping[str, str]] = {
    "swaps/UV_WRITE_PATE/lpid,svm": "an lpid out of range names no SVM, so no message is refused by both",
    "swaps/UV_ESM/lpid,active": "a VM whose UV_ESM is open is known, so no message is refused by both",
    "swaps/UV_ESM/active,aborted": _ONE_STATE,
    "swaps/UV_PAGE_IN/lpid,aborted": _NO_SVM,
    "swaps/UV_SHARE_PAGE/secure,aborted": _ONE_STATE,
    "swaps/UV_UNSHARE_PAGE/secure,aborted": _ONE_STATE,
    "swaps/UV_UNSHARE_ALL_PAGES/secure,aborted": _ONE_STATE,
    "swaps/UV_ESMB_GET_FILE/secure,aborted": _ONE_STATE,
    "swaps/H_SVM_INIT_START/state,secure_memory": "without secure memory no VM is transient or secure",
    "cell/HV_UNSHARED/*": _ONE_STEP,
    "cell/vm/TRANSIENT/START_VM": _NO_WORD,
    "cell/vm/SECURE/UV_SVM_TERMINATE": "a reset has made the VM transient before it looks that cell up",
}
"""Mutants, by id: what they do can't be seen from outside, or is what must be done anyway."""

EMPTY: Final[Mapping[str, str]] = {
    "gfn/HV_UNSHARED/*": _ONE_STEP,
    "vm/transient/start-vm": _NO_WORD,
}
"""Rows, by id: what they want is not broken by any mutant that there is."""
