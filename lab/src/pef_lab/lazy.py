"""Commands that are imported when they are asked for, so that help and mistakes are answered at once."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import typer
from typer.core import TyperGroup

from pef_kit.core.designs import UnknownDesign
from pef_lab.failures import WrongInput

GROUP: Final = "pef.commands"


class FoundCommands(TyperGroup):
    """A group that also has what other distributions offer as commands, by entry points.

    An entry point gives a function, or a `typer.Typer` for a group of commands. It is loaded where its
    command is asked for, or listed. One that can't be, for want of what it imports, is listed with the
    reason.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, the found ones last."""
        return [*super().list_commands(ctx), *found_commands()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; load it where it is a found one."""
        known = super().get_command(ctx, cmd_name)
        if known is not None or cmd_name not in found_commands():
            return known
        loaded = _loaded(found_commands()[cmd_name])
        self.add_command(loaded, cmd_name)
        return loaded

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands, each with the first paragraph of its help, whole."""
        rows = []
        for name in dict.fromkeys(self.list_commands(ctx)):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, " ".join((command.help or "").split("\n\n")[0].split())))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def found_commands() -> dict[str, EntryPoint]:
    """Return the entry points of commands by name."""
    return {found.name: found for found in entry_points(group=GROUP)}


def _loaded(found: EntryPoint) -> Any:
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    try:
        loaded = found.load()
        if isinstance(loaded, typer.Typer):
            return typer.main.get_group(loaded)
        single.command(name=found.name)(loaded)
    except (ImportError, AttributeError, UnknownDesign) as fault:
        reason = str(fault)

        def refuse() -> None:
            raise WrongInput(f"{found.name}: {reason}")

        refuse.__doc__ = f"Not to be had: {reason}."
        anything = {"allow_extra_args": True, "ignore_unknown_options": True}
        single.command(name=found.name, context_settings=anything)(refuse)
    return typer.main.get_command(single)
