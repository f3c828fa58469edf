"""The file of a counterexample: what is read, what is refused with one line, and what is drawn of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.counterexample_file import content, step, written
from pef_lab.cli import app
from pef_lab.failures import WrongInput
from pef_lab.replay.counterexample import FORMAT, Counterexample, is_counterexample, read
from pef_lab.replay.playable import fits


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "found.json"


def test_a_file_is_read_as_it_is(file: Path) -> None:
    found = read(written(file))
    assert [str(each) for each in found.steps[:3]] == [
        "guest 0: share 0",
        "memory: unmap 0",
        "guest 0: go on (busy)",
    ]
    assert found.tables == {"0": ("NORMAL", "nothing"), "1": ("nothing", "nothing")}
    assert found.observations["1"].guest == "refused"
    assert json.loads(found.model_dump_json(exclude={"system": {"measured_plug"}})) == content()


def test_whoever_found_it_may_tell_more(file: Path) -> None:
    reported = {"command": "pef simulate", "commit": "abc1234", "seed": 7}
    assert read(written(file, found_by=reported)).found_by.model_dump() == reported


SHARES = step("guest 0", "share", "asks H_SVM_PAGE_IN", 0)

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "version 1": ({"format": "pef-counterexample/1"}, "of another version: 'pef-counterexample/1'"),
    "another version": ({"format": "pef-counterexample/3"}, "of another version: 'pef-counterexample/3'"),
    "another format": ({"format": "pef-trace/1"}, f"its format is not {FORMAT}"),
    "no such design": ({"design": "perfect"}, "design: "),
    "no such actor": ({"steps": [step("guest 7", "load", "waits", 0)]}, "steps.0.actor"),
    "no such action": ({"steps": [step("vmm", "dance", "waits")]}, "steps.0.action"),
    "no such fault": ({"steps": [SHARES, step("guest 0", "go on", "waits", fault="eaten")]}, "steps.1.fault"),
    "no such call": ({"steps": [step("vmm", "reset", "asks UV_DANCE")]}, "there is no call UV_DANCE"),
    "no such code": ({"steps": [step("vmm", "reset", "answers U_MAYBE")]}, "there is no code U_MAYBE"),
    "no such stop": ({"steps": [step("vmm", "reset", "sleeps")]}, "'sleeps' is nothing that"),
    "no such role": ({"system": {"image": ["lost"], "plug": 1, "vcpus": 1}}, "system.image.0"),
    "no such state": ({"tables": {"0": ["NORMAL", "SECRET"]}}, "tables.0.1"),
    "no such word": ({"observations": {"0": {"guest": "blue", "host": "zero"}}}, "observations.0.guest"),
    "an unknown field": ({"speed": 3}, "speed"),
    "a number as text": ({"violated_after": "4"}, "violated_after"),
    "a GFN that is none": ({"tables": {"7": ["NORMAL", "nothing"]}}, "tables: the system has no GFN 7"),
    "a step that is none": ({"violated_after": 9}, "violated_after: there are only 5 steps"),
    "a load of nothing": ({"steps": [step("guest 0", "load", "ends zero")]}, "step 1: load: it names no GFN"),
    "a reset of a GFN": ({"steps": [step("vmm", "reset", "ends OK", 0)]}, "step 1: reset: it names a GFN"),
    "a load beyond": ({"steps": [step("guest 0", "load", "ends zero", 5)]}, "the system has no GFN 5"),
    "another's action": ({"steps": [step("vmm", "load", "ends zero", 0)]}, "step 1: vmm can't load"),
    "no second vCPU": ({"steps": [step("guest 1", "load", "ends zero", 0)]}, "there is no guest 1"),
    "nothing to go on with": ({"steps": [step("vmm", "go on", "waits")]}, "has nothing to go on with"),
    "two at once": ({"steps": [SHARES, SHARES]}, "step 2: guest 0 is still at work"),
    "a fault of nothing": (
        {"steps": [step("vmm", "reset", "waits"), step("vmm", "go on", "waits", fault="lost")]},
        "step 2: lost: no request is on its way",
    ),
}


@pytest.mark.parametrize("command", ["replay", "trace"])
@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_cannot_be_followed_is_one_clear_line(
    file: Path, name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, says = WRONG[name]
    if name == "another format":
        command = "replay"
    assert app.run([command, str(written(file, **({"violated_after": 0} | changes)))]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"pef: {file}: ")
    assert says in err


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00", "[" * 100_000])
def test_what_is_no_counterexample_is_not_taken_for_one(file: Path, text: str) -> None:
    file.write_text(text)
    assert not is_counterexample(file)
    with pytest.raises(WrongInput, match="not a"):
        read(file)


def test_a_file_that_is_not_there_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["replay", "/no/such/file"]) == 2
    assert capsys.readouterr().err == "pef: /no/such/file: No such file or directory\n"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mutant": "K4"}, "the deliberate fault K4"),
        ({"system": {"image": ["brought", "brought"], "plug": 1, "vcpus": 1}}, "'brought', not more"),
        (
            {"steps": [step("guest 0", "UV_ESM", "suspended")], "violated_after": 1},
            "between two phases of a UV_ESM",
        ),
    ],
)
def test_what_services_cannot_play_is_wrong_input(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongInput, match=says):
        fits(Counterexample.model_validate_json(json.dumps(content(**changes))))


@pytest.mark.parametrize(
    "words",
    [
        ["--between-ultravisor", "1"],
        ["--ultravisor-url", "http://127.0.0.1:1"],
        ["--between-ultravisor", "1", "--between-hypervisor", "1"],
        ["--between-ultravisor", "1", "--between-hypervisor", "70000"],
        ["--between-ultravisor", "1", "--between-hypervisor", "2"],
    ],
)
def test_half_of_a_running_pair_is_wrong_input(
    file: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PEF_ULTRAVISOR_URL", "PEF_HYPERVISOR_URL"):
        monkeypatch.delenv(name, raising=False)
    assert app.run(["replay", str(written(file)), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
