"""authz.cli.login and authz.cli.session."""

import stat
from pathlib import Path

import pytest

from authz.cli.session import session_path
from authz.core.tokens import generate, parse
from authz.errors import StoreError

from .conftest import Run

_SESSION = Path(".authz/session")


def test_login_keeps_a_session(run: Run) -> None:
    """The session's token is in a file of its owner's alone, and only 'login token' prints it."""
    run("users", "create", "alice")
    result = run("login", "--user", "alice")
    assert result.stdout == ""
    assert result.stderr.startswith("Logged in as alice until ")
    assert stat.S_IMODE(_SESSION.stat().st_mode) == 0o600
    text = run("login", "token").stdout.removesuffix("\n")
    assert parse(text) is not None
    assert _SESSION.read_text() == f"{text}\n"
    assert text not in result.stderr
    assert sorted(file.name for file in Path(".authz").iterdir()) == ["identity.db", "session"]


def test_a_new_login_replaces_the_session(run: Run) -> None:
    """Another login puts the new user's token in the old one's place, again with mode 0600."""
    for name in ("alice", "bob"):
        run("users", "create", name)
    run("login", "--user", "alice")
    first = run("login", "token").stdout
    _SESSION.chmod(0o644)
    run("login", "--user", "bob")
    assert run("login", "token").stdout != first
    assert stat.S_IMODE(_SESSION.stat().st_mode) == 0o600
    run("tokens", "create", "-n", "x")
    assert run("tokens", "list", "--all").stdout.split()[-1] == "bob"


def test_not_logged_in(run: Run) -> None:
    """Without a session the error says how to get one."""
    result = run("login", "token", fails=StoreError)
    assert str(result.exception).startswith("not logged in: run 'authz login --user NAME'")


def test_the_environment_overrides(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """$CODER_SESSION_TOKEN replaces the stored session: it is printed, and its user is used."""
    for name in ("alice", "bob"):
        run("users", "create", name)
    run("login", "--user", "alice")
    monkeypatch.setenv("CODER_SESSION_TOKEN", run("tokens", "create", "--user", "bob").stdout)
    assert run("login", "token").stdout.strip() != _SESSION.read_text().strip()
    run("tokens", "create", "-n", "x")
    assert "x" in run("tokens", "list", "--user", "bob").stdout.split()
    text, _ = generate()
    monkeypatch.setenv("CODER_SESSION_TOKEN", text)
    assert run("login", "token").stdout == f"{text}\n"


@pytest.mark.parametrize("end", ["suspended", "deleted", "expired", "environment"])
def test_a_session_that_is_over(run: Run, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ended session is an error and selects no other user; a login or --user solves it."""
    for name in ("alice", "bob"):
        run("users", "create", name)
    run("login", "--user", "bob")
    place = ".authz/session"
    if end == "environment":
        monkeypatch.setenv("CODER_SESSION_TOKEN", generate()[0])
        place = "$CODER_SESSION_TOKEN"
    elif end == "expired":
        run("tokens", "remove", _SESSION.read_text().strip())
        run("users", "suspend", "bob")
    else:
        run("users", {"suspended": "suspend", "deleted": "delete"}[end], "bob")
    for line in (("tokens", "create"), ("tokens", "list")):
        result = run(*line, fails=StoreError)
        assert str(result.exception) == (
            f"the session in {place} is not valid: run 'authz login --user NAME', or give --user"
        )
        run(*line, "--user", "alice")
    if end != "environment":
        assert run("login").stderr.startswith("Logged in as alice until ")
        run("tokens", "create")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"hello"])
def test_a_damaged_session(run: Run, content: bytes) -> None:
    """A file without a token is not printed, and a new login repairs it."""
    run("users", "create", "alice")
    _SESSION.write_bytes(content)
    result = run("login", "token", fails=StoreError)
    assert "holds no session" in str(result.exception)
    run("login", "--user", "alice")
    run("login", "token")


def test_a_session_that_cannot_be_kept(run: Run) -> None:
    """A session file that can't be written or read gives one clear line."""
    run("users", "create", "alice")
    _SESSION.mkdir()
    (_SESSION / "x").touch()
    result = run("login", "--user", "alice", fails=StoreError)
    assert "can't write the session .authz/session" in str(result.exception)
    result = run("login", "token", fails=StoreError)
    assert "can't read the session .authz/session" in str(result.exception)


def test_who_can_log_in(run: Run) -> None:
    """Unknown and suspended users can't log in."""
    run("login", "--user", "alice", fails=StoreError)
    run("users", "create", "alice")
    run("login", "--user", "bob", fails=StoreError)
    run("users", "suspend", "alice")
    run("login", "--user", "alice", fails=StoreError)
    assert not _SESSION.exists()


def test_user_goes_with_login_alone(run: Run) -> None:
    """'login --user U token' would print another's token, so it is wrong usage."""
    run("login", "--user", "alice", "token", fails=2)


@pytest.mark.parametrize(
    ("identity", "path"),
    [
        ("sqlite:////var/lib/authz/identity.db", "/var/lib/authz/session"),
        ("sqlite:///identity.db", "session"),
        ("https://coder.example.com", ".authz/session"),
        ("postgresql://host/db", ".authz/session"),
    ],
)
def test_where_the_session_is(identity: str, path: str) -> None:
    """The session is beside the store's file, else in the state folder."""
    assert session_path(identity) == Path(path)
