"""authz.cli.common, and what holds for every command."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from authz.cli.groups import AliasedGroup
from authz.cli.main import cli
from authz.errors import ConfigError

from .conftest import Run


def _commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            below = command.get_command(context, child)
            assert below is not None
            yield from _commands(f"{name} {child}", below)


_ALL = list(_commands("authz", cli))


@pytest.mark.parametrize(("name", "command"), _ALL, ids=[name for name, _ in _ALL])
def test_help_shows_an_example(name: str, command: click.Command) -> None:
    """Every command's help has an example that calls it, and every leaf takes --config.

    `init`, `config schema` and `config reference` read no configuration.
    """
    text = CliRunner().invoke(command, ["--help"], prog_name=name).output
    assert name in text.partition("Example:\n")[2]
    without = ("authz init", "authz config schema", "authz config reference")
    if not isinstance(command, click.Group) and name not in without:
        assert "--config FILE" in text


@pytest.mark.parametrize("line", ["users create a", "users list", "tokens list", "login"])
def test_the_configuration_file_counts(run: Run, tmp_path: Path, line: str) -> None:
    """A configuration that can't be read is an error of every command."""
    run(*line.split(), "--config", str(tmp_path / "missing.yaml"), fails=ConfigError)


def test_the_store_of_the_configuration_is_used(run: Run, tmp_path: Path) -> None:
    """--config names the store."""
    config = tmp_path / "other.yaml"
    config.write_text(f"identity: sqlite:///{tmp_path}/other/identity.db\n")
    run("users", "create", "alice", "--config", str(config))
    assert (tmp_path / "other" / "identity.db").is_file()
    assert not (tmp_path / ".authz").exists()


def test_a_store_that_is_not_ours(run: Run, tmp_path: Path) -> None:
    """With Coder as identity source there are no users to manage, and the command fails."""
    config = tmp_path / "coder.yaml"
    config.write_text("identity: https://coder.example.com\n")
    run("users", "list", "--config", str(config), fails=ConfigError)


def test_aliases() -> None:
    """An alias runs its command and is not listed as one."""

    @click.group(cls=AliasedGroup, aliases={"ls": "list"})
    def group() -> None:
        pass

    @group.command("list")
    def list_() -> None:
        click.echo("listed")

    assert CliRunner().invoke(group, ["ls"]).output == "listed\n"
    assert "ls" not in CliRunner().invoke(group, ["--help"]).output.split()
    assert CliRunner().invoke(group, ["rm"]).exit_code == 2
