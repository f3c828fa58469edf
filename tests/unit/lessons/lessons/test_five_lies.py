import pytest

from harness.lesson_tried import reached
from pef_lessons.lessons.five_lies import LESSON

STORES = ("guest 0: store 0 ...", "guest 0: store 1 ...")
LOADS = (*STORES, "vmm: host read 0 ...", "guest 0: load 0")


def test_an_honest_host_tells_no_lie() -> None:
    assert reached(LESSON, *LOADS, "guest 0: go on ...") == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("lines", "lie"),
    [
        ((*LOADS, "guest 0: go on (refused)", "guest 0: go on ..."), 0),
        ((*LOADS, "guest 0: go on (busy)", "guest 0: go on ..."), 1),
        ((*STORES, "vmm: host read 0 ...", "vmm: host write 0 ...", "guest 0: load 0 ..."), 2),
        (
            (
                *STORES,
                "vmm: keep ciphertext 1 ...",
                "guest 0: store 1 ...",
                "vmm: host read 1 ...",
                "vmm: write kept ciphertext 1 ...",
                "guest 0: load 1 ...",
            ),
            3,
        ),
        ((*STORES, "vmm: host read 1", "vmm: go on (kept)", "vmm: go on ...",
          "network: UV_PAGE_OUT arrives again 0 ..."), 4),
    ],
)  # fmt: skip
def test_each_lie_is_a_milestone_of_its_own(lines: tuple[str, ...], lie: int) -> None:
    assert reached(LESSON, *lines) == [each == lie for each in range(5)] + [True]


def test_a_call_that_is_open_must_end() -> None:
    assert reached(LESSON, *LOADS) == [False] * 6


def test_an_ultravisor_that_refuses_is_no_lie_of_the_hypervisor() -> None:
    lines = (*STORES, "vmm: host read 0", "vmm: go on (refused)", "vmm: go on ...")
    assert reached(LESSON, *lines)[0] is False
