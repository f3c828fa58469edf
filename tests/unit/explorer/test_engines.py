"""Engines: the same results in the same order, whatever works on the pieces, and clear faults."""

import os
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import pytest

from pef_explorer import engines
from pef_explorer.engines import Dask, Engine, InProcess, Processes, engine_for
from pef_lab.failures import Unanswered, WrongInput

FACTORS = {"factor": 2}


def times(item: int) -> int:
    return item * FACTORS["factor"]


def fails_at_three(item: int) -> int:
    if item == 3:
        raise ValueError("three")
    return item


def dies(item: int) -> int:
    os._exit(item)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from distributed import Client, LocalCluster  # noqa: PLC0415 - a second to import

    make: Any = LocalCluster
    connect: Any = Client
    with (
        make(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as local,
        connect(local, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["in process", "processes", "dask"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "dask":
        return Dask("the test's", request.getfixturevalue("cluster"))
    return InProcess() if request.param == "in process" else Processes(2)


def test_results_come_in_the_order_of_the_items(engine: Engine) -> None:
    with engine:
        assert list(engine.map(times, range(40))) == [2 * item for item in range(40)]


def test_what_the_work_raises_is_raised_here(engine: Engine) -> None:
    with engine:
        results = engine.map(fails_at_three, range(9))
        assert list(islice(results, 3)) == [0, 1, 2]
        with pytest.raises(ValueError, match="three"):
            next(results)


def test_items_are_taken_as_they_are_needed(engine: Engine) -> None:
    with engine:
        assert list(islice(engine.map(times, count()), 3)) == [0, 2, 4]


def test_what_was_changed_before_the_first_piece_is_changed_in_the_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FACTORS, "factor", 7)
    with Processes(2) as engine:
        assert list(engine.map(times, range(3))) == [0, 7, 14]


def test_a_child_that_dies_is_a_clear_error() -> None:
    with Processes(1) as engine, pytest.raises(Unanswered, match="a worker process died"):
        list(engine.map(dies, [9]))


def test_a_scheduler_that_does_not_answer_is_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "CONNECT_SECONDS", 0.2)
    with pytest.raises(WrongInput, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"):
        Dask("tcp://127.0.0.1:9").__enter__()


def test_an_address_that_is_none_is_wrong_input() -> None:
    with pytest.raises(WrongInput, match="no scheduler answers at nowhere"):
        Dask("nowhere://at.all").__enter__()


@pytest.mark.parametrize(
    ("processes", "scheduler", "kind"),
    [(None, None, InProcess), (1, None, InProcess), (2, None, Processes), (None, "tcp://x:1", Dask)],
)
def test_the_command_line_says_which_engine(processes: int | None, scheduler: str | None, kind: type) -> None:
    assert type(engine_for(processes, scheduler)) is kind


@pytest.mark.parametrize(("processes", "scheduler"), [(0, None), (2, "tcp://x:1")])
def test_two_engines_or_none_are_wrong_input(processes: int, scheduler: str | None) -> None:
    with pytest.raises(WrongInput):
        engine_for(processes, scheduler)
