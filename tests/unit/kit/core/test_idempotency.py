"""What is kept of the requests of guests and VMMs: for how long, how many, and who reads it.

Source: ARCHITECTURE, "Identity and time", rules 8 and 14.
"""

import pytest

from pef_kit.core.idempotency import (
    KEPT_FOR,
    MOST_OF_A_VM,
    MOST_OF_THE_VMM,
    ClientOperation,
    ClientOperations,
    NoRoom,
    OperationAnswer,
    OtherRequest,
    Scope,
)
from pef_protocol.http import Role
from pef_protocol.identity import Incarnation, InstanceId

ONE = Incarnation(InstanceId("1" * 32), 1)
TWO = Incarnation(InstanceId("1" * 32), 2)
KERNEL = Scope(Role.GUEST, ONE)
USER = Scope(Role.GUEST, ONE, problem_state=True)
VMM = Scope(Role.VMM)


def answer(text: bytes = b"done") -> OperationAnswer:
    return OperationAnswer(200, "application/json", bytearray(text))


def done(kept: ClientOperations, scope: Scope, key: str, name: str, now: float = 0.0) -> ClientOperation:
    operation = kept.begin(scope, key, b"body", name)
    kept.end(operation, answer(), now, acted=True)
    return operation


def test_a_repeat_finds_the_operation_open_and_later_its_answer() -> None:
    kept = ClientOperations()
    begun = kept.begin(KERNEL, "key", b"body", "a")
    assert kept.known(KERNEL, "key", b"body", 0.0) is begun
    kept.end(begun, answer(), 1.0, acted=True)
    assert kept.known(KERNEL, "key", b"body", 1.0) is begun
    assert begun.answer == answer()


def test_a_key_of_another_request_is_refused() -> None:
    kept = ClientOperations()
    kept.begin(KERNEL, "key", b"body", "a")
    with pytest.raises(OtherRequest):
        kept.known(KERNEL, "key", b"another", 0.0)


@pytest.mark.parametrize("scope", [USER, VMM, Scope(Role.GUEST, TWO)], ids=["user", "VMM", "another VM"])
def test_a_key_is_of_one_scope(scope: Scope) -> None:
    kept = ClientOperations()
    done(kept, KERNEL, "key", "a")
    assert kept.known(scope, "key", b"another", 0.0) is None
    assert kept.find(scope, "a", 0.0) is None


def test_what_did_not_act_leaves_its_key_free() -> None:
    kept = ClientOperations()
    kept.end(kept.begin(KERNEL, "key", b"body", "a"), answer(b"busy"), 0.0, acted=False)
    assert kept.known(KERNEL, "key", b"another", 0.0) is None


def test_an_operation_without_a_key_is_kept_where_its_id_was_told() -> None:
    kept = ClientOperations()
    for reported in (False, True):
        operation = kept.begin(KERNEL, "", b"", f"told {reported}")
        operation.reported = reported
        kept.end(operation, answer(), 0.0, acted=True)
        assert (kept.find(KERNEL, f"told {reported}", 0.0) is operation) == reported


def test_a_told_operation_that_was_busy_says_so_by_its_id_and_leaves_its_key_free() -> None:
    kept = ClientOperations()
    operation = kept.begin(KERNEL, "key", b"body", "a")
    operation.reported = True
    kept.end(operation, answer(b"busy"), 0.0, acted=False)
    assert kept.find(KERNEL, "a", 0.0) is operation
    assert kept.known(KERNEL, "key", b"another", 0.0) is None


def test_an_answer_is_kept_for_an_hour_and_zeroed_then() -> None:
    kept = ClientOperations()
    first = done(kept, KERNEL, "key", "a")
    assert kept.find(KERNEL, "a", KEPT_FOR - 1) is first
    assert kept.find(KERNEL, "a", KEPT_FOR) is None
    assert first.answer == answer(bytes(4))


def test_an_operation_that_is_open_is_kept_however_long() -> None:
    kept = ClientOperations()
    begun = kept.begin(KERNEL, "key", b"body", "a")
    assert kept.known(KERNEL, "key", b"body", 9 * KEPT_FOR) is begun


@pytest.mark.parametrize(("scope", "most"), [(KERNEL, MOST_OF_A_VM), (VMM, MOST_OF_THE_VMM)])
def test_nothing_begins_where_all_are_open_or_young(scope: Scope, most: int) -> None:
    kept = ClientOperations()
    for number in range(most - 1):
        done(kept, scope, f"key {number}", f"{number}")
    kept.begin(scope, "", b"", "open")
    with pytest.raises(NoRoom):
        kept.begin(scope, "one more", b"", "refused")
    assert kept.known(scope, "another", b"", KEPT_FOR) is None
    kept.begin(scope, "one more", b"", "admitted")


def test_what_is_kept_of_a_vm_goes_with_it_and_is_zeroed() -> None:
    kept = ClientOperations()
    mine = done(kept, KERNEL, "key", "a")
    user = done(kept, USER, "key", "b")
    still_open = kept.begin(KERNEL, "other", b"body", "c")
    another = done(kept, Scope(Role.GUEST, TWO), "key", "d")
    kept.drop(ONE)
    for scope, name in ((KERNEL, "a"), (USER, "b"), (KERNEL, "c")):
        assert kept.find(scope, name, 0.0) is None
    assert (mine.answer, user.answer, another.answer) == (answer(bytes(4)), answer(bytes(4)), answer())
    kept.end(still_open, answer(), 0.0, acted=True)
    assert kept.find(KERNEL, "c", 0.0) is None
