"""authz.cli.main and authz.cli.groups: the root command starts fast and shows whole lines."""

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from authz.cli.main import COMMANDS, cli

HEAVY = (
    "aiohttp", "argon2", "asyncio", "asyncpg", "cryptography", "envoy_data_plane", "google", "grpc",
    "jinja2", "prometheus_client", "pydantic", "sqlite3", "starlette", "structlog", "tabulate",
    "uvicorn", "yaml",
)  # fmt: skip


def _imported(*arguments: str) -> set[str]:
    """Return the heavy modules and the packages of authz that a command line imports."""
    code = (
        "import sys\n"
        "from authz.cli.main import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    modules = set(done.stderr.split())
    own = {".".join(name.split(".")[:2]) for name in modules if name.startswith("authz.")}
    return {name for name in HEAVY if name in modules} | own


@pytest.mark.parametrize("line", ["--version", "--help", "-h"])
def test_a_fast_start(line: str) -> None:
    """The version and the list of commands need none of the modules that take long to import."""
    assert _imported(line) == {
        "authz.cli",
        "authz.core",
        "authz.errors",
        "authz.printable",
        "authz.secret",
    }


def test_the_count_of_imports_can_fail() -> None:
    """A command that reads the configuration does import some of them."""
    assert {"pydantic", "yaml", "authz.config"} <= _imported("config", "check", "--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands(name: str) -> None:
    """The root's table has the first sentence of each command's help, and imports that command."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert COMMANDS[name].short_help == command.get_short_help_str(1000)


@pytest.mark.parametrize("line", [[], ["users"], ["tokens"], ["config"], ["envoy"], ["proxy"]])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_whole_help_lines(line: list[str], option: str) -> None:
    """Both help options list the commands in whole sentences, also in a narrow terminal."""
    # A process of its own: click keeps the help options of the first call.
    done = subprocess.run(
        [sys.executable, "-m", "authz", *line, option],
        env={**os.environ, "COLUMNS": "60"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Usage: authz ")
    assert "..." not in done.stdout.partition("Commands:")[2]
    assert "-h, --help" in done.stdout


def test_hidden_commands_are_not_listed() -> None:
    """`authz envoy parts`, which `authz up` runs, is not in the list."""
    assert "parts" not in CliRunner().invoke(cli, ["envoy", "-h"]).output


def test_no_colour() -> None:
    """The log on a terminal has escape sequences, except with NO_COLOR."""
    code = (
        "import io, sys\n"
        "class Terminal(io.StringIO):\n"
        "    def isatty(self): return True\n"
        "sys.stderr = terminal = Terminal()\n"
        "import structlog\n"
        "from authz import logs\n"
        "logs.configure(form='console')\n"
        "structlog.get_logger().info('hello')\n"
        "print(terminal.getvalue())"
    )
    for value in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"NO_COLOR": value},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "hello" in done.stdout
        assert ("\x1b[" in done.stdout) == (value == "")
