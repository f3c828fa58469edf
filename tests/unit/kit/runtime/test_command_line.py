"""A service lists its settings, and refuses a wrong one in a line that does not show it."""

import pytest

from pef_hypervisor.app import Settings
from pef_kit.runtime.command_line import COLUMNS, help_of, settings_of
from pef_kit.runtime.settings import ServiceSettings
from pef_ultravisor.app import UltravisorSettings

MODELS = (Settings, UltravisorSettings)
GOOD = {
    "PEF_PEER_URL": "http://peer.test:8001",
    "PEF_HYPERVISOR_TOKEN": "canary-of-the-hypervisor",
    "PEF_ULTRAVISOR_TOKEN": "canary-of-the-ultravisor",
    "PEF_OBSERVER_TOKEN": "canary-of-the-observer",
    "PEF_VMM_TOKEN": "canary-of-the-vmm-alone",
    "PEF_GUEST_KEY": "canary-of-the-guests",
}
TOKENS = [name for name in GOOD if name.endswith("TOKEN")]
NO_HEADER = (
    "canary canary canary",
    "canary\ncanary-canary",
    "canary-canary-é-canary",
    "canary-canary\x7fcanary",
)
NO_URL = (
    "peer.test",
    "http://",
    "ftp://canary",
    "http://canary:x",
    "http://canary:70000",
    "http://can ary",
    "http://é",
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, setting in GOOD.items():
        monkeypatch.setenv(name, setting)


def refused(model: type[ServiceSettings], capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return the lines of a start that must be refused with 2, without what was set."""
    with pytest.raises(SystemExit) as ended:
        settings_of(model, "pef-side", arguments)
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert "canary" not in said.err
    return said.err.splitlines()


@pytest.mark.parametrize("model", MODELS)
def test_help_lists_each_setting_in_80_columns(
    model: type[ServiceSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        settings_of(model, "pef-side", ["--help"])
    text = capsys.readouterr().out
    assert (ended.value.code, text) == (0, help_of(model, "pef-side"))
    assert max(map(len, text.splitlines())) <= COLUMNS
    for name, field in model.model_fields.items():
        assert f"PEF_{name.upper()}  (" in text
        assert field.description, name


@pytest.mark.parametrize("model", MODELS)
def test_all_problems_of_a_start_are_a_line_each(
    model: type[ServiceSettings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PEF_GUEST_KEY")
    monkeypatch.setenv("PEF_PORT", "canary")
    monkeypatch.setenv("PEF_CONNECTIONS", "0")
    lines = refused(model, capsys)
    assert sorted(line.split(":")[0] for line in lines) == ["PEF_CONNECTIONS", "PEF_GUEST_KEY", "PEF_PORT"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, text) for name in TOKENS for text in NO_HEADER),
        *(("PEF_PEER_URL", text) for text in NO_URL),
        ("PEF_PORT", "65536"),
        ("PEF_PORT", "-1"),
        ("PEF_PEER_TIMEOUT", "inf"),
        ("PEF_PEER_TIMEOUT", "nan"),
    ],
)
def test_what_can_not_be_used_is_one_line(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, text)
    (line,) = refused(Settings, capsys)
    assert line.startswith(f"{name}: ")


def test_a_list_that_is_no_json_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PEF_ALLOWED_DESIGNS", "canary")
    (line,) = refused(UltravisorSettings, capsys)
    assert line.startswith("PEF_ALLOWED_DESIGNS: ")


@pytest.mark.parametrize("arguments", [["canary"], ["--port", "1"], ["--help", "canary"]])
def test_arguments_are_refused_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(refused(Settings, capsys, *arguments)) == 1
