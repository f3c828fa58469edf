"""The `pef` command: whatever is wrong about it is one line and status 2; nothing is started."""

from pathlib import Path
from typing import Final

import pytest

from pef_lab.cli import app

IMAGE: Final = ("image", "build", "never", "--machine-key", "09" + "00" * 31)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["designs", "--size", "5frob"], "--size: 'frob' in '5frob' is no unit"),
        (["designs", "--size", "lots"], "--size: 'lots' is no size"),
        (["designs", "--size", "1MiB"], "--size: "),
        (["designs", "--size", "100000001"], "--size: "),
        (["designs", "--touched", "2GiB"], "--touched: 2 GiB do not fit"),
        (["designs", "--touched", "1KiB"], "--touched: 1 KiB is too little"),
        (["designs", "--design", "perfect"], "--design: there is no design 'perfect'; there are eager, "),
        (["designs", "--json", "/no/such/directory/file"], "/no/such/directory/file: No such file"),
        (["designs", "--ultravisor-url", "http://127.0.0.1:1"], "set PEF_HYPERVISOR_URL"),
        (["up", "--secure-memory", "much"], "--secure-memory: 'much' is no size"),
        (["up", "--normal-memory", "disk"], "'disk' is not one of"),
        (["trace", "/no/such/file"], "No such file"),
        (["trace"], "FILE"),
        (["image", "build", "never", "--machine-key", "12"], "--machine-key: '12' is not a public key"),
        (["image", "build", "never"], "Give --machine-key"),
        (["image", "build", "x", "--machine-key", "09" + "00" * 31, "--attach", "a"], "'a' is not NAME=PATH"),
        (["image", "build", "x", "--machine-key", "00" * 32], "no image: a machine's public key 0000"),
        (
            [*IMAGE, "--bootargs", "a" * 65536],
            "no image: bootargs of 65,536 bytes: the device tree has room ",
        ),
        ([*IMAGE, "--bootargs", "\udcff"], "no image: bootargs '\\udcff': not UTF-8"),
        ([*IMAGE, "--size", "15MiB"], "no image: 15728640 bytes of memory: "),
        ([*IMAGE, "--attach", "my key=/dev/null"], "--attach: attached file 'my key': a name is 1 to 64 "),
        ([*IMAGE, "--attach", "schlüssel=/dev/null"], "--attach: attached file 'schlüssel': a name is "),
        ([*IMAGE, "--attach", "\udcff=/dev/null"], "--attach: attached file '\\udcff': a name is "),
        ([*IMAGE, "--attach", "n" * 65 + "=/dev/null"], "a name is 1 to 64 printable ASCII characters"),
        ([*IMAGE, "--attach", "n" * 300 + "=/dev/null"], "...: a name is 1 to 64 printable ASCII characters"),
        (
            [*IMAGE, "--attach", "a=/dev/null", "--attach", "a=/dev/zero"],
            "'a': another one has the same name",
        ),
        (
            [*IMAGE, "--attach", "a=/dev/zero"],
            "--attach: /dev/zero: an ESM blob has at most 16,777,216 bytes",
        ),
        ([*IMAGE, "--attach", "a=/dev"], "--attach: /dev: Is a directory"),
        (
            [*IMAGE, *(word for number in range(1025) for word in ("--attach", f"f{number}=/dev/null"))],
            "--attach: 1,025 attached files: an ESM blob has at most 1,024",
        ),
        (["frobnicate"], "frobnicate"),
        (["demo", "--fast"], "--fast"),
    ],
)
def test_wrong_input_is_one_clear_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PEF_ULTRAVISOR_URL", "PEF_HYPERVISOR_URL"):
        monkeypatch.delenv(name, raising=False)
    assert app.run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.startswith("pef: ")
    assert err.count("\n") == 1


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([]) == 2
    assert capsys.readouterr().err.startswith("Usage: ")
    assert app.run(["--help"]) == 0


def test_down_without_a_pair_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert app.run(["down"]) == 2
    assert capsys.readouterr().err == "pef: no pair is up: `pef up` starts one\n"


def test_an_image_is_built_for_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attached = tmp_path / "secret"
    attached.write_bytes(b"attached")
    key = "09" + "00" * 31
    words = ["image", "build", str(tmp_path / "image"), "--size", "64MiB", "--machine-key", key]
    assert app.run([*words, "--attach", f"disk-key={attached}"]) == 0
    assert "kernel at 0x400000" in capsys.readouterr().out
    assert (tmp_path / "image" / "esm-blob.dtb").stat().st_size > 0
