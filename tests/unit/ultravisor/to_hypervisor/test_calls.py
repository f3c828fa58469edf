"""Runs are cut into messages that carry no more than one may, and name the same pages in the same order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.runs import PageRuns
from pef_ultravisor.to_hypervisor import calls as requests
from pef_ultravisor.to_hypervisor.calls import messages, pages_of


@given(st.lists(st.integers(1, 40), max_size=30))
def test_messages_name_what_the_runs_name(counts: list[int]) -> None:
    starts = (np.cumsum(counts) - counts) * 2
    runs = PageRuns.of(
        *((int(start) * PAGE_SIZE, count) for start, count in zip(starts, counts, strict=True))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "RUNS_AT_ONCE", 4)
        patch.setattr(requests, "PAGES_AT_ONCE", 16)
        cut = messages(runs)
    assert all(len(some) <= 4 and some.pages <= 16 for some in cut)
    assert np.concatenate([pages_of(some) for some in cut]).tolist() == pages_of(runs).tolist()


def test_what_one_message_may_carry_is_one_message() -> None:
    runs = PageRuns.of((0, 5), (PAGE_SIZE * 9, 3))
    assert messages(runs) == [runs]
