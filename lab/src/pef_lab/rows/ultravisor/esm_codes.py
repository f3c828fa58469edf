"""What UV_ESM answers once its ladder is passed, and that its VM then goes on as the normal VM that it was.

Source: ultravisor.rst, UV_ESM; decisions, "UV_ESM errors", "H_SVM_INIT_ABORT".
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pef_lab.image import GuestImage
from pef_lab.image.flat_tree import cell32, cell64, text
from pef_lab.rows.playing.host import SlotPlan
from pef_lab.rows.playing.script import Answer, Held, refuse
from pef_lab.rows.row import Finding, Kind, Level
from pef_lab.rows.stage import Stage
from pef_lab.rows.ultravisor.collected import OK, Collected, pages_of_svm
from pef_lab.rows.ultravisor.images import tampered, with_header, with_tree
from pef_lab.rows.ultravisor.pool import pool_of
from pef_lab.rows.ultravisor.scene import ALONE
from pef_lab.rows.ultravisor.seen import PAGES, Word, compared, word_of
from pef_lab.rows.ultravisor.vm import FIRST_FREE, NO_SLOT, Vm, Workshop, image_for, normal_vm
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import PAGE_SIZE, Gpa, gpa_of
from pef_protocol.ultracalls import Esm

ESM_CODES: Final = Collected(Kind.CODE)
BEYOND: Final = gpa_of(NO_SLOT)
PERMISSION, NO_KEY = UCode.U_PERMISSION, UCode.U_NO_KEY
BAD_TREE, BAD_BLOB, REFUSED = UCode.U_P2, UCode.U_PARAMETER, UCode.U_STATE
Change = Callable[[GuestImage], GuestImage]


def _for_another_machine(image: GuestImage) -> GuestImage:
    key = X25519PrivateKey.from_private_bytes(secrets.token_bytes(32)).public_key().public_bytes_raw()
    return replace(image_for(key), device_tree=image.device_tree)


def _chosen(**properties: bytes) -> Change:
    named = {f"linux,{name.replace('_', '-')}": value for name, value in properties.items()}
    return lambda image: with_tree(image, {"/chosen": named})


def _lengthened(image: GuestImage) -> GuestImage:
    return with_tree(image, {"/chosen": {"bootargs": text("quiet init=/bin/sh")}})


IMAGES: Final[Mapping[str, tuple[UCode, str, Change]]] = {
    "U_PERMISSION:kernel": (PERMISSION, "a kernel that is not the owner's", lambda i: tampered(i, "kernel")),
    "U_PERMISSION:kernel's end": (
        PERMISSION,
        "a kernel that is not the owner's to the last byte",
        lambda i: tampered(i, "kernel", -1),
    ),
    "U_PERMISSION:initrd": (
        PERMISSION,
        "an initrd that is not the owner's",
        lambda i: tampered(i, "initrd", PAGE_SIZE + 5),
    ),
    "U_PERMISSION:RTAS": (PERMISSION, "an RTAS that is not the owner's", lambda i: tampered(i, "rtas", 99)),
    "U_PERMISSION:bootargs": (PERMISSION, "arguments that are not the owner's", _lengthened),
    "U_PERMISSION:blob": (
        PERMISSION,
        "an ESM blob with a bit flipped",
        lambda i: tampered(i, "esm_blob", -9),
    ),
    "U_PERMISSION:no blob": (
        PERMISSION,
        "bytes that are no ESM blob",
        lambda i: replace(i, esm_blob=bytes(len(i.esm_blob))),
    ),
    "U_NO_KEY": (NO_KEY, "an ESM blob for another machine", _for_another_machine),
    "U_P2:no tree": (BAD_TREE, "bytes that are no device tree", lambda i: with_header(i, 0, 0)),
    "U_P2:huge tree": (BAD_TREE, "a tree that is longer than memory", lambda i: with_header(i, 4, 1 << 31)),
    "U_P2:memory": (
        BAD_TREE,
        "a tree whose memory does not begin at 0",
        lambda i: with_tree(i, {"/memory@0": {"reg": cell64(PAGE_SIZE) + cell64(i.memory_size)}}),
    ),
    "U_P2:initrd": (
        BAD_TREE,
        "a tree whose initrd lies in no slot",
        _chosen(initrd_start=cell64(BEYOND), initrd_end=cell64(BEYOND + PAGE_SIZE)),
    ),
    "U_P2:initrd's end": (
        BAD_TREE,
        "a tree whose initrd ends before it starts",
        _chosen(initrd_end=cell64(PAGE_SIZE)),
    ),
    "U_P2:RTAS": (
        BAD_TREE,
        "a tree whose RTAS lies in no slot",
        lambda i: with_tree(i, {"/rtas": {"linux,rtas-base": cell32(1 << 31)}}),
    ),
    "U_PARAMETER:blob address": (
        BAD_BLOB,
        "a tree whose ESM blob lies in no slot",
        _chosen(esm_blob_start=cell64(BEYOND), esm_blob_end=cell64(BEYOND + PAGE_SIZE)),
    ),
}
"""What is wrong with the image: the code, what it is, and how it is made so; by the id's end."""
ANSWERS: Final[Mapping[str, tuple[str, Answer]]] = {
    "H_SVM_INIT_START": ("its slots are not registered", refuse(HCode.H_PARAMETER)),
    "H_SVM_PAGE_IN": ("a page that it needs does not come", refuse(HCode.H_PARAMETER)),
    "H_SVM_INIT_DONE": ("the Hypervisor will not have it secure", refuse(HCode.H_UNSUPPORTED)),
}
"""Hypercalls within UV_ESM, and how they are refused."""


async def _fails(stage: Stage, code: UCode, vm: Vm, esm: Esm) -> Finding:
    """Make a UV_ESM that fails; then the VM is a normal one, with its memory as it was."""
    await vm.host.write(vm.lpid, gpa_of(FIRST_FREE), PAGES[Word.MAIL])
    answer = await vm.call(esm)
    left = await vm.terminated()
    whole = [
        await vm.host.read(vm.lpid, gpa, len(content)) == content
        for gpa, content in vm.image.layout
        if content
    ]
    beside = word_of(await vm.host.read(vm.lpid, gpa_of(FIRST_FREE), PAGE_SIZE))
    return compared(
        {
            "code": code.name,
            "an SVM object": UCode.U_INVALID.name,
            "its memory is as it was": True,
            "and beside the image": Word.MAIL,
            "its pages are the host's": True,
        },
        {
            "code": answer.code,
            "an SVM object": left,
            "its memory is as it was": all(whole),
            "and beside the image": beside,
            "its pages are the host's": await vm.load(FIRST_FREE) == b"",
        },
    )


async def _with_image(stage: Stage, code: UCode, change: Change) -> Finding:
    workshop = await stage.scene(Workshop)
    async with normal_vm(stage, image=change(workshop.image)) as vm:
        return await _fails(stage, code, vm, vm.esm)


async def _with_answer(stage: Stage, name: str, answer: Answer) -> Finding:
    async with normal_vm(stage) as vm:
        vm.played.next(vm.lpid, name, answer)
        finding = await _fails(stage, REFUSED, vm, vm.esm)
        again = (await vm.enter()).code
        return replace(
            finding,
            expected=f"{finding.expected}; again: {OK}",
            observed=f"{finding.observed}; again: {again}",
            agrees=finding.agrees and again == OK,
        )


for end, (code, what, change) in IMAGES.items():
    ESM_CODES.row(f"uv/esm/{end}", "UV_ESM", f"{what}: {code.name}, and the VM goes on as a normal one")(
        partial(_with_image, code=code, change=change)
    )
for name, (what, answer) in ANSWERS.items():
    ESM_CODES.row(
        f"uv/esm/U_STATE:{name}", "UV_ESM", f"{what}: U_STATE, and the VM goes on as a normal one", ALONE
    )(partial(_with_answer, name=name, answer=answer))


@ESM_CODES.row("uv/esm/U_STATE:denied", "UV_ESM", "a VM that may not become secure reads U_STATE")
async def denied(stage: Stage) -> Finding:
    """Make UV_ESM in a VM for which the host did not enable secure guests."""
    async with normal_vm(stage, secure_guest=False) as vm:
        return await _fails(stage, REFUSED, vm, vm.esm)


@ESM_CODES.row(
    "uv/esm/U_STATE:terminated", "UV_ESM", "a VM that is terminated during UV_ESM reads an error", ALONE
)
async def terminated(stage: Stage) -> Finding:
    """Terminate a VM while its UV_ESM waits for the answer to H_SVM_INIT_START."""
    async with normal_vm(stage) as vm:
        await vm.hold(vm.esm, "H_SVM_INIT_START", Held(done_first=True))
        ended = await vm.terminated()
        entered = await vm.let_go()
        return compared(
            {"terminated": OK, "code": REFUSED.name, "then": UCode.U_INVALID.name},
            {"terminated": ended, "code": entered, "then": await vm.terminated()},
        )


@ESM_CODES.row("uv/esm/U_P2:no slot", "UV_ESM", "a device tree in no slot: U_P2")
async def tree_in_no_slot(stage: Stage) -> Finding:
    """Say that the device tree lies where no memory is."""
    async with normal_vm(stage) as vm:
        return await _fails(stage, BAD_TREE, vm, replace(vm.esm, fdt=Gpa(BEYOND)))


@ESM_CODES.row("uv/esm/U_PARAMETER:no slot", "UV_ESM", "a kernel in no slot: U_PARAMETER", level=Level.SHOULD)
async def kernel_in_no_slot(stage: Stage) -> Finding:
    """Say that the kernel lies where no memory is."""
    async with normal_vm(stage) as vm:
        return await _fails(stage, BAD_BLOB, vm, replace(vm.esm, kernel_base=Gpa(BEYOND)))


@ESM_CODES.row("uv/esm/U_RETRY", "UV_ESM", "a VM that is larger than secure memory: U_RETRY")
async def too_large(stage: Stage) -> Finding:
    """Make UV_ESM in a VM of one GFN more than secure memory has pages."""
    async with pages_of_svm(stage) as pages:
        size, _ = await pool_of(pages)
    async with normal_vm(stage, SlotPlan(1, NO_SLOT, size)) as vm:
        return await _fails(stage, UCode.U_RETRY, vm, vm.esm)
