"""One page-in through both real services: which product files a reader has to open to follow it."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

from limits.pair_on_one_loop import GIB, measured_pair
from limits.vms import FREE, large_vm
from pef_protocol.quantities import PAGE_SIZE

REPOSITORY: Final = Path(__file__).parents[2]
SIZE: Final = GIB // 4
GPA: Final = FREE // 8 * PAGE_SIZE
"""A page of the guest's own."""
MOST: Final = 35
"""Product files outside `pef_protocol`, which is words, whose functions run: of both sides and of the kit."""
MOST_OF_THE_SIDES: Final = 17
"""The same, of both sides alone."""


class Files:
    """The product files whose functions run in threads that begin from now on, while it is `on`."""

    def __init__(self) -> None:
        self.on = False
        self.seen: set[str] = set()

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Note where a function of ours is called."""
        if self.on and event == "call" and "/src/pef_" in frame.f_code.co_filename:
            self.seen.add(frame.f_code.co_filename.rpartition("/src/")[2])

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what runs meanwhile."""
        self.on = True
        try:
            yield
        finally:
            self.on = False


@pytest.mark.sockets
async def test_a_page_in_runs_in_few_files() -> None:
    """Given a page that is paged out, when H_SVM_PAGE_IN brings it back, then few files take part.

    The tutorial names each file of both sides.
    """
    files = Files()
    before = sys.getprofile()
    threading.setprofile(files.profile)
    try:
        with measured_pair(memory=4 * GIB) as pair:
            async with large_vm(pair, size=SIZE) as vm:
                await vm.guest.store(GPA, b"a secret")
                assert await vm.vmm.read(vm.lpid, GPA, 8) != b"a secret"
                request = {"lpid": vm.lpid, "runs": [[GPA, 1]], "flags": 0, "order": 16}
                with files.noted():
                    answer = await vm.call("H_SVM_PAGE_IN", json.dumps(request).encode())
                assert answer.json()["code"]["name"] == "H_SUCCESS"
                assert await vm.guest.load(GPA, 8) == b"a secret"
    finally:
        threading.setprofile(before)
    ran = sorted(file for file in files.seen if not file.startswith("pef_protocol/"))
    sides = [file for file in ran if not file.startswith("pef_kit/")]
    tutorial = (REPOSITORY / "docs/follow-one-page.md").read_text(encoding="utf-8")
    assert "pef_hypervisor/from_ultravisor/svm_page_in.py" in sides
    assert "pef_ultravisor/from_hypervisor/page_in.py" in sides
    assert [file for file in sides if file.partition("/")[2] not in tutorial] == []
    assert len(sides) <= MOST_OF_THE_SIDES, sides
    assert len(ran) <= MOST, ran
