"""The table of attacks fits 80 columns, and neither a name nor a number is cut or broken in it."""

import io
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from pef_lab.hostile import report
from pef_lab.hostile.catalogue import ATTACKS
from pef_lab.hostile.trial import Look, Outcome


def test_the_table_fits_and_has_every_word() -> None:
    look = Look("H_SVM_INIT_START of a VM", "U_FUNCTION", "UV_UNREGISTER_MEM_SLOT")
    trial: Any = SimpleNamespace(answers=[look] * 12, looks=[look], trouble="", outcome=Outcome.TROUBLE)
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(report.table_of([report.Row(attack, trial, 1.0) for attack in ATTACKS]))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed
    words = [look.seen, look.expected, *(str(attack.number) for attack in ATTACKS)]
    words += [word for attack in ATTACKS for word in attack.tried.split()]
    assert [word for word in words if word not in printed] == []
