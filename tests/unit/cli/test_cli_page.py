"""docs/cli.md, compared with the commands."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from authz.cli.main import cli
from tests.support.deployment import REPOSITORY

_PAGE = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `(authz(?: [a-z]+(?:-[a-z]+)*)+)` \| .+ \| `(.+)` \|$", re.MULTILINE)
_ROWS = dict(_ROW.findall(_PAGE))


def _commands(name: str, command: click.Command) -> Iterator[str]:
    """Return each command that can be called and is not hidden, with the names of its groups."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield name
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            below = command.get_command(context, child)
            assert below is not None
            if not below.hidden:
                yield from _commands(f"{name} {child}", below)


def _parse(command: click.Command, name: str, arguments: list[str]) -> str:
    """Parse a command line as click would, and return the names of its commands."""
    context = command.make_context(name, list(arguments))
    rest = [*context._protected_args, *context.args]
    if not isinstance(command, click.Group) or not rest:
        return name
    child, below, rest = command.resolve_command(context, rest)
    assert child is not None
    assert below is not None
    return f"{name} {_parse(below, child, rest)}"


def test_every_command_is_on_the_page() -> None:
    """The page has one row for each command, and none for anything else."""
    assert sorted(_ROWS) == sorted(_commands("authz", cli))


@pytest.mark.parametrize("command", _ROWS)
def test_each_example_can_be_typed(command: str) -> None:
    """The example of a row calls that command, with options and arguments that it takes."""
    line = re.search(r"authz [^|<>)]*", _ROWS[command])
    assert line is not None
    _, *arguments = shlex.split(line[0])
    assert _parse(cli, "authz", arguments) == command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shells_accept_the_script(shell: str, tmp_path: Path) -> None:
    """Each shell gets a completion script; the shell parses it if it is installed."""
    assert f"_AUTHZ_COMPLETE={shell}_source authz" in _PAGE
    done = subprocess.run(
        [sys.executable, "-c", "from authz.cli.main import main; main()"],
        env={**os.environ, "_AUTHZ_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"_AUTHZ_COMPLETE={shell}_complete" in done.stdout
    if program := shutil.which(shell):
        script = tmp_path / "completion"
        script.write_text(done.stdout)
        subprocess.run([program, "-n", script], check=True)
