"""Names are those of the glossary: identifiers and keys from the syntax tree, file names, phrases in prose.

Exempt until the conformance kit replaces them: `pef_lab/rows`, `pef_lab/hostile` and `tests/conformance`.
"""

import ast
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from pef_explorer.invariants import INVARIANTS

REPOSITORY: Final = Path(__file__).parents[3]
PARTS: Final = ("shared", "services", "lab", "tests", "docs")
PACKAGES: Final = sorted(file.parent.name for file in REPOSITORY.glob("**/src/*/__init__.py"))
EXEMPT: Final = (
    "lab/src/pef_lab/rows/",
    "lab/src/pef_lab/hostile/",
    "tests/conformance/",
    # Tests of these two packages use their names.
    "tests/unit/lab/rows/",
    "tests/harness/fake_subject.py",
    "tests/harness/reported_rows.py",
    "tests/unit/lab/hostile/",
    "tests/unit/console/recorded/test_rows.py",
    "tests/unit/console/recorded/test_hostile.py",
    "docs/glossary.md",
)
STAYING: Final = frozenset(invariant.__name__ for invariant in INVARIANTS)
"""Names of invariants stay, whatever their words."""

# A name must not contain these words, nor these pairs of words, and must not be one of these names.
WORDS: Final = frozenset(
    """
    rung rungs ladder ladders climb climbs climbed deed deeds doorkeeper door doors patience patient insist
    leg legs sweep whereabouts portion portions stretches told telling heard unheard scene scenes sheet
    sheets strike twin zoo bred provoked hunt hunted retold story parked spoiled unsettled talkative
    misdeeds
    """.split()  # noqa: SIM905 - a list of words
)
PAIRS: Final = frozenset(
    """
    left_over give_back gives_back given_back giving_back take_out take_back way_back in_hand let_go
    said_out take_again held_still
    """.split()  # noqa: SIM905
)
NAMES: Final = frozenset(
    """
    Ask Work Pause Performer Flight flight flights land landed lands ours OURS MOVING WAITING WANTED
    PROMISED FILLED TOUCHED REPLACED CARRIED bring brings offer offers OFFER BRING TAKE_OUT NOWHERE among
    breaks OwnerBus MappedBus GIVE_BACK REMOVE MAKE_READY KEEP_FROM_DUMPS KEEP_FROM_CHILDREN play plays
    played Played ways Ways still Still fell fall falls Fall look Look looks Looks law LAW away does then
    readings READINGS Reading spared otherwise
    """.split()  # noqa: SIM905
)
PHRASES: Final = re.compile(
    r"\b(rungs?|ladders?|deeds?|doorkeepers?|left-overs?|whereabouts|the tables part|a fall)\b", re.IGNORECASE
)
DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def relative(file: Path) -> str:
    """Return a file's path in the repository."""
    return file.relative_to(REPOSITORY).as_posix()


def files(*endings: str) -> list[Path]:
    """Return the files of the repository with one of `endings` that are not exempt."""
    found = [file for part in PARTS for file in (REPOSITORY / part).rglob("*") if file.suffix in endings]
    found += [file for file in REPOSITORY.glob("*") if file.suffix in endings]
    return sorted(file for file in found if not relative(file).startswith(EXEMPT))


def tree_of(file: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(file.read_text(encoding="utf-8"))


def words_of(name: str) -> list[str]:
    """Return the words of a name in snake or camel case, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)]


def is_wrong(name: str) -> bool:
    """Tell whether a name uses a word that names do not use; the name of a test is a sentence, and prose."""
    if name.startswith("test_"):
        return PHRASES.search(name.replace("_", " ")) is not None
    words = words_of(name)
    together = {f"{first}_{second}" for first, second in pairwise(words)}
    return name not in STAYING and bool(name in NAMES or WORDS & {*words} or PAIRS & together)


def names_in(tree: ast.AST) -> Iterator[str]:
    """Yield each identifier of a module, and each key of its dictionaries that is written there."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case (
                ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name))
            ):
                yield name
            case ast.alias(name=name, asname=other):
                yield from (name.rpartition(".")[2], other or "")
            case ast.Dict(keys=keys):
                yield from (
                    key.value
                    for key in keys
                    if isinstance(key, ast.Constant) and isinstance(key.value, str) and " " not in key.value
                )


def keys_in(value: Any) -> Iterator[str]:
    """Yield each key of a JSON value."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    for each in value if isinstance(value, list) else ():
        yield from keys_in(each)


def prose_in(file: Path) -> str:
    """Return what a page says, or the docstrings and comments of a module."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    documented = [node for node in ast.walk(ast.parse(text)) if isinstance(node, DOCUMENTED)]
    comments = re.findall(r"(?m)(?:^|\s)# (.*)$", text)
    return "\n".join([*(ast.get_docstring(node) or "" for node in documented), *comments])


@pytest.mark.parametrize("file", files(".py"), ids=relative)
def test_names_use_the_words_of_the_glossary(file: Path) -> None:
    assert sorted({*filter(is_wrong, [file.stem, *names_in(tree_of(file))])}) == []


@pytest.mark.parametrize("file", files(".json"), ids=relative)
def test_keys_of_files_use_the_words_of_the_glossary(file: Path) -> None:
    assert sorted({*filter(is_wrong, keys_in(json.loads(file.read_text(encoding="utf-8"))))}) == []


def test_prose_uses_no_phrase_of_a_private_language() -> None:
    this = relative(Path(__file__))
    found = {relative(file): sorted({*PHRASES.findall(prose_in(file))}) for file in files(".py", ".md")}
    assert {file: phrases for file, phrases in found.items() if phrases and file != this} == {}


def test_the_glossary_says_what_to_use_instead_of_each_word() -> None:
    table = (REPOSITORY / "docs/glossary.md").read_text(encoding="utf-8").rpartition("| not | but |")[2]
    lines = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    listed = {word for line in lines for word in words_of(line)}
    forms = {
        word: {word, word.removesuffix("s"), word.removesuffix("ed"), word[:-1] + "er"} for word in WORDS
    }
    assert {word for word, alike in forms.items() if not alike & listed} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_class_name_is_used_once_in_a_package(package: str) -> None:
    places: dict[str, list[str]] = {}
    for file in files(".py"):
        if f"/src/{package}/" in relative(file):
            for node in ast.walk(tree_of(file)):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(relative(file))
    assert {name: named for name, named in places.items() if len(named) > 1} == {}
