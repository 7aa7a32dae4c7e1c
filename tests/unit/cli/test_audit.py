"""authz.cli.audit, and the commands about roles, passwords and rules."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from authz.cli.audit import audit
from authz.errors import StoreError
from authz.identity.open import open_store

from .conftest import Run

PASSWORD = "correct horse battery"


def test_who_did_what(run: Run) -> None:
    """The table and the JSON have one line for each change, oldest first."""
    run("users", "create", "alice", "--admin")
    run("tokens", "create", "-n", "laptop", "--provider", "anthropic", "--mode", "central")
    lines = run("audit").stdout.splitlines()
    assert lines[0].split() == ["TIME", "WHO", "FROM", "ACTION", "WHAT", "MORE"]
    assert "user alice" in lines[1]
    assert "owner" in lines[1]
    assert "api_key laptop" in lines[2]
    entries = json.loads(run("audit", "--since", "1h", "--user", "alice", "-o", "json").stdout)
    assert [entry["action"] for entry in entries] == ["create", "create"]
    assert entries[1]["additional_fields"]["rules"] == {
        "providers": ["anthropic"],
        "modes": ["centralized"],
    }
    assert "No entries" in run("audit", "--user", "nobody").stderr
    assert run("audit", "--since", "100y").stdout.count("\n") == 3


def test_rules_are_listed(run: Run) -> None:
    """The list says what a token is limited to, and a wrong rule is wrong usage."""
    run("users", "create", "alice")
    run("tokens", "create", "-n", "ci", "--provider", "openai", "--mode", "byok")
    [key] = json.loads(run("tokens", "list", "-o", "json").stdout)
    assert key["rules"] == {"providers": ["openai"], "modes": ["byok"]}
    assert "openai; byok" in run("tokens", "list").stdout
    run("tokens", "create", "--mode", "both", fails=2)
    assert "as in the URL" in run("tokens", "create", "--provider", "A b", fails=2).stderr


def test_roles(run: Run) -> None:
    """A role is given when a user is made, and changed afterwards."""
    run("users", "create", "root", "--admin")
    run("users", "create", "helper", "--role", "user-admin")
    run("users", "create", "alice")
    users = json.loads(run("users", "list", "-o", "json").stdout)
    roles = {user["username"]: [role["name"] for role in user["roles"]] for user in users}
    assert roles == {"alice": [], "helper": ["user-admin"], "root": ["owner"]}
    assert run("users", "role", "alice", "owner").stdout == "User alice now has the role owner.\n"
    run("users", "role", "alice", "king", fails=2)


def test_a_password_comes_from_standard_input(run: Run) -> None:
    """The password is read from standard input, never shown, and ends the user's sessions."""
    run("users", "create", "alice")
    run("login")
    result = run("users", "password", "alice", stdin=f"{PASSWORD}\n")
    assert result.stdout == "User alice has a new password; 1 session ended.\n"
    assert PASSWORD not in run("audit").stdout + result.stderr
    run("users", "create", "bot", "--service-account")
    run("users", "password", "bot", stdin=f"{PASSWORD}\n", fails=StoreError)


@pytest.mark.parametrize("given", ["", "\n", "short\n", f"{'x' * 500}\n"])
def test_a_bad_password_changes_nothing(run: Run, given: str) -> None:
    """A bad password is refused with one line that does not show it."""
    run("users", "create", "alice")
    result = run("users", "password", "alice", stdin=given, fails=StoreError)
    assert not given.strip() or given.strip() not in str(result.exception)


def test_a_password_is_no_argument(run: Run) -> None:
    """A password can't be an argument, because other users of the machine see arguments."""
    run("users", "create", "alice")
    run("users", "password", "alice", PASSWORD, fails=2)


def test_all_entries_as_lines(run: Run) -> None:
    """The export has every entry once, oldest first, with the fields of the JSON output."""
    run("users", "create", "alice")
    run("tokens", "create", "-n", "laptop")
    lines = [json.loads(line) for line in run("audit", "export").stdout.splitlines()]
    assert lines == json.loads(run("audit", "-o", "json").stdout)
    assert run("audit", "export", "--since", "1h").stdout.count("\n") == 2


def test_entries_as_they_are_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --follow, entries that are written later follow, each once."""
    run("users", "create", "alice")
    names = ["alice", "bob", "carol"]
    coming = iter(names[1:])

    async def write(_: float) -> None:
        name = next(coming, None)
        if name is None:
            raise KeyboardInterrupt
        store = await open_store(f"sqlite:///{tmp_path}/.authz/identity.db", create=False)
        await store.create_user(name)
        await store.close()

    # In this module only: servers of earlier tests sleep too, in threads of this process.
    monkeypatch.setattr("authz.cli.audit.asyncio", SimpleNamespace(sleep=write))
    printed = CliRunner().invoke(audit, ["export", "--follow"]).stdout
    assert [json.loads(line)["resource_target"] for line in printed.splitlines()] == names
