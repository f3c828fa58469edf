"""Defects of the real firmware and of the real kernel, each as a fault in our own code.

    with MUTANTS["K4"].applied():
        ...                             the Hypervisor of this process has K4

They are for tests and lessons only: no service knows of them. Each says in its docstring how it departs from
the real defect, where it must. Two or more may be applied at once.

Source: specifications of the Ultravisor (section 9) and of the Hypervisor (section 7).
"""

from collections.abc import Mapping
from typing import Final

from pef_mutants import triggered
from pef_mutants.hypervisor import pages, whole_vm
from pef_mutants.mutant import Mutant
from pef_mutants.ultravisor import paging, sharing
from pef_protocol.events import Side

_ULTRAVISOR: Final = (
    Mutant(
        "D2b",
        Side.ULTRAVISOR,
        "until the VM is secure, an unasked UV_PAGE_IN overwrites a page that was measured already",
        paging.d2b,
        triggered.unasked_page_in,
    ),
    Mutant(
        "D6",
        Side.ULTRAVISOR,
        "a page withdrawn between offer and commit of a share is zeroed and mapped none the less",
        paging.d6,
    ),
    Mutant(
        "D7",
        Side.ULTRAVISOR,
        "an unshare loses the record of a paged-out page in its range, which never comes back",
        sharing.d7,
    ),
    Mutant(
        "D8",
        Side.ULTRAVISOR,
        "a page whose share was refused stays mapped to the Hypervisor's page while it counts as secure",
        sharing.d8,
        triggered.shares_refused_late,
    ),
    Mutant(
        "D10",
        Side.ULTRAVISOR,
        "a share that is given up leaves its pages in transit, and nothing can be done with them any more",
        sharing.d10,
    ),
    Mutant(
        "D11",
        Side.ULTRAVISOR,
        "a Hypervisor that pretends four times to bring a page is believed, and the share goes on without",
        sharing.d11,
        triggered.pretended_page_in,
    ),
    Mutant(
        "D12",
        Side.ULTRAVISOR,
        "a page that goes out and comes in while the VM is not secure is not decrypted",
        paging.d12,
    ),
    Mutant(
        "D13",
        Side.ULTRAVISOR,
        "a page withdrawn while its unshare is open stays mapped",
        paging.d13,
    ),
    Mutant(
        "D14",
        Side.ULTRAVISOR,
        "UV_UNSHARE_ALL_PAGES passes over GFN 0",
        sharing.d14,
    ),
)
_HYPERVISOR: Final = (
    Mutant(
        "K1",
        Side.HYPERVISOR,
        "after an H_SVM_INIT_START that was denied or failed, H_SVM_INIT_DONE succeeds",
        whole_vm.k1,
        triggered.done_after_failure,
    ),
    Mutant(
        "K2",
        Side.HYPERVISOR,
        "when a slot can't be registered, those made before it stay registered and are forgotten",
        whole_vm.k2,
    ),
    Mutant(
        "K3",
        Side.HYPERVISOR,
        "a second H_SVM_INIT_START is accepted: the VM is transient again, its secure pages are forgotten",
        whole_vm.k3,
        triggered.started_again,
    ),
    Mutant(
        "K4",
        Side.HYPERVISOR,
        "a page whose UV_PAGE_IN was refused or busy counts as secure, and can't be asked for again",
        pages.k4,
    ),
    Mutant(
        "K5",
        Side.HYPERVISOR,
        "a secure page whose share is refused has been dropped already",
        pages.k5,
    ),
    Mutant(
        "K6",
        Side.HYPERVISOR,
        "H_SVM_INIT_ABORT passes over refusals: a normal VM keeps a secure page, or an SVM behind it",
        whole_vm.k6,
    ),
    Mutant(
        "K8",
        Side.HYPERVISOR,
        "a slot that the Ultravisor was too busy to register counts as registered",
        whole_vm.k8,
    ),
    Mutant(
        "K9",
        Side.HYPERVISOR,
        "a hot-add that failed is told as a success",
        whole_vm.k9,
    ),
    Mutant(
        "K10",
        Side.HYPERVISOR,
        "a fault on a secure page pages it out and in again, and leaves it marked paged out",
        pages.k10,
        triggered.reflected_faults,
    ),
    Mutant(
        "K11",
        Side.HYPERVISOR,
        "a reset whose UV_SVM_TERMINATE is refused has dropped pages and slots of a VM still called secure",
        whole_vm.k11,
    ),
    Mutant(
        "K13",
        Side.HYPERVISOR,
        "between H_SVM_INIT_START and H_SVM_INIT_DONE shared pages are unmapped without UV_PAGE_INVAL",
        pages.k13,
    ),
    Mutant(
        "K14",
        Side.HYPERVISOR,
        "after a reset, normal pages hold what they held for the SVM",
        whole_vm.k14,
    ),
    Mutant(
        "K15",
        Side.HYPERVISOR,
        "H_SVM_INIT_ABORT leaves a normal VM with the ciphertext of its paged-out pages",
        whole_vm.k15,
    ),
    Mutant(
        "K16",
        Side.HYPERVISOR,
        "a paged-out page that was sent in is still called paged out",
        pages.k16,
    ),
    Mutant(
        "K17",
        Side.HYPERVISOR,
        "a page can be unmapped while it is being offered, and a stale one is mapped",
        pages.k17,
    ),
)

MUTANTS: Final[Mapping[str, Mutant]] = {mutant.id: mutant for mutant in (*_ULTRAVISOR, *_HYPERVISOR)}
