"""A service that is killed while it runs three VMs, and starts anew: one kill of each side.

All kills are made by `make crash`.
"""

from functools import cache
from typing import Final

import pytest

from crash.kills import KillCase, judge_kill
from crash.kinds import Kind, Violation
from crash.pair import Kill
from pef_protocol.events import Side

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

CREATES: Final = 0
"""The operation that creates a VM."""
SHOWN: Final = {
    Side.HYPERVISOR: (
        Kind.SVM_OUTLIVES,
        Kind.GUEST_SERVED,
        Kind.GUEST_READS,
        Kind.GUEST_WRITES,
        Kind.OLD_TOKEN,
        Kind.LATE,
    ),
    Side.ULTRAVISOR: (
        Kind.STILL_SECURE,
        Kind.IMAGE_DEAD,
        Kind.NORMAL_NOT_SECURE,
        Kind.OLD_TOKEN,
        Kind.LATE,
    ),
}
"""What a kill of each side broke, before its message was done."""


@cache
def broken_by(dies: Side) -> tuple[Violation, ...]:
    return judge_kill(KillCase(CREATES, Kill("UV_WRITE_PATE", 0, dies, done=False)))


@pytest.mark.parametrize(
    ("dies", "kind"),
    [(dies, kind) for dies, kinds in SHOWN.items() for kind in kinds],
    ids=lambda named: named.name.lower(),
)
def test_a_service_that_is_killed_breaks_no_promise(dies: Side, kind: Kind) -> None:
    assert [violation.detail for violation in broken_by(dies) if violation.kind is kind] == []
