"""The invariants of the columns: each notices the corruption that it is there for, and nothing else."""

from collections.abc import Callable

import pytest

from harness.scripted_hypervisor import ScriptedHypervisor
from harness.ultravisor_fixtures import LPID, machine, place, put, secure_vm, svm_of, text
from pef_protocol.states import UvGfnState as S
from pef_ultravisor import invariants
from pef_ultravisor.gfn.columns import BUSY, FRAME_POPULATED, HCALL_PENDING, IMPORTED, REQUESTED

STATES = (
    S.SECURE,
    S.PAGEDOUT,
    S.SHARED,
    S.SHARED_INV,
    S.SHARED_IMPLICIT,
    S.PSEUDO_SHARED,
    S.PSEUDO_SHARED_INV,
)
GFN = {state: 16 + at for at, state in enumerate(STATES)}
Corruption = Callable[[ScriptedHypervisor], object]


def fixture() -> ScriptedHypervisor:
    hv = machine()
    secure_vm(hv)
    for state, gfn in GFN.items():
        put(hv, gfn, state, frame=text("text"), page=text("mail"))
    return hv


def state(of: S, becomes: S) -> Corruption:
    def corrupt(hv: ScriptedHypervisor) -> None:
        slot, at = place(hv, GFN[of])
        slot.put(slice(at, at + 1), becomes)

    return corrupt


def marked(of: S, bit: int) -> Corruption:
    def corrupt(hv: ScriptedHypervisor) -> None:
        slot, at = place(hv, GFN[of])
        slot.mark(slice(at, at + 1), bit)

    return corrupt


def normal(of: S, address: Callable[[ScriptedHypervisor], int]) -> Corruption:
    """Set the address of the normal page, and take it in the machine's list or give it back."""

    def corrupt(hv: ScriptedHypervisor) -> None:
        slot, at = place(hv, GFN[of])
        hv.uv.normal_pages.release(slot.normal[at : at + 1])
        slot.normal[at] = address(hv)
        if slot.normal[at]:
            hv.uv.normal_pages.take(slot.normal[at : at + 1])

    return corrupt


def no_record(hv: ScriptedHypervisor) -> None:
    slot, at = place(hv, GFN[S.PAGEDOUT])
    slot.counter[at] = 0


def forgotten(hv: ScriptedHypervisor) -> None:
    slot, at = place(hv, GFN[S.SHARED])
    hv.uv.normal_pages.release(slot.normal[at : at + 1])


def overfull(hv: ScriptedHypervisor) -> None:
    hv.uv.capacity = type(hv.uv.capacity)(1, hv.uv.capacity.normal_bytes)


def shared_page(hv: ScriptedHypervisor) -> int:
    return hv.ra(LPID, GFN[S.SHARED])


def nothing(_: ScriptedHypervisor) -> int:
    return 0


CORRUPTIONS: dict[str, tuple[str, Corruption]] = {
    "no sealing record": ("paged out without a sealing record", no_record),
    "a full frame behind a page that is out": (
        "paged out, yet its frame is not scrubbed",
        marked(S.PAGEDOUT, FRAME_POPULATED),
    ),
    "a full frame behind a shared page": (
        "shared, yet its frame is not scrubbed",
        marked(S.SHARED, FRAME_POPULATED),
    ),
    "a full frame behind an invalidated page": (
        "shared, yet its frame is not scrubbed",
        marked(S.SHARED_INV, FRAME_POPULATED),
    ),
    "a full frame behind a bounce page": (
        "shared, yet its frame is not scrubbed",
        marked(S.SHARED_IMPLICIT, FRAME_POPULATED),
    ),
    "a shared page without a normal page": ("mapped to no normal page", normal(S.SHARED, nothing)),
    "a bounce page without a normal page": ("mapped to no normal page", normal(S.SHARED_IMPLICIT, nothing)),
    "a pseudo-shared page without a normal page": (
        "mapped to no normal page",
        normal(S.PSEUDO_SHARED, nothing),
    ),
    "a secure page on a normal page": (
        "mapped to a normal page that it may not have",
        normal(S.SECURE, lambda hv: hv.spare()),
    ),
    "an invalidated page that is still mapped": (
        "mapped to a normal page that it may not have",
        normal(S.SHARED_INV, lambda hv: hv.spare()),
    ),
    "a share that nobody has open": (
        "in a transient state while no call is open",
        state(S.SECURE, S.HV_SHARING),
    ),
    "an unshare that nobody has open": (
        "in a transient state while no call is open",
        state(S.SHARED_INV, S.HV_UNSHARED),
    ),
    "bytes that nobody moves": ("marked in flight while no call is open", marked(S.SECURE, BUSY)),
    "a hypercall that nobody made": (
        "marked in flight while no call is open",
        marked(S.PAGEDOUT, HCALL_PENDING),
    ),
    "a page that nobody wants": ("marked in flight while no call is open", marked(S.SECURE, REQUESTED)),
    "an import into a secure VM": ("marked imported in a secure VM", marked(S.SECURE, IMPORTED)),
    "one page behind two GFNs": ("a normal page backs two GFNs", normal(S.PSEUDO_SHARED, shared_page)),
    "a page that backs a GFN and counts as free": ("normal pages are taken", forgotten),
    "more resident pages than there are": ("pages are resident in 1", overfull),
}


def test_a_sound_machine_breaks_none() -> None:
    assert invariants.broken(fixture().uv) == []


@pytest.mark.parametrize(("sentence", "corrupt"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_corruption_is_noticed(sentence: str, corrupt: Corruption) -> None:
    hv = fixture()
    corrupt(hv)
    broken = [line for line in invariants.broken(hv.uv) if sentence in line]
    assert len(broken) == 1


@pytest.mark.parametrize("bit", [BUSY, HCALL_PENDING, REQUESTED])
def test_an_open_call_may_have_pages_in_flight(bit: int) -> None:
    hv = fixture()
    marked(S.SECURE, bit)(hv)
    svm_of(hv).open_calls = 1
    assert invariants.broken(hv.uv) == []


def test_the_digest_sees_every_column_and_the_contents() -> None:
    seen = {fixture().uv.digest()}
    changes: list[Corruption] = [
        state(S.SECURE, S.SHARED_INV),
        marked(S.SECURE, IMPORTED),
        no_record,
        normal(S.SHARED, lambda hv: hv.spare()),
        lambda hv: place(hv, GFN[S.PAGEDOUT])[0].tag.__setitem__(GFN[S.PAGEDOUT] - 16, 0),
        lambda hv: place(hv, GFN[S.SECURE])[0].frames.at(0, 1).fill(0),
        lambda hv: svm_of(hv).handed_out.update(name=1),
        lambda hv: svm_of(hv).sealer.take_ivs(1),
        lambda hv: hv.uv.pates.clear(),
    ]
    for change in changes:
        hv = fixture()
        change(hv)
        seen.add(hv.uv.digest())
    assert len(seen) == 1 + len(changes)


def test_the_digest_is_keyed() -> None:
    first, second = machine(), machine()
    assert first.uv.digest() == second.uv.digest()
    second.uv._digest_key = bytes(32)
    assert first.uv.digest() != second.uv.digest()
