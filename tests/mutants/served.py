"""Have the services that a test starts as processes run with mutants in them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pef_lab.service_process import ServiceProcess
from pef_mutants.exchange import attribute


@contextmanager
def served(*names: str) -> Iterator[None]:
    """Have every `ServiceProcess` that is started in this process meanwhile run with these mutants.

    A test that starts a pair by itself says so in its plan: `PairPlan(mutants=...)`.
    """
    start = ServiceProcess.__init__

    def start_with_mutants(
        process: ServiceProcess,
        script: str,
        variables: dict[str, str],
        log: Path,
        *,
        mutants: Sequence[str] = (),
    ) -> None:
        start(process, script, variables, log, mutants=(*names, *mutants))

    with attribute(ServiceProcess, "__init__", start_with_mutants):
        yield
