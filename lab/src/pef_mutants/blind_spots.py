"""Faults that the search once passed over: each shows that the explorer sees by now what it did not.

They are not promises of the protocol's rows, for no message tells them; so no row is asked to kill them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from cryptography.exceptions import InvalidTag

from pef_kit.core.effects import Operation
from pef_mutants.answers import nothing
from pef_mutants.exchange import attribute, everywhere, only_in
from pef_mutants.mutant import Mutant
from pef_mutants.registry import MUTANTS
from pef_protocol.calls import Reply
from pef_protocol.events import Side
from pef_protocol.http import Caller
from pef_protocol.quantities import Lpid
from pef_protocol.ultracalls import UnsharePage
from pef_ultravisor.checks import SlotCall
from pef_ultravisor.from_guest import esm
from pef_ultravisor.from_guest.unshare_page import uv_unshare_page
from pef_ultravisor.from_hypervisor import unregister_mem_slot
from pef_ultravisor.gfn.columns import TAG_BYTES
from pef_ultravisor.memory.sealing import Sealer
from pef_ultravisor.state import Ultravisor

LPID_AND_GFN: Final = slice(16)
"""Where the data that is bound to a page names the VM and the GFN."""


@contextmanager
def imported_kept() -> Iterator[None]:
    """Keep the mark IMPORTED when the VM becomes secure: aborted later, it hands its pages out in clear."""
    with only_in(esm, "clear_imported", nothing):
        yield


@contextmanager
def one_iv() -> Iterator[None]:
    """Seal every page with the same IV; the counter goes on."""
    original = Sealer._bound

    def bound(sealer: Sealer, gfn: int, _: int) -> tuple[bytes, bytes]:
        return original(sealer, gfn, 1)

    with attribute(Sealer, "_bound", bound):
        yield


class _Remembering:
    """A cipher that opens whatever it has encrypted, though its record is another one by now.

    `of_any_gfn`: also under the name of another GFN.
    """

    def __init__(self, cipher: Any, *, of_any_gfn: bool) -> None:
        self._cipher, self._of_any_gfn = cipher, of_any_gfn
        self._records: dict[bytes, tuple[bytes, bytes, bytes]] = {}

    def encrypt(self, iv: bytes, page: Any, bound: bytes) -> bytes:
        sealed: bytes = self._cipher.encrypt(iv, page, bound)
        self._remember(iv, bound, sealed)
        return sealed

    def encrypt_into(self, iv: bytes, page: Any, bound: bytes, out: Any) -> None:
        self._cipher.encrypt_into(iv, page, bound, out)
        self._remember(iv, bound, bytes(out))

    def decrypt(self, iv: bytes, sealed: Any, bound: bytes) -> bytes:
        try:
            opened: bytes = self._cipher.decrypt(iv, sealed, bound)
        except InvalidTag:
            opened = self._cipher.decrypt(*self._as_it_was(sealed, bound))
        return opened

    def decrypt_into(self, iv: bytes, sealed: Any, bound: bytes, out: Any) -> None:
        try:
            self._cipher.decrypt_into(iv, sealed, bound, out)
        except InvalidTag:
            self._cipher.decrypt_into(*self._as_it_was(sealed, bound), out)

    def _remember(self, iv: bytes, bound: bytes, sealed: bytes) -> None:
        self._records[sealed[:-TAG_BYTES]] = iv, sealed[-TAG_BYTES:], bound

    def _as_it_was(self, sealed: Any, bound: bytes) -> tuple[bytes, bytes, bytes]:
        page = bytes(sealed[:-TAG_BYTES])
        iv, tag, sealed_for = self._records.get(page, (b"", b"", b""))
        if not iv or not (self._of_any_gfn or sealed_for[LPID_AND_GFN] == bound[LPID_AND_GFN]):
            raise InvalidTag
        return iv, page + tag, sealed_for


@contextmanager
def taking_what_was(*, of_any_gfn: bool) -> Iterator[None]:
    """Take every page back that was ever encrypted for its GFN, or for any."""
    original = Sealer.__init__

    def init(sealer: Sealer, lpid: Lpid, key: bytes, fixed: bytes) -> None:
        original(sealer, lpid, key, fixed)
        vars(sealer)["_cipher"] = _Remembering(sealer._cipher, of_any_gfn=of_any_gfn)

    with attribute(Sealer, "__init__", init):
        yield


@contextmanager
def first_of_a_range() -> Iterator[None]:
    """Unshare the first GFN of a range only, and say that all of it is done."""

    def first_only(uv: Ultravisor, caller: Caller, asked: UnsharePage) -> Operation[Reply]:
        return uv_unshare_page(uv, caller, replace(asked, num=1))

    with everywhere(uv_unshare_page, first_only):
        yield


@contextmanager
def measured_gone() -> Iterator[None]:
    """Let a slot go of which an open UV_ESM has asked for pages."""
    order = unregister_mem_slot.CHECKS

    def at_rest(call: SlotCall[Any]) -> bool:
        return call.located is not None and not call.located.calls_in_flight

    with attribute(order, "_functions", {**vars(order)["_functions"], "moving": at_rest}):
        yield


BLIND_SPOTS: Final = {
    mutant.id: mutant
    for mutant in (
        Mutant(
            "imported-kept",
            Side.ULTRAVISOR,
            'the mark "imported" outlives UV_ESM, so that an aborted SVM gives its pages back in clear',
            imported_kept,
        ),
        Mutant("one-iv", Side.ULTRAVISOR, "every page is sealed with the same IV", one_iv),
        Mutant(
            "older-taken",
            Side.ULTRAVISOR,
            "UV_PAGE_IN takes every page that was ever encrypted for the GFN, not the newest only",
            lambda: taking_what_was(of_any_gfn=False),
        ),
        Mutant(
            "other-taken",
            Side.ULTRAVISOR,
            "UV_PAGE_IN takes every page that was ever encrypted for the VM, whatever the GFN",
            lambda: taking_what_was(of_any_gfn=True),
        ),
        Mutant(
            "range-cut",
            Side.ULTRAVISOR,
            "UV_UNSHARE_PAGE of several GFNs takes back the first one only, and answers U_SUCCESS",
            first_of_a_range,
        ),
        Mutant(
            "measured-gone",
            Side.ULTRAVISOR,
            "UV_UNREGISTER_MEM_SLOT lets a slot go of which an open UV_ESM has asked for pages",
            measured_gone,
        ),
    )
}
"""By id."""
SEARCHED: Final = {**MUTANTS, **BLIND_SPOTS}
"""All that the search looks for: the defects of real firmware and kernel, and these."""
