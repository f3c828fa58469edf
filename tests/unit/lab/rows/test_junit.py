"""The JUnit report of rows."""

from pathlib import Path
from xml.etree import ElementTree

from harness.reported_rows import ALONE, HOSTILE, PAIR
from pef_lab.rows.junit import write_junit


def test_junit_has_a_suite_a_line_and_counts_what_its_cases_say(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    write_junit(file, [ALONE, PAIR])
    root = ElementTree.parse(file).getroot()  # noqa: S314 - our own file
    assert root.tag == "testsuites"
    assert root.attrib == {
        "name": "pef rows", "tests": "9", "failures": "1", "errors": "2", "time": "3.750"
    }  # fmt: skip
    assert [dict(suite.attrib) for suite in root] == [
        {
            "name": "ultravisor: UV_SVM_TERMINATE",
            "tests": "7", "failures": "1", "errors": "2", "skipped": "3", "time": "1.750",
        },
        {
            "name": "pair: UV_SVM_TERMINATE",
            "tests": "2", "failures": "0", "errors": "0", "skipped": "0", "time": "0.500",
        },
    ]  # fmt: skip
    cases = {(case.get("classname"), case.get("name")): case for case in root.iter("testcase")}
    assert len(cases) == 9
    outcomes = {
        name: [(child.tag, child.get("type"), child.get("message")) for child in case]
        for (suite, name), case in cases.items()
        if suite == "ultravisor: UV_SVM_TERMINATE"
    }
    seen = "expected U_P2, nothing changes; observed U_SUCCESS"
    assert outcomes == {
        "uv/fake/good": [],
        "uv/fake/bad": [("failure", "fail", seen)],
        "uv/fake/odd": [("error", "harness error", HOSTILE)],
        "uv/fake/open": [("error", "inconclusive", "no VM")],
        "uv/fake/waived": [("skipped", None, "waived by Ann")],
        "uv/fake/wished": [("skipped", None, seen)],
        "uv/fake/elsewhere": [("skipped", None, "needs another subject: pair")],
    }
