"""The commands on PostgreSQL."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from authz.cli.db import db
from authz.cli.login import login
from authz.cli.tokens import tokens
from authz.cli.users import users
from authz.errors import ConfigError, StoreError
from tests.support.postgres import PostgresServer


def _run(identity: str, *line: str) -> Result:
    Path("gateway.yaml").write_text(f"identity: {identity}\n")
    root = click.Group(commands={"db": db, "users": users, "tokens": tokens, "login": login})
    return CliRunner().invoke(root, line)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_an_empty_database_to_a_token(postgres: PostgresServer, folder: Path) -> None:
    """Tables, user, token, log-in and removal work, and the session is in ./.authz."""
    name = postgres.database()
    url = postgres.url(name)
    before = _run(url, "users", "create", "alice")
    assert isinstance(before.exception, StoreError)
    assert "authz db init" in str(before.exception)
    said = [_run(url, "db", "init").output for _ in range(2)]
    assert said == [
        f"Created the tables in postgresql:///{name}.\n",
        f"The tables in postgresql:///{name} already exist.\n",
    ]
    assert _run(url, "users", "create", "alice").exit_code == 0
    token = _run(url, "tokens", "create", "-n", "laptop").output.strip()
    assert len(token) == 33
    assert token[:10] in _run(url, "tokens", "list").output
    assert _run(url, "login").exit_code == 0
    assert (folder / ".authz" / "session").read_text().strip() == _run(
        url, "login", "token"
    ).output.strip()
    assert _run(url, "tokens", "remove", "--delete", "laptop").exit_code == 0
    assert postgres.sql(name, "SELECT count(*) FROM api_keys") == "1"


def test_init_of_the_embedded_store(folder: Path) -> None:
    """The same command makes the embedded store."""
    url = "sqlite:///./.authz/identity.db"
    assert "Created the tables" in _run(url, "db", "init").output
    assert "already exist" in _run(url, "db", "init").output
    assert _run(url, "users", "list").exit_code == 0


def test_init_where_coder_answers() -> None:
    """Coder's API has no tables to make."""
    assert isinstance(_run("https://coder.example.com", "db", "init").exception, ConfigError)


def test_help_shows_an_example() -> None:
    """The commands' help has an example that calls them."""
    for line in (["--help"], ["init", "--help"]):
        assert "authz db init" in CliRunner().invoke(db, line).output.partition("Example:")[2]
