"""Hello as compare-and-set: who may begin an epoch, and whose hello has no effect."""

import pytest

from pef_kit.core.hello import Epochs, Hello
from pef_protocol.identity import CallId, Epoch, Incarnation, InstanceId, instance_of

UV = InstanceId("f" * 32)
ONE, TWO = InstanceId("1" * 32), InstanceId("2" * 32)


def test_the_first_hello_begins_an_epoch_and_again_has_no_effect() -> None:
    epochs = Epochs(UV)
    read = epochs.current
    assert epochs.judge(ONE, read) is Hello.TAKE_OVER
    begun = epochs.take_over(ONE)
    assert begun == Epoch(UV, 2)
    assert epochs.judge(ONE, read) is Hello.ITS_OWN
    assert epochs.judge(ONE, begun) is Hello.ITS_OWN
    assert epochs.current == begun


def test_a_hello_that_read_an_earlier_epoch_does_nothing() -> None:
    epochs = Epochs(UV)
    read = epochs.current
    epochs.take_over(ONE)
    assert epochs.judge(TWO, read) is Hello.REFUSE
    assert epochs.owner == ONE


def test_a_hypervisor_that_was_superseded_never_owns_an_epoch_again() -> None:
    epochs = Epochs(UV)
    epochs.take_over(ONE)
    epochs.take_over(TWO)
    assert epochs.judge(ONE, epochs.current) is Hello.REFUSE
    assert epochs.judge(TWO, epochs.current) is Hello.ITS_OWN


def test_an_epoch_of_another_ultravisor_is_no_current_one() -> None:
    assert Epochs(UV).judge(ONE, Epoch(ONE, 1)) is Hello.REFUSE


@pytest.mark.parametrize("name", [Epoch(UV, 7), Incarnation(UV, 1), CallId("abc", 1, 63, 9)])
def test_names_are_read_as_they_are_written(name: Epoch | Incarnation | CallId) -> None:
    assert type(name).parse(str(name)) == name


@pytest.mark.parametrize(
    "text", ["", "1", "f" * 32, "f" * 32 + ".0", "F" * 32 + ".1", "f" * 32 + ".1 ", "f" * 32 + "." + "9" * 20]
)
def test_junk_is_no_name(text: str) -> None:
    assert Epoch.parse(text) is None
    assert Incarnation.parse(text) is None


@pytest.mark.parametrize("text", ["", "s.1.0", "s.1.0.0", "s.-1.0.1", "s.1.0.1.1", "a b.1.0.1", "s.100.0.1"])
def test_junk_is_no_call_id(text: str) -> None:
    assert CallId.parse(text) is None


def test_an_instance_is_what_was_drawn() -> None:
    assert instance_of(bytes(range(16))) == "000102030405060708090a0b0c0d0e0f"
