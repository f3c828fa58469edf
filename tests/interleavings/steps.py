"""The table of operations: every row of the matrix, and what its columns are made of."""

from typing import Final

from interleavings.machines import (
    BAD,
    FILE,
    GOOD,
    IMAGE,
    OUT,
    PAGES,
    PLUGGED,
    PRIVATE,
    SHARED,
    SPARE_PRIVATE,
    UNMAPPED,
)
from interleavings.operations import (
    Step,
    add_slot,
    create,
    destroy,
    kernel_call,
    lie,
    page_in,
    page_out,
    reads,
    remove_slot,
    reset,
    writes,
)
from pef_explorer.actions.operations import host_read, host_write, load, store, unmap
from pef_explorer.actions.oracle import HOST, OPEN
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gfn, Gpa, SlotId
from pef_protocol.runs import PageRuns
from pef_protocol.ultracalls import (
    EsmbGetFile,
    PageInval,
    RegisterMemSlot,
    SharePage,
    SvmTerminate,
    UnregisterMemSlot,
    UnshareAllPages,
    UnsharePage,
    WritePate,
)

BEHIND: Final = Gpa(PLUGGED + 3 << PAGE_ORDER)
"""A guest address that lies in no slot."""
UV, HV = Side.ULTRAVISOR, Side.HYPERVISOR

STEPS: Final = {
    step.name: step
    for step in (
        Step("load at UV", "load a page that is out", UV, reads(load, OUT, 1, secure=True)),
        Step("load at UV", "load shared and private pages", UV, reads(load, PRIVATE, 5, secure=True)),
        Step("store at UV", "store to a page that is out", UV, writes(store, OUT, 1, secure=True)),
        Step("store at UV", "store to an unmapped page", UV, writes(store, UNMAPPED, 1, secure=True)),
        Step("store at UV", "store to shared and private pages", UV, writes(store, PRIVATE, 5, secure=True)),
        Step("store at UV", "store to the plugged slot", UV, writes(store, PLUGGED, 2, secure=True)),
        Step("load at HV", "load as a normal VM", HV, reads(load, IMAGE, 3)),
        Step("store at HV", "store as a normal VM", HV, writes(store, PRIVATE, 3, OPEN)),
        Step("UV_ESM", "UV_ESM", UV, kernel_call("UV_ESM", GOOD, everywhere=True)),
        Step("UV_ESM", "UV_ESM with a bad image", UV, kernel_call("UV_ESM", BAD, everywhere=True)),
        Step(
            "UV_SHARE_PAGE",
            "share a private page",
            UV,
            kernel_call("UV_SHARE_PAGE", SharePage(Gfn(SPARE_PRIVATE), 1), SPARE_PRIVATE),
        ),
        Step(
            "UV_SHARE_PAGE",
            "share a shared page",
            UV,
            kernel_call("UV_SHARE_PAGE", SharePage(Gfn(UNMAPPED), 1), UNMAPPED),
        ),
        Step(
            "UV_SHARE_PAGE",
            "share shared pages",
            UV,
            kernel_call("UV_SHARE_PAGE", SharePage(Gfn(SHARED), 1), SHARED),
        ),
        Step(
            "UV_UNSHARE_PAGE",
            "unshare what was private",
            UV,
            kernel_call("UV_UNSHARE_PAGE", UnsharePage(Gfn(SPARE_PRIVATE), 1), SPARE_PRIVATE),
        ),
        Step(
            "UV_UNSHARE_PAGE",
            "unshare",
            UV,
            kernel_call("UV_UNSHARE_PAGE", UnsharePage(Gfn(SHARED), 1), SHARED),
        ),
        Step(
            "UV_UNSHARE_ALL_PAGES",
            "unshare all",
            UV,
            kernel_call("UV_UNSHARE_ALL_PAGES", UnshareAllPages(), everywhere=True),
        ),
        Step("UV_ESMB_GET_FILE", "get a file", UV, kernel_call("UV_ESMB_GET_FILE", EsmbGetFile(FILE, 0))),
        Step("create", "create", HV, create),
        Step("add a slot", "add slot 0", HV, add_slot(0, 0, PAGES)),
        Step("add a slot", "add slot 1", HV, add_slot(1, PLUGGED, 2)),
        Step("add a slot", "add slot 2", HV, add_slot(2, PLUGGED + 2, 1)),
        Step("remove a slot", "remove slot 1", HV, remove_slot(1, range(PLUGGED, PLUGGED + 2))),
        Step("store at HV", "store a little as a normal VM", HV, writes(store, SHARED, 1, OPEN)),
        Step("store at UV", "store to a shared page", UV, writes(store, SHARED, 1, secure=True)),
        Step("reset", "reset", HV, reset),
        Step("destroy", "destroy", HV, destroy),
        Step("host read", "host reads a private page", HV, reads(host_read, PRIVATE, 1)),
        Step("host read", "host reads many pages", HV, reads(host_read, PRIVATE, 5)),
        Step("host write", "host writes a shared page", HV, writes(host_write, SHARED, 1, HOST, sets=False)),
        Step("host write", "host writes many pages", HV, writes(host_write, PRIVATE, 3, HOST, sets=False)),
        Step("unmap", "unmap a shared page", HV, reads(unmap, SHARED, 1)),
        Step(
            "UV_WRITE_PATE",
            "UV_WRITE_PATE",
            UV,
            lie("UV_WRITE_PATE", lambda _, lpid: WritePate(lpid, 0, 0)),
            lies=True,
        ),
        Step(
            "UV_REGISTER_MEM_SLOT",
            "UV_REGISTER_MEM_SLOT",
            UV,
            lie(
                "UV_REGISTER_MEM_SLOT",
                lambda _, lpid: RegisterMemSlot(
                    lpid, Gpa(PLUGGED + 3 << PAGE_ORDER), PAGE_SIZE, 0, SlotId(3)
                ),
            ),
            lies=True,
        ),
        Step(
            "UV_UNREGISTER_MEM_SLOT",
            "UV_UNREGISTER_MEM_SLOT",
            UV,
            lie("UV_UNREGISTER_MEM_SLOT", lambda _, lpid: UnregisterMemSlot(lpid, SlotId(1))),
            lies=True,
        ),
        Step("UV_PAGE_IN", "UV_PAGE_IN of a page that is out", UV, page_in(OUT), lies=True),
        Step("UV_PAGE_IN", "UV_PAGE_IN of a spare page", UV, page_in(UNMAPPED, 0), lies=True),
        Step("UV_PAGE_OUT", "UV_PAGE_OUT", UV, page_out(PRIVATE), lies=True),
        Step("UV_PAGE_OUT", "UV_PAGE_OUT to a spare page", UV, page_out(PRIVATE, 0), lies=True),
        Step("UV_PAGE_OUT", "UV_PAGE_OUT to the same spare page", UV, page_out(PLUGGED, 0), lies=True),
        Step(
            "UV_PAGE_INVAL",
            "UV_PAGE_INVAL",
            UV,
            lie(
                "UV_PAGE_INVAL",
                lambda _, lpid: PageInval(lpid, PageRuns.of((SHARED << PAGE_ORDER, 1)), PAGE_ORDER),
            ),
            lies=True,
        ),
        Step(
            "UV_SVM_TERMINATE",
            "UV_SVM_TERMINATE",
            UV,
            lie("UV_SVM_TERMINATE", lambda _, lpid: SvmTerminate(lpid)),
            lies=True,
        ),
    )
}
