"""authz.cli.completion, asked as a shell asks."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import run_in_process

from .conftest import Run


def _complete(folder: Path, line: str) -> list[str]:
    """Return the values that bash would offer for a line whose last word is begun.

    Nothing may be printed beside them.
    """
    words = line.split(" ")
    environ = {
        **{name: value for name, value in os.environ.items() if name != "AUTHZ_CONFIG"},
        "_AUTHZ_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = run_in_process(folder, environ=environ)
    assert done.returncode == 0
    assert done.stderr == ""
    return [answer.partition(",")[2] for answer in done.stdout.splitlines() if answer]


def test_the_program_of_the_shell(tmp_path: Path) -> None:
    """The installed program answers a shell, and prints nothing else."""
    environ = {"_AUTHZ_COMPLETE": "bash_complete", "COMP_WORDS": "authz to", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "from authz.cli.main import main; main()"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("plain,tokens\n", "")


@pytest.fixture
def store(run: Run, tmp_path: Path) -> Path:
    """Two users with a token each."""
    for name in ("alice", "bob"):
        run("users", "create", name)
        run("tokens", "create", "-u", name, "-n", f"{name}-laptop")
    return tmp_path


def test_commands(tmp_path: Path) -> None:
    """The root's commands and those of a group."""
    assert _complete(tmp_path, "authz to") == ["tokens"]
    assert _complete(tmp_path, "authz tokens ") == ["create", "list", "remove", "rotate"]


@pytest.mark.parametrize(
    "line",
    [
        "authz tokens create -u ",
        "authz tokens list --user ",
        "authz login -u ",
        "authz audit --user ",
        "authz users suspend ",
        "authz users activate ",
        "authz users role ",
        "authz users password ",
        "authz users delete ",
        "authz tokens remove x -u ",
        "authz groups add x ",
        "authz groups list --user ",
        "authz explain -u ",
    ],
)
def test_users(store: Path, line: str) -> None:
    """Each option and argument that names a user completes with the store's users."""
    assert _complete(store, line) == ["alice", "bob"]
    assert _complete(store, f"{line}b") == ["bob"]


def test_a_new_user_has_no_completion(store: Path) -> None:
    """`users create` does not offer existing users."""
    assert "alice" not in _complete(store, "authz users create ")


def test_tokens(store: Path) -> None:
    """Tokens are offered by name, of one user where --user is given, and by id once it is begun."""
    assert _complete(store, "authz tokens remove ") == ["alice-laptop", "bob-laptop"]
    assert _complete(store, "authz tokens remove -u bob ") == ["bob-laptop"]
    assert _complete(store, "authz tokens remove al") == ["alice-laptop"]


def test_providers_and_clients(tmp_path: Path) -> None:
    """Providers come from the configuration that the line names, clients from the catalogue."""
    assert _complete(tmp_path, "authz providers test o") == ["openai"]
    assert _complete(tmp_path, "authz tokens create --provider cha") == ["chatgpt"]
    assert _complete(tmp_path, "authz client claude") == ["claude-code"]
    provider = "{name: mine, type: openai, base_url: 'https://a.example/v1'}"
    (tmp_path / "other.yaml").write_text(f"providers: [{provider}]\n")
    assert _complete(tmp_path, "authz providers test --config other.yaml ") == ["mine"]


@pytest.mark.parametrize(
    "configuration",
    [
        "bogus: [",
        "identity: https://coder.example.com",
        "identity: postgresql://127.0.0.1:1/none",
        "identity: sqlite:///./folder",
        "identity: sqlite:///./gateway.yaml",
        "",
    ],
)
def test_silent_on_errors(tmp_path: Path, configuration: str) -> None:
    """Without a usable store nothing is offered, printed or created."""
    (tmp_path / "gateway.yaml").write_text(f"{configuration}\n")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert _complete(tmp_path, "authz users delete ") == []
    assert _complete(tmp_path, "authz tokens remove ") == []
    assert sorted(tmp_path.rglob("*")) == before


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    """A person waits two seconds at most for a server that accepts and says nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "gateway.yaml").write_text(f"identity: postgresql://127.0.0.1:{port}/x\n")
        begin = time.monotonic()
        assert _complete(tmp_path, "authz users delete ") == []
        assert time.monotonic() - begin < 20


def test_the_store_is_only_read(store: Path) -> None:
    """Completion leaves the bytes of the store's file as they are."""
    file = store / ".authz" / "identity.db"
    before = file.read_bytes()
    assert _complete(store, "authz users delete ") == ["alice", "bob"]
    assert file.read_bytes() == before


def test_names_that_a_shell_cannot_take(store: Path) -> None:
    """A name with a line break or a space, as another program may have written it, is left out."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(store / ".authz" / "identity.db")) as connection:
        for old, new in (("alice", "al\nplain,ice"), ("bob", "b ob")):
            connection.execute("UPDATE users SET username = ? WHERE username = ?", (new, old))
        connection.commit()
    assert _complete(store, "authz users delete ") == []


@pytest.mark.parametrize("line", ["groups rules ", "usage --group ", "groups members res"])
def test_groups(store: Path, run: Run, line: str) -> None:
    """Commands about a group offer the groups of the store."""
    run("groups", "create", "research")
    assert _complete(store, f"authz {line}") == ["research"]
