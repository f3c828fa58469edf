"""The files of a folder that can be opened, by their names: the path in the folder, without the ending."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pef_console.recorded.reading import kind_of, parsed_of
from pef_lab.failures import WrongInput

ENDINGS: Final = (".json", ".jsonl")
MOST_FILES: Final = 1000
MOST_OCTETS: Final = 8 << 20
PACKAGE: Final = Path(__file__).parents[1] / "counterexamples"
"""Where a wheel has the counterexamples."""
TREE: Final = Path(__file__).parents[4] / "docs" / "counterexamples"
"""Where the repository has them."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of the list. What its kind does not have is empty."""

    name: str
    title: str
    kind: str
    design: str
    invariant: str


class Folder:
    """The files of a folder and of those below it that are ours, as they were when the console began."""

    def __init__(self, folder: Path | None) -> None:
        self._files: dict[str, Path] = {}
        self.listed: list[dict[str, Any]] = []
        if folder is None:
            return
        for name, path in _found(folder):
            shown = _listed(name, path)
            if shown is not None:
                self._files[name] = path
                self.listed.append(asdict(shown))

    def read(self, name: str) -> str:
        """Return the text of a listed file; raise WrongInput for any other name."""
        path = self._files.get(name)
        if path is None:
            raise WrongInput(f"there is no file {name!r:.80} in the list")
        return text_of(path)


def default_folder() -> Path | None:
    """Return where the counterexamples are: with the package, or in the tree; None where there are none."""
    return next((folder for folder in (PACKAGE, TREE) if folder.is_dir()), None)


def text_of(path: Path) -> str:
    """Return the text of a file; raise WrongInput where it can't be read, or is too long to be opened."""
    try:
        size = path.stat().st_size
        if size > MOST_OCTETS:
            raise WrongInput(f"{path}: too long: {size:,} octets, where at most {MOST_OCTETS:,} are read")
        return path.read_text(encoding="utf-8")
    except OSError as failure:
        raise WrongInput(f"{path}: {(failure.strerror or type(failure).__name__).lower()}") from None
    except UnicodeDecodeError:
        raise WrongInput(f"{path}: not a text file") from None


def _found(folder: Path) -> Iterator[tuple[str, Path]]:
    if not folder.is_dir():
        raise WrongInput(f"--files: {folder} is no directory")
    paths = sorted(path for path in folder.rglob("*") if path.suffix in ENDINGS and path.is_file())
    for path in paths[:MOST_FILES]:
        yield path.relative_to(folder).with_suffix("").as_posix(), path


def _listed(name: str, path: Path) -> ListedFile | None:
    try:
        content = parsed_of(text_of(path))
    except WrongInput:
        return None
    kind = kind_of(content)
    if not kind:
        return None
    words = {} if isinstance(content, str) else content
    text = {key: str(words.get(key) or "") for key in ("title", "design", "invariant")}
    return ListedFile(
        name, text["title"] or name, kind, str(words.get("mutant") or text["design"]), text["invariant"]
    )
