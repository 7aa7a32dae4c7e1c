"""authz.cli.audit, and the commands about roles, passwords and rules."""

import json

import pytest

from authz.errors import StoreError

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
    """It is read to the end of its line, shown nowhere, and ends the user's sessions."""
    run("users", "create", "alice")
    run("login")
    result = run("users", "password", "alice", stdin=f"{PASSWORD}\n")
    assert result.stdout == "User alice has a new password; 1 session ended.\n"
    assert PASSWORD not in run("audit").stdout + result.stderr
    run("users", "create", "bot", "--service-account")
    run("users", "password", "bot", stdin=f"{PASSWORD}\n", fails=StoreError)


@pytest.mark.parametrize("given", ["", "\n", "short\n", f"{'x' * 500}\n"])
def test_a_bad_password_changes_nothing(run: Run, given: str) -> None:
    """What is no password is refused in one line that does not show it."""
    run("users", "create", "alice")
    result = run("users", "password", "alice", stdin=given, fails=StoreError)
    assert not given.strip() or given.strip() not in str(result.exception)


def test_a_password_is_no_argument(run: Run) -> None:
    """Other users of the machine see arguments: there is no way to give it as one."""
    run("users", "create", "alice")
    run("users", "password", "alice", PASSWORD, fails=2)
