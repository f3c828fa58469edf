"""`make test-console`: run the browser tests, and end with how many there were and how many failed."""

import importlib.util
import sys
from pathlib import Path

import pytest

from console.chromium import ADVICE, chromium


class Count:
    """Counts tests that ran, and tests of which a phase failed."""

    def __init__(self) -> None:
        self.ran: set[str] = set()
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a phase of a test."""
        if report.when == "call" and not report.skipped:
            self.ran.add(report.nodeid)
        if report.failed:
            self.ran.add(report.nodeid)
            self.failed.add(report.nodeid)


def main() -> int:
    """Run what the arguments name, or all; return the exit code."""
    if chromium() is None or importlib.util.find_spec("playwright") is None:
        print(f"console: not tested, {ADVICE if chromium() is None else 'playwright is not installed'}")  # noqa: T201
        return 0
    count = Count()
    arguments = sys.argv[1:]
    if not any(Path(each.partition("::")[0]).exists() for each in arguments):
        arguments = [str(Path(__file__).parent), *arguments]
    code = pytest.main(["-q", "-p", "no:xdist", "-m", "verify", *arguments], plugins=[count])
    print(f"console: {len(count.ran)} browser tests, {len(count.failed)} failed")  # noqa: T201
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
