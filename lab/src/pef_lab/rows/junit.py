"""Rows as JUnit XML, for whatever shows test results: a suite a line of each pass, a case a row.

| verdict | of a MUST row | of any other |
|---|---|---|
| fail | `failure` | `skipped`, with what was seen |
| harness error, inconclusive | `error`, by its type | `skipped`, with the cause |
| skipped, waived | `skipped` | `skipped` |

So a file has a failure or an error exactly where `pef rows` ends with 1.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from pef_lab.output import write_file
from pef_lab.rows.catalogue import line_of
from pef_lab.rows.ledger import PassReport, counts_against
from pef_lab.rows.row import Played, Verdict

NAME: Final = "pef rows"
COUNTED: Final = {"failures": "failure", "errors": "error", "skipped": "skipped"}
"""Attributes of a suite, and the elements of its cases that they count."""


def write_junit(file: Path, passes: Sequence[PassReport]) -> None:
    """Write all rows as JUnit XML."""
    root = ElementTree.Element("testsuites", name=NAME)
    for each in passes:
        suites: defaultdict[str, list[Played]] = defaultdict(list)
        for played in each.played:
            suites[line_of(played.row)].append(played)
        for line, rows in suites.items():
            name = f"{each.subject}: {line}"
            suite = ElementTree.SubElement(root, "testsuite", name=name)
            for played in rows:
                suite.append(_case(name, played))
            _count(suite, sum(played.seconds for played in rows))
    _count(root, sum(each.seconds for each in passes))
    del root.attrib["skipped"]  # strict readers of the format know it of a suite alone
    ElementTree.indent(root)
    declaration = '<?xml version="1.0" encoding="utf-8"?>\n'
    write_file(file, [declaration, ElementTree.tostring(root, encoding="unicode")])


def _count(suite: ElementTree.Element, seconds: float) -> None:
    """Give a suite, or all suites, the counts that consumers read."""
    suite.set("tests", str(len(list(suite.iter("testcase")))))
    for attribute, element in COUNTED.items():
        suite.set(attribute, str(len(list(suite.iter(element)))))
    suite.set("time", f"{seconds:.3f}")


def _case(suite: str, played: Played) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=suite, name=played.row.id, time=f"{played.seconds:.3f}")
    if played.verdict is Verdict.PASS:
        return case
    against = counts_against(played)
    element = ("failure" if played.verdict is Verdict.FAIL else "error") if against else "skipped"
    told = said_of(played)
    verdict = ElementTree.SubElement(case, element, message=told)
    if against:
        verdict.set("type", str(played.verdict))
        verdict.text = f"{played.row.clause}\n{told}"
    return case


def said_of(played: Played) -> str:
    """Return one line that says why a row did not pass."""
    finding = played.finding
    seen = f"expected {finding.expected}; observed {finding.observed}" if finding else ""
    return "; ".join(part for part in (played.cause, seen) if part)
