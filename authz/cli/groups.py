"""Groups of commands: aliases, whole lines in the list, and commands that are imported late."""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

_WHOLE = 1000
"""More characters than the first sentence of a help text has."""


def example(*lines: str) -> str:
    """Return the epilog of a command's ``--help`` that shows how to call it.

    Args:
        lines: command lines, as a person types them.
    """
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


class AliasedGroup(click.Group):
    """A group whose commands may have further names, which ``--help`` does not list as commands.

    The list of commands shows the whole first sentence of each help text, wrapped.

    Args:
        aliases: further name to name.
    """

    def __init__(
        self, *args: Any, aliases: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.aliases = dict(aliases or {})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name or alias."""
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))

    def short_helps(self, ctx: click.Context) -> dict[str, str]:
        """Return the first sentence of the help of each command that is not hidden, by name."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return {
            name: command.get_short_help_str(_WHOLE)
            for name, command in commands
            if command is not None and not command.hidden
        }

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without cutting a line."""
        if rows := list(self.short_helps(ctx).items()):
            with formatter.section("Commands"):
                formatter.write_dl(rows)


class LateCommand(NamedTuple):
    """A command that is imported when it is called.

    Attributes:
        place: module and name, as ``authz.cli.run:up``.
        short_help: the first sentence of its help, which a test compares with the command.
    """

    place: str
    short_help: str

    def load(self) -> click.Command:
        """Import the command."""
        module, _, name = self.place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


class LateGroup(AliasedGroup):
    """A group that imports a command when it is called, so that ``--help`` starts at once.

    Args:
        late: the commands by name.
    """

    def __init__(self, *args: Any, late: Mapping[str, LateCommand], **options: Any) -> None:
        super().__init__(*args, **options)
        self.late = dict(late)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, sorted."""
        return sorted(self.late)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command of that name or alias."""
        late = self.late.get(self.aliases.get(cmd_name, cmd_name))
        return None if late is None else late.load()

    def short_helps(self, ctx: click.Context) -> dict[str, str]:
        """Return the first sentence of the help of each command, without importing any."""
        return {name: self.late[name].short_help for name in self.list_commands(ctx)}

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin with the text, without importing any."""
        commands = [
            CompletionItem(name, help=text)
            for name, text in self.short_helps(ctx).items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]
