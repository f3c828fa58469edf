"""UV_ESM that fails because of what the guest or its owner gave: the code, and a VM that is as it was.

Every failure after H_SVM_INIT_START goes through H_SVM_INIT_ABORT; then the VM is a normal VM again, its
memory byte for byte what it was, and nothing of it is left in the Ultravisor.

Source: decisions, "UV_ESM errors", "H_SVM_INIT_ABORT"; attacks 34, 41.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.images import (
    BLOB,
    FDT,
    IMAGE,
    INITRD,
    KERNEL,
    PAGES,
    RTAS,
    cell32,
    cell64,
    describe,
    esm,
    guest_vm,
    image_for,
    image_tree,
    memory_of,
    with_property,
    write,
)
from harness.scripted_hypervisor import ScriptedHypervisor
from harness.scripted_peer import first
from harness.tree_layouts import LINUX, Layout, laid_out
from harness.ultravisor_fixtures import LPID, sound
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid
from pef_protocol.ultracalls import SvmTerminate
from pef_ultravisor.boot.device_tree import DeviceTree, Node, pack
from pef_ultravisor.machine_key import MachineKey

GIB = 1 << 30
LEFT_OVERS = PAGES - 16
"""Pages that nobody asks for: they come all at once, with H_SVM_INIT_DONE, and can't be paged out before."""
BEYOND = PAGES << PAGE_ORDER
Case = Callable[[ScriptedHypervisor], Reply]


def tampered(gfn: int, at: int = 100) -> Case:
    """Change a byte of the image."""

    def case(hv: ScriptedHypervisor) -> Reply:
        ra = hv.ra(LPID, gfn) + at
        hv.fill(ra, bytes([hv.memory.at(ra, 1)[0] ^ 1]))
        return esm(hv)

    return case


def reported(child: str, **properties: bytes | None) -> Case:
    """Change what the device tree says."""

    def case(hv: ScriptedHypervisor) -> Reply:
        tree = image_tree()
        for name, value in properties.items():
            tree = with_property(tree, child, name.replace("_", "-").replace("linux-", "linux,"), value)
        describe(hv, tree)
        return esm(hv)

    return case


def boot_cpu(hv: ScriptedHypervisor) -> Reply:
    describe(hv, replace(image_tree(), boot_cpu=4096))
    return esm(hv)


def called(**arguments: int) -> Case:
    return lambda hv: esm(hv, **arguments)


def with_blob(blob: bytes) -> Case:
    def case(hv: ScriptedHypervisor) -> Reply:
        write(hv, IMAGE.esm_blob_address, blob.ljust(len(IMAGE.esm_blob), b"\0"))
        return esm(hv)

    return case


def device_tree_of(content: bytes) -> Case:
    def case(hv: ScriptedHypervisor) -> Reply:
        write(hv, IMAGE.fdt_address, content)
        return esm(hv)

    return case


def tree_at_the_end_of_its_page(hv: ScriptedHypervisor) -> Reply:
    tree = pack(image_tree())
    start = IMAGE.fdt_address + PAGE_SIZE - (len(tree) + 31) // 8 * 8
    write(hv, start, tree)
    return esm(hv, fdt=start)


def tree_in_the_kernel(hv: ScriptedHypervisor) -> Reply:
    start = IMAGE.kernel_base + 2 * PAGE_SIZE
    write(hv, start, pack(image_tree()))
    return esm(hv, fdt=start)


def header(**cells: int) -> bytes:
    """Return the image's tree with cells of its header replaced, by name."""
    names = ["magic", "totalsize", "structure", "strings", "reservations", "version", "compatible", "cpu"]
    names += ["strings_size", "size"]
    tree = bytearray(IMAGE.device_tree)
    for name, cell in cells.items():
        tree[4 * names.index(name) : 4 * names.index(name) + 4] = cell32(cell)
    return bytes(tree)


def nested(depth: int) -> DeviceTree:
    node = Node("leaf")
    for _ in range(depth):
        node = Node("node", children=(node,))
    return replace(image_tree(), root=Node("", children=(node,)))


MALFORMED = {
    "version 15": header(version=15),
    "version 18 that needs 18": header(version=18, compatible=18),
    "magic": header(magic=0),
    "of all addresses": header(totalsize=0xFFFFFFFF),
    "larger than 1 MiB": header(totalsize=(1 << 20) + 1),
    "smaller than its header": header(totalsize=39),
    "structure in the header": header(structure=0),
    "structure beyond the tree": header(structure=PAGE_SIZE, size=4),
    "structure without an end": header(size=4),
    "structure at an odd place": header(structure=57),
    "strings beyond the tree": header(strings=PAGE_SIZE - 4, strings_size=8),
    "no strings": header(strings_size=0),
    "reservations beyond the tree": header(reservations=1 << 31),
    "reservations at an odd place": header(reservations=44),
    "65 deep": laid_out(nested(64), LINUX),
    "names that share one long string": laid_out(
        replace(image_tree(), root=Node("", {"a" * 256: b"", "b" * 60_000: b""})), Layout(suffixes=True)
    ),
}
STRANGER = image_for(MachineKey.generate(bytes(32)).public_bytes).esm_blob
ANOTHER = image_for(guest_vm().uv.machine_key.public_bytes, seed=2).esm_blob

CASES: dict[str, tuple[UCode, Case]] = {
    "a blob beyond memory": (
        UCode.U_PARAMETER,
        reported("chosen", linux_esm_blob_start=cell64(BEYOND), linux_esm_blob_end=cell64(BEYOND + 1)),
    ),
    "a blob of nothing": (
        UCode.U_PARAMETER,
        reported("chosen", linux_esm_blob_end=cell64(IMAGE.esm_blob_address)),
    ),
    "a blob that is too large": (
        UCode.U_PARAMETER,
        reported("chosen", linux_esm_blob_end=cell64(IMAGE.esm_blob_address + (17 << 20))),
    ),
    "a kernel beyond memory": (UCode.U_PARAMETER, called(kernel_base=BEYOND)),
    "a kernel that wraps": (UCode.U_PARAMETER, called(kernel_base=(1 << 64) - PAGE_SIZE)),
    "a kernel that ends beyond memory": (UCode.U_PARAMETER, called(kernel_base=BEYOND - 3 * PAGE_SIZE)),
    "no device tree": (UCode.U_P2, device_tree_of(bytes(40))),
    "a device tree beyond memory": (UCode.U_P2, called(fdt=BEYOND)),
    "a device tree that wraps": (UCode.U_P2, called(fdt=(1 << 64) - 8)),
    "a device tree that claims to go on beyond memory": (
        UCode.U_P2,
        device_tree_of(IMAGE.device_tree[:4] + cell32(1 << 31)),
    ),
    **{f"a device tree: {what}": (UCode.U_P2, device_tree_of(tree)) for what, tree in MALFORMED.items()},
    "a device tree whose last page has no room": (UCode.U_P2, tree_at_the_end_of_its_page),
    "a device tree within the kernel that must grow": (UCode.U_P2, tree_in_the_kernel),
    "memory that does not begin at 0": (
        UCode.U_P2,
        reported("memory@0", reg=cell64(PAGE_SIZE) + cell64(GIB)),
    ),
    "memory that has no room for bounce pages": (
        UCode.U_P2,
        reported("memory@0", reg=cell64(0) + cell64(PAGE_SIZE)),
    ),
    "memory that is not there": (UCode.U_P2, reported("memory@0", reg=cell64(0) + cell64(GIB))),
    "a boot cpu beyond all": (UCode.U_P2, boot_cpu),
    "no bootargs": (UCode.U_P2, reported("chosen", bootargs=None)),
    "no initrd": (UCode.U_P2, reported("chosen", linux_initrd_start=None)),
    "an initrd beyond memory": (
        UCode.U_P2,
        reported("chosen", linux_initrd_start=cell64(BEYOND), linux_initrd_end=cell64(BEYOND + 1)),
    ),
    "an RTAS area beyond memory": (UCode.U_P2, reported("rtas", linux_rtas_base=cell32(BEYOND))),
    "an RTAS area that is too large": (UCode.U_P2, reported("rtas", rtas_size=cell32(17 << 20))),
    "a kernel on the Ultravisor's bounce pages": (
        UCode.U_P2,
        called(kernel_base=(PAGES - 8) << PAGE_ORDER),
    ),
    "a kernel that was tampered with": (UCode.U_PERMISSION, tampered(KERNEL + 1)),
    "another kernel base": (UCode.U_PERMISSION, called(kernel_base=IMAGE.kernel_base + PAGE_SIZE)),
    "an initrd that was tampered with": (UCode.U_PERMISSION, tampered(INITRD)),
    "an RTAS area that was tampered with": (UCode.U_PERMISSION, tampered(RTAS)),
    "other bootargs": (UCode.U_PERMISSION, reported("chosen", bootargs=b"init=/bin/sh\0")),
    "a blob that was tampered with": (
        UCode.U_PERMISSION,
        tampered(BLOB, IMAGE.esm_blob.rindex(b"ciphertext") - 200),
    ),
    "no blob at all": (UCode.U_PERMISSION, with_blob(b"")),
    "a blob for another image": (UCode.U_PERMISSION, with_blob(ANOTHER)),
    "a blob for another machine": (UCode.U_NO_KEY, with_blob(STRANGER)),
}


@pytest.mark.parametrize(("code", "case"), CASES.values(), ids=CASES)
def test_the_vm_goes_on_as_it_was(code: UCode, case: Case) -> None:
    hv = guest_vm()
    memory: list[list[bytes]] = []
    hv.at(1, first(lambda hv: memory.append(memory_of(hv))))
    reply = case(hv)
    assert reply.code is code
    assert reply.detail
    assert gone(hv)
    assert memory == [memory_of(hv)]


def gone(hv: ScriptedHypervisor) -> bool:
    """Tell whether H_SVM_INIT_ABORT was the last hypercall, and nothing of the SVM is left."""
    assert (hv.names[0], hv.names[-1], hv.names.count("H_SVM_INIT_ABORT")) == (
        "H_SVM_INIT_START",
        "H_SVM_INIT_ABORT",
        1,
    )
    assert hv.uv.svm(LPID) is None
    assert (hv.uv.resident, hv.uv.reserved, hv.uv.normal_pages.used) == (0, 0, 0)
    return sound(hv)


@pytest.mark.parametrize("pages", [0, 1, 8, 100, LEFT_OVERS - 1])
def test_secure_memory_that_does_not_suffice(pages: int) -> None:
    hv = guest_vm(secure_pages=pages)
    memory = memory_of(hv)
    assert esm(hv).code is UCode.U_RETRY
    assert gone(hv)
    assert memory_of(hv) == memory


def test_secure_memory_that_just_suffices() -> None:
    hv = guest_vm(secure_pages=LEFT_OVERS)
    assert esm(hv).code is UCode.U_SUCCESS
    assert hv.load(LPID, IMAGE.kernel_base, len(IMAGE.kernel)) == IMAGE.kernel
    assert sound(hv)


def test_pages_that_were_paged_out_come_back_too() -> None:
    hv = guest_vm()
    hv.fill(hv.ra(LPID, BLOB), bytes(PAGE_SIZE))
    memory = memory_of(hv)
    hv.at(8, first(lambda hv: hv.page_out(LPID, FDT, INITRD)))
    assert esm(hv).code is UCode.U_PERMISSION
    assert gone(hv)
    assert memory_of(hv) == memory


def test_a_vm_may_try_again() -> None:
    hv = guest_vm()
    right = hv.page(hv.ra(LPID, BLOB))
    hv.fill(hv.ra(LPID, BLOB), bytes(PAGE_SIZE))
    assert esm(hv).code is UCode.U_PERMISSION
    hv.fill(hv.ra(LPID, BLOB), right)
    assert esm(hv).code is UCode.U_SUCCESS
    assert hv.load(LPID, IMAGE.kernel_base, 100) == IMAGE.kernel[:100]


def test_after_terminate_the_lpid_is_a_normal_vm() -> None:
    hv = guest_vm()
    assert esm(hv).code is UCode.U_SUCCESS
    terminate = SvmTerminate(Lpid(LPID))
    assert hv.ultracall(terminate).code is UCode.U_SUCCESS
    assert hv.ultracall(terminate).code is UCode.U_INVALID
    assert (hv.uv.resident, hv.uv.reserved, hv.uv.normal_pages.used) == (0, 0, 0)
    hv.vms[LPID].letters.clear()
    for gpa, content in IMAGE.layout:
        write(hv, gpa, content)
    assert esm(hv).code is UCode.U_SUCCESS
