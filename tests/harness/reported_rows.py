"""Passes over rows with a verdict of each kind, for tests of what is reported."""

from harness.fake_subject import played
from pef_lab.rows.ledger import PassReport
from pef_lab.rows.row import Level, Verdict
from pef_lab.rows.subject import Subject

HOSTILE = "]]><b>&\"'"

ALONE = PassReport(
    Subject.ULTRAVISOR,
    (
        played("good", Verdict.PASS),
        played("bad", Verdict.FAIL),
        played("odd", Verdict.ERROR, cause=HOSTILE),
        played("open", Verdict.INCONCLUSIVE, cause="no VM"),
        played("waived", Verdict.WAIVED, cause="waived by Ann"),
        played("wished", Verdict.FAIL, level=Level.SHOULD),
        played("elsewhere", Verdict.SKIPPED, cause="needs another subject: pair"),
    ),
    2.5,
)

PAIR = PassReport(Subject.PAIR, (played("good", Verdict.PASS), played("elsewhere", Verdict.PASS)), 1.25)
