"""Engines: where the pieces of a long run are worked on, with the results in the order of the pieces.

| engine | works in |
|---|---|
| `InProcess` | this process, one piece after the other |
| `Processes` | forked children of this process: what was changed before the first piece is changed there |
| `Dask` | the workers of a Dask scheduler that runs already: they import what is installed where they are |

A piece is one argument of a function of a module (both must pickle); its result depends on nothing else, so
a run's report is the same on any engine.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

from pef_lab.failures import Unanswered, WrongInput

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
R = TypeVar("R")

AHEAD: Final = 4
"""How many pieces a worker is handed at most: enough that none is idle, few enough to hold in memory."""
CONNECT_SECONDS: Final = 10
"""How long a scheduler has to answer."""


class Engine(Protocol):
    """Where pieces are worked on; open it with `with`."""

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `work(item)` of each item, in the order of the items. What `work` raises is raised here."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class InProcess:
    """Works here, on one piece after the other."""

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `work(item)` of each item."""
        return map(work, items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Processes:
    """Works in `count` forked children; they are forked when the first piece is handed out."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ProcessPoolExecutor(
            count, mp_context=multiprocessing.get_context("fork"), initializer=_leave_signals_to_the_parent
        )

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `work(item)` of each item; raise Unanswered where a child died."""

        def hand_out(item: T) -> Callable[[], R]:
            future: Future[R] = self._pool.submit(work, item)
            return future.result

        try:
            yield from _in_order(hand_out, items, self._count * AHEAD)
        except BrokenProcessPool:
            raise Unanswered("--processes", "a worker process died, perhaps for want of memory") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class Dask:
    """Works on the workers of a scheduler that runs at `address`, or of the one that `client` knows."""

    def __init__(self, address: str, client: "Client | None" = None) -> None:
        self._address = address
        self._client: Any = client
        self._owned = client is None

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `work(item)` of each item; raise Unanswered where scheduler or workers were lost."""
        from distributed.client import FutureCancelledError  # noqa: PLC0415 - a second to import
        from distributed.comm.core import CommClosedError  # noqa: PLC0415
        from distributed.scheduler import KilledWorker  # noqa: PLC0415

        threads = sum(self._client.nthreads().values())
        if not threads:
            raise WrongInput(f"--scheduler: {self._address} has no workers")

        def hand_out(item: T) -> Callable[[], R]:
            result: Callable[[], R] = self._client.submit(work, item, pure=False).result
            return result

        try:
            yield from _in_order(hand_out, items, threads * AHEAD)
        except (KilledWorker, CommClosedError, FutureCancelledError) as lost:
            raise Unanswered(f"--scheduler {self._address}", f"the work was lost: {lost}") from None

    def __enter__(self) -> Self:
        """Connect; raise WrongInput where no scheduler answers."""
        if self._client is None:
            from distributed import Client  # noqa: PLC0415 - a second to import

            connect: Callable[..., Any] = Client  # without types

            try:
                self._client = connect(self._address, timeout=CONNECT_SECONDS, set_as_default=False)
            except (OSError, ValueError) as fault:
                raise WrongInput(f"--scheduler: no scheduler answers at {self._address}: {fault}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned and self._client is not None:
            self._client.close()


def engine_for(processes: int | None, scheduler: str | None) -> Engine:
    """Return the engine that a command line asks for; raise WrongInput where it asks for two, or for none."""
    if scheduler is not None:
        if processes is not None:
            raise WrongInput("--processes and --scheduler: give one of them")
        return Dask(scheduler)
    if processes is not None and processes < 1:
        raise WrongInput(f"--processes: {processes} is not a number of processes")
    return InProcess() if processes in {None, 1} else Processes(processes or 1)


def _in_order(hand_out: Callable[[T], Callable[[], R]], items: Iterable[T], at_once: int) -> Iterator[R]:
    """Yield each item's result in order, with at most `at_once` handed out."""
    under_way: deque[Callable[[], R]] = deque()
    for item in items:
        under_way.append(hand_out(item))
        if len(under_way) == at_once:
            yield under_way.popleft()()
    while under_way:
        yield under_way.popleft()()


def _leave_signals_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))
