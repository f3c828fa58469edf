"""A service with mutants in it: a mutant or a side that there is not is one clear line."""

import pytest

from pef_mutants.service import main


@pytest.mark.parametrize(
    ("words", "complaint"), [(["hypervisor", "K99"], "no such mutant: K99"), (["neither", "K4"], "side")]
)
def test_an_unknown_mutant_or_side_is_one_clear_line(
    words: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["pef_mutants.service", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert complaint in capsys.readouterr().err.splitlines()[-1]
