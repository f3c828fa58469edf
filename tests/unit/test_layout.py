"""Unit tests stand where their sources stand: each file names a module by its path.

tests/unit/ultravisor/gfn/test_columns.py tests pef_ultravisor/gfn/columns.py. Where one file would be
too long, a folder has the name of the module: tests/unit/ultravisor/from_guest/esm/ tests from_guest/esm.py.
"""

from pathlib import Path
from typing import Final

import pytest

UNIT: Final = Path(__file__).parent
REPOSITORY: Final = UNIT.parents[1]
SOURCES: Final = {
    "protocol": "shared/src/pef_protocol",
    "kit": "shared/src/pef_kit",
    "ultravisor": "services/ultravisor/src/pef_ultravisor",
    "hypervisor": "services/hypervisor/src/pef_hypervisor",
    "lab": "lab/src/pef_lab",
    "explorer": "lab/src/pef_explorer",
    "console": "lab/src/pef_console",
    "model": "lab/src/pef_model",
    "lessons": "lab/src/pef_lessons",
}
ACROSS: Final = frozenset(
    {
        # Which SVM a call is for, in each call of both directions.
        "hypervisor/test_incarnations.py",
        # The defects of the real code, each in another call.
        "hypervisor/test_defects.py",
        # Tokens stay out of settings, peers, answers and traces.
        "kit/runtime/test_secrets.py",
        # Two calls at once; what an SVM that has ended still does; what ends though time is over.
        "ultravisor/test_interleaved_calls.py",
        "ultravisor/test_leases.py",
        "ultravisor/test_time_is_over.py",
        # UV_PAGE_IN, UV_PAGE_OUT and UV_PAGE_INVAL judge runs alike.
        "ultravisor/from_hypervisor/test_paging_by_runs.py",
    }
)
"""Files that test something across modules, by their path in tests/unit."""
FILES: Final = sorted(
    str(path.relative_to(UNIT)) for side in SOURCES for path in (UNIT / side).rglob("test_*.py")
)


def names_a_module(file: str) -> bool:
    """Tell whether a test file, or else its folder, has the path of a module or package."""
    side, *folders = Path(file).parent.parts
    folder = REPOSITORY.joinpath(SOURCES[side], *folders)
    module = folder / Path(file).stem.removeprefix("test_")
    return any(
        path.is_file()
        for path in (module.with_suffix(".py"), module / "__init__.py", folder.with_suffix(".py"))
    )


@pytest.mark.parametrize("file", FILES)
def test_a_file_names_the_module_that_it_tests(file: str) -> None:
    assert names_a_module(file) or file in ACROSS


def test_what_tests_across_modules_is_there_and_names_none() -> None:
    assert set(FILES) >= ACROSS
    assert not [file for file in ACROSS if names_a_module(file)]


def test_a_file_that_names_no_module_is_seen() -> None:
    assert not names_a_module("ultravisor/gfn/test_column.py")
    assert not names_a_module("ultravisor/columns/test_counts.py")
