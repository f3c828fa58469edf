"""Which fault a student's services have in lesson 11: chosen by name, so that answers can't be copied."""

import hashlib
import os
from collections.abc import Mapping
from typing import Final

from pef_mutants.checks import FORGETS
from pef_mutants.mutant import GeneratedMutant

SEED_FROM: Final = "PEF_LESSON_SEED"
"""The environment variable with the lecturer's seed: with another one each student gets another fault."""
POOL: Final[Mapping[str, str]] = {
    "UV_WRITE_PATE/dw0": "uv/write-pate/dw0",
    "UV_WRITE_PATE/dw1": "uv/write-pate/dw1",
    "UV_WRITE_PATE/lpid": "uv/write-pate/lpid:0",
    "UV_ESM/kernel_base": "uv/esm/kernel_base:half a page",
    "UV_REGISTER_MEM_SLOT/start_gpa": "uv/register-mem-slot/start_gpa:half a page",
    "UV_PAGE_IN/order": "uv/page-in/order:4 KiB",
    "UV_PAGE_INVAL/order": "uv/page-inval/order:4 KiB",
    "UV_PAGE_INVAL/lpid": "uv/page-inval/lpid:never made",
    "UV_PAGE_INVAL/gpa": "uv/page-inval/gpa:no slot",
    "UV_PAGE_INVAL/state": "uv/page-inval/state:resident",
    "UV_SHARE_PAGE/gfn": "uv/share-page/gfn:no slot",
    "UV_UNSHARE_PAGE/gfn": "uv/unshare-page/gfn:no slot",
    "UV_UNSHARE_PAGE/state": "uv/unshare-page/state:implicitly shared",
    "UV_ESMB_GET_FILE/name": "uv/esmb-get-file/name",
    "UV_ESMB_GET_FILE/offset": "uv/esmb-get-file/offset:beyond",
    "H_SVM_PAGE_IN/order": "hv/page-in/order:smaller",
    "H_SVM_PAGE_IN/flags": "hv/page-in/flags:low",
    "H_SVM_PAGE_IN/gpa": "hv/page-in/gpa:gap",
    "H_SVM_PAGE_OUT/order": "hv/page-out/order:smaller",
    "H_SVM_PAGE_OUT/flags": "hv/page-out/flags:low",
    "H_SVM_PAGE_OUT/gpa": "hv/page-out/gpa:gap",
}
"""Checks that are left out, call and check, each with a row about it that fails then on a pair."""
BY_ID: Final = {mutant.id: mutant for mutant in FORGETS}


def fault_of(student: str, seed: str | None = None) -> GeneratedMutant:
    """Return the fault of a student; `seed`: else that of the environment, else an empty one."""
    chosen = os.environ.get(SEED_FROM, "") if seed is None else seed
    name = " ".join(student.split()).casefold()
    digest = hashlib.sha256(f"{chosen}\n{name}".encode()).digest()
    checks = [*POOL]
    return BY_ID[f"forgets/{checks[int.from_bytes(digest[:8]) % len(checks)]}"]


def names_the_check(row: str, fault: GeneratedMutant) -> bool:
    """Tell whether the id of a row names the check that is left out, and no order of two checks."""
    return "/order/" not in row and fault.concerns(row)


def row_of(fault: GeneratedMutant) -> str:
    """Return the id of a row that shows a fault of the pool."""
    return POOL[fault.id.removeprefix("forgets/")]
