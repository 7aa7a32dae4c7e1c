"""authz.cli.users."""

import json
import stat
from pathlib import Path

import pytest

from authz.core.tokens import generate
from authz.errors import StoreError

from .conftest import Run


def test_create_makes_the_store(run: Run) -> None:
    """The first user's creation makes the store, readable by its owner only."""
    assert run("users", "create", "alice").stdout == "User alice has been created.\n"
    assert stat.S_IMODE(Path(".authz/identity.db").stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(".authz").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "line", ["users list", "users suspend alice", "users activate alice", "users delete alice"]
)
def test_other_commands_make_no_store(run: Run, line: str) -> None:
    """Without a store the other commands say how to make one."""
    result = run(*line.split(), fails=StoreError)
    assert "'authz users create NAME'" in str(result.exception)
    assert not Path(".authz").exists()


def test_list(run: Run) -> None:
    """The table and the JSON hold the same users."""
    run("users", "create", "bob", "--email", "bob@example.com")
    run("users", "create", "build", "--service-account")
    run("users", "suspend", "bob")
    table = [line.split() for line in run("users", "ls").stdout.splitlines()]
    assert table[0] == ["USERNAME", "EMAIL", "STATUS", "KIND", "ROLE", "CREATED", "AT"]
    assert table[1][:4] == ["bob", "bob@example.com", "suspended", "person"]
    assert table[2][:4] == ["build", "active", "service", "account"]
    users = json.loads(run("users", "list", "-o", "json").stdout)
    assert [(user["username"], user["status"]) for user in users] == [
        ("bob", "suspended"),
        ("build", "active"),
    ]
    assert users[1]["is_service_account"] is True


def test_an_empty_list(run: Run) -> None:
    """Without users JSON has an empty list, and the table is a note on standard error."""
    run("users", "create", "alice")
    run("users", "delete", "alice")
    result = run("users", "list")
    assert (result.stdout, result.stderr) == ("", "No users found.\n")
    assert json.loads(run("users", "list", "-o", "json").stdout) == []


def test_suspend_and_activate(run: Run) -> None:
    """Both commands print the user's new state, and can be repeated."""
    run("users", "create", "alice")
    for _ in range(2):
        assert run("users", "suspend", "alice").stdout == "User alice is suspended.\n"
    for _ in range(2):
        assert run("users", "activate", "ALICE").stdout == "User alice is active.\n"


def test_delete_counts_tokens(run: Run) -> None:
    """Deleting says how many valid tokens went with the user."""
    for count, text in ((0, "0 valid tokens"), (1, "1 valid token"), (2, "2 valid tokens")):
        run("users", "create", "alice")
        for _ in range(count):
            run("tokens", "create")
        expected = f"User alice has been deleted, with {text}.\n"
        assert run("users", "delete", "alice").stdout == expected


def test_a_token_in_the_wrong_place_is_not_shown(run: Run) -> None:
    """A token given as a user's name does not appear in the error."""
    text, _ = generate()
    run("users", "create", "alice")
    for command in ("create", "suspend", "delete"):
        result = run("users", command, text, fails=StoreError)
        assert text not in str(result.exception) + result.output


@pytest.mark.parametrize("line", ["suspend ann", "delete ann", "role ann member"])
def test_the_last_owner(run: Run, line: str) -> None:
    """A command may remove the last owner, with a warning; for other owners it does not warn."""
    run("users", "create", "ann", "--admin")
    run("users", "create", "bob", "--admin")
    assert run("users", *line.replace("ann", "bob").split()).stderr == ""
    assert "No active owner is left" in run("users", *line.split()).stderr
