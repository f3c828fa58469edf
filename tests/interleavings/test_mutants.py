"""Without any one rule of the fence the matrix has a violation; with all of them its parts have none."""

import pytest

from interleavings.mutants import MUTANTS, Mutant

pytestmark = pytest.mark.verify


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_matrix_tells_each_mutant_of_the_fence(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mutant.run().violated == 0
    mutant.puts_in(monkeypatch)
    report = mutant.run()
    assert report.violated
    assert not mutant.kind or mutant.kind in report.kinds
