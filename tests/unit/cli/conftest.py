"""The commands, run in a folder of their own without a configuration file."""

from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from authz.cli.assigned import limits, models
from authz.cli.audit import audit
from authz.cli.budgets import budgets
from authz.cli.explain import explain
from authz.cli.login import login
from authz.cli.notices import notices
from authz.cli.own_keys import own_keys
from authz.cli.tokens import tokens
from authz.cli.usage import usage
from authz.cli.user_groups import groups
from authz.cli.users import users
from authz.errors import AuthzError

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line that has to succeed and return what it printed.

    With ``fails=AuthzError`` or an exit code, it has to fail so instead.
    """
    monkeypatch.chdir(tmp_path)
    for variable in (
        "AUTHZ_CONFIG",
        "CODER_SESSION_TOKEN",
        "CODER_TOKEN_NAME",
        "CODER_TOKEN_LIFETIME",
        "CODER_TOKEN_USER",
    ):
        monkeypatch.delenv(variable, raising=False)
    commands = (
        *(users, groups, tokens, login, audit, usage, explain, own_keys, budgets, notices),
        *(limits, models),
    )
    root = click.Group(commands={str(command.name): command for command in commands})

    def _run(
        *line: str, fails: type[AuthzError] | int | None = None, stdin: str | None = None
    ) -> Result:
        result = CliRunner().invoke(root, line, input=stdin)
        if isinstance(fails, type):
            assert isinstance(result.exception, fails), result
            assert "\n" not in str(result.exception)
            assert result.stdout == ""
        else:
            assert result.exit_code == (fails or 0), (result.output, result.exception)
        return result

    return _run
