"""The command line of a service: `--help` lists its settings, and a wrong setting is one line.

A service takes no arguments but `--help`: all that it is told stands in its settings.
"""

import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsError

from pef_kit.runtime.settings import SECRETS, ServiceSettings

S = TypeVar("S", bound=ServiceSettings)

CANNOT_START: Final = 2
"""Exit status of a service that may not start; nothing was changed."""
COLUMNS: Final = 80
"""Columns of a terminal in which the list of settings can be read."""
PREFIX: Final = str(ServiceSettings.model_config["env_prefix"])


def settings_of(model: type[S], program: str, arguments: Sequence[str]) -> S:
    """Return the settings of `program`; end with the list of them (0), or a line per problem (2)."""
    if arguments and set(arguments) <= {"-h", "--help"}:
        sys.stdout.write(help_of(model, program))
        sys.exit(0)
    if arguments:
        refuse(f"{program} takes no arguments; `{program} --help` lists its settings")
    try:
        return model()
    except ValidationError as wrong:
        refuse(*problems_of(wrong, program))
    except SettingsError as wrong:
        named = [_variable(name) for name in model.model_fields if f'"{name}"' in str(wrong)]
        refuse(f"{' '.join(named)}: this must be JSON; see `{program} --help`")
    except (OSError, UnicodeError) as wrong:
        refuse(f"a setting in {SECRETS} can't be read ({type(wrong).__name__}); see `{program} --help`")


def refuse(*problems: str) -> NoReturn:
    """Write a line per problem, and end with the status of a service that may not start."""
    sys.stderr.write("".join(f"{' '.join(problem.split())}\n" for problem in problems))
    sys.exit(CANNOT_START)


def problems_of(wrong: ValidationError, program: str) -> Iterator[str]:
    """Yield a sentence per problem, with the name of the setting and without its content."""
    for error in wrong.errors(include_url=False, include_input=False):
        message = "this must be set" if error["type"] == "missing" else error["msg"]
        message = message.removeprefix("Value error, ")
        names = _variable(error["loc"][0]) + ": " if error["loc"] else ""
        yield f"{names}{message}; see `{program} --help`"


def help_of(model: type[ServiceSettings], program: str) -> str:
    """Return the list of settings, each with its default and its meaning, in 80 columns."""
    head = (
        f"usage: {program} [--help]\n",
        *textwrap.wrap(
            "Run the service until it is told to stop. Its settings are environment variables. A setting may "
            f"also stand in a file of its name in lower case in {SECRETS}.",
            COLUMNS,
        ),
        "",
    )
    lines = [*head]
    for setting in settings_listed(model):
        lines += textwrap.wrap(
            f"{setting.name}  ({setting.default})", COLUMNS, subsequent_indent="  ", break_long_words=False
        )
        lines += textwrap.wrap(setting.meaning, COLUMNS, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class ListedSetting:
    """A setting as people read of it: the field of its model, the name of its variable, default, meaning."""

    field: str
    name: str
    default: str
    meaning: str


def settings_listed(model: type[ServiceSettings]) -> Iterator[ListedSetting]:
    """Yield each setting of a service in the order of its model."""
    for name, field in model.model_fields.items():
        meaning = " ".join((field.description or "").split())
        yield ListedSetting(name, _variable(name), _default(field), meaning)


def _variable(name: object) -> str:
    return f"{PREFIX}{name}".upper()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be set"
    default: Any = field.default
    if default is None or default == "":
        return "default: none"
    if isinstance(default, frozenset):
        return f"default: {json.dumps(sorted(default))}"
    return "default: not shown" if isinstance(default, SecretStr) else f"default: {default}"
