"""Requests of the hypercalls by which the Ultravisor moves a VM and its pages.

On the hardware the VM is the one on whose behalf the Ultravisor traps; over HTTP it is named by `lpid`.
Replies are `pef_protocol.calls.Reply`.

Source: Documentation/powerpc/ultravisor.rst, "Hypercalls".
"""

from dataclasses import dataclass

from pef_protocol.quantities import Lpid, PageOrder
from pef_protocol.runs import PageRuns


@dataclass(frozen=True, slots=True)
class SvmInitStart:
    """H_SVM_INIT_START: a VM begins to become secure; register its slots."""

    lpid: Lpid


@dataclass(frozen=True, slots=True)
class SvmInitDone:
    """H_SVM_INIT_DONE: the Ultravisor has all it needs; the VM becomes secure."""

    lpid: Lpid


@dataclass(frozen=True, slots=True)
class SvmInitAbort:
    """H_SVM_INIT_ABORT: the VM could not become secure; it goes on as a normal VM."""

    lpid: Lpid


@dataclass(frozen=True, slots=True)
class SvmPageIn:
    """H_SVM_PAGE_IN: bring these guest pages, by UV_PAGE_IN; shared with flag H_PAGE_IN_SHARED."""

    lpid: Lpid
    runs: PageRuns
    flags: int
    order: PageOrder


@dataclass(frozen=True, slots=True)
class SvmPageOut:
    """H_SVM_PAGE_OUT: take these guest pages out of secure memory, by UV_PAGE_OUT."""

    lpid: Lpid
    runs: PageRuns
    flags: int
    order: PageOrder
