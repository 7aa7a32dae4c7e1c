"""authz.cli.tokens."""

import asyncio
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from authz.core.identity import Identity, Rejection
from authz.core.tokens import generate, parse
from authz.errors import StoreError
from authz.identity.open import open_database, open_store
from authz.identity.sqlite_source import SQLiteSource
from authz.usage.entry import Usage, UsageEntry
from authz.usage.store import UsageStore

from .conftest import Run


def _verify(text: str) -> Identity | Rejection:
    async def work() -> Identity | Rejection:
        source = SQLiteSource(Path(".authz/identity.db"))
        token = parse(text.strip())
        assert token is not None
        try:
            return await source.verify(token)
        finally:
            await source.close()

    return asyncio.run(work())


def test_create_prints_the_token_alone(run: Run) -> None:
    """Standard output is the token and nothing else, standard error is empty, and it works."""
    run("users", "create", "alice")
    result = run("tokens", "create", "-n", "laptop")
    assert parse(result.stdout.removesuffix("\n")) is not None
    assert result.stderr == ""
    identity = _verify(result.stdout)
    assert isinstance(identity, Identity)
    assert (identity.username, identity.token_name) == ("alice", "laptop")


@pytest.mark.parametrize(
    ("options", "lifetime"),
    [((), timedelta(days=7)), (("--lifetime", "1d12h"), timedelta(hours=36))],
)
def test_lifetimes(run: Run, options: tuple[str, ...], lifetime: timedelta) -> None:
    """A token lasts as long as was asked, else seven days, which the help says."""
    run("users", "create", "alice")
    run("tokens", "create", *options)
    [key] = json.loads(run("tokens", "list", "-o", "json").stdout)
    begin, end = (datetime.fromisoformat(key[name]) for name in ("created_at", "expires_at"))
    assert end - begin == lifetime
    assert key["lifetime_seconds"] == lifetime.total_seconds()
    assert "Default: 7d." in " ".join(run("tokens", "create", "--help").stdout.split())


@pytest.mark.parametrize("lifetime", ["", "0s", "8", "1w", "101y"])
def test_a_bad_lifetime_is_wrong_usage(run: Run, lifetime: str) -> None:
    """An invalid lifetime exits 2 and creates no token."""
    run("users", "create", "alice")
    result = run("tokens", "create", "--lifetime", lifetime, fails=2)
    assert "--lifetime" in result.stderr
    assert result.stdout == ""
    assert json.loads(run("tokens", "list", "-o", "json").stdout) == []


def test_coders_variables(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, lifetime and user come from Coder's variables, unless an option says otherwise."""
    for name in ("alice", "bob"):
        run("users", "create", name)
    monkeypatch.setenv("CODER_TOKEN_NAME", "ci")
    monkeypatch.setenv("CODER_TOKEN_LIFETIME", "8h")
    monkeypatch.setenv("CODER_TOKEN_USER", "bob")
    run("tokens", "create")
    run("tokens", "create", "--user", "alice", "--name", "other")
    keys = json.loads(run("tokens", "list", "--all", "-o", "json").stdout)
    assert [(key["token_name"], key["username"]) for key in keys] == [
        ("ci", "bob"),
        ("other", "alice"),
    ]
    assert {key["lifetime_seconds"] for key in keys} == {8 * 3600}


def test_whose_token_it_is(run: Run) -> None:
    """--user wins over the session, the session over the only person; else --user is needed."""

    def owner(*options: str) -> str:
        identity = _verify(run("tokens", "create", *options).stdout)
        assert isinstance(identity, Identity)
        return identity.username

    run("users", "create", "build", "--service-account")
    result = run("tokens", "create", fails=StoreError)
    assert "no active user" in str(result.exception)
    run("users", "create", "alice")
    assert owner() == "alice"
    run("users", "create", "bob")
    result = run("tokens", "create", fails=StoreError)
    assert "--user" in str(result.exception)
    run("login", "--user", "bob")
    assert owner() == "bob"
    assert owner("--user", "build") == "build"
    assert owner("--user", "alice") == "alice"


def test_a_taken_name(run: Run) -> None:
    """A name that the user has already is an error that says what to do."""
    run("users", "create", "alice")
    run("tokens", "create", "-n", "laptop")
    result = run("tokens", "create", "-n", "laptop", fails=StoreError)
    assert 'A token with name "laptop" already exists' in str(result.exception)


def test_the_table(run: Run) -> None:
    """The table has the columns of ``coder tokens list``; nothing in it is secret."""
    run("users", "create", "alice")
    text = run("tokens", "create", "-n", "laptop").stdout.strip()
    head, row = run("tokens", "ls").stdout.splitlines()
    headings = [
        "ID",
        "NAME",
        "SCOPES",
        "ALLOW LIST",
        "LAST USED",
        "EXPIRES AT",
        "CREATED AT",
        "LIMITED TO",
    ]
    assert re.split(r" {2,}", head) == headings
    assert row.split()[:5] == [text[:10], "laptop", "coder:all", "*:*", "never"]
    head, row = run("tokens", "list", "-a").stdout.splitlines()
    assert (head.split()[-1], row.split()[-1]) == ("OWNER", "alice")
    assert text[11:] not in row + run("tokens", "list", "-o", "json").stdout


def test_the_last_use(run: Run, tmp_path: Path) -> None:
    """The list has the last recorded request of each token, and says where it can't know."""
    run("users", "create", "alice")
    token = run("tokens", "create", "-n", "laptop").stdout.strip()
    asyncio.run(_record(tmp_path, token[:10]))
    shown = run("tokens", "list", "--all", "-c", "name,last used").stdout
    assert shown.splitlines()[1].split() == ["laptop", "2026-11-28T10:20:07Z"]
    (key,) = json.loads(run("tokens", "list", "-o", "json").stdout)
    assert key["last_used"] == "2026-11-28T10:20:07Z"
    Path("gateway.yaml").write_text("usage: {database: 'sqlite:///./missing.db'}\n")
    result = run("tokens", "list", "-c", "last used")
    assert result.stdout.splitlines()[1] == "never"
    assert "The last uses of tokens are not known: no usage database" in result.stderr
    Path("gateway.yaml").write_text("usage: {enabled: false}\n")
    assert run("tokens", "list").stderr == ""


async def _record(folder: Path, token_id: str) -> None:
    store = await open_store(f"sqlite:///{folder}/.authz/identity.db", create=False)
    owner = (await store.get_user("alice")).id
    await store.close()
    rows = UsageStore(await open_database(f"sqlite:///{folder}/.authz/identity.db"))
    await rows.prepare()
    await rows.add(
        [
            UsageEntry(
                id="test-1",
                time_ms=1_795_861_207_000,
                decision="allow",
                status=200,
                usage=Usage.COMPLETE,
                duration_ms=1,
                user_id=owner,
                token_id=token_id,
            )
        ]
    )
    await rows.close()


@pytest.mark.parametrize(
    ("options", "headings"),
    [
        (("-c", "id,name"), ["ID", "NAME"]),
        (("--column", "Last Used, owner"), ["LAST USED", "OWNER"]),
        # As in coder, the order is the table's.
        (("-c", "owner", "-c", "id"), ["ID", "OWNER"]),
        (("--all", "-c", "name"), ["NAME"]),
    ],
)
def test_columns(run: Run, options: tuple[str, ...], headings: list[str]) -> None:
    """-c selects columns by Coder's names; JSON keeps all fields."""
    run("users", "create", "alice")
    run("tokens", "create", "-n", "laptop")
    head, _ = run("tokens", "list", *options).stdout.splitlines()
    assert re.split(r" {2,}", head) == headings
    whole = run("tokens", "list", "-o", "json").stdout
    assert run("tokens", "list", *options, "-o", "json").stdout == whole


@pytest.mark.parametrize("names", ["", "id,", "secret", "id name"])
def test_a_column_that_is_none(run: Run, names: str) -> None:
    """An unknown column is wrong usage, and the error lists the columns."""
    assert "allow list, last used" in run("tokens", "list", "-c", names, fails=2).stderr


def test_all_and_user_exclude_each_other(run: Run) -> None:
    """Asking for all and for one is wrong usage."""
    run("tokens", "list", "--all", "--user", "alice", fails=2)


def test_no_tokens(run: Run) -> None:
    """An empty list is not a failure: a note on standard error, and an empty list in JSON."""
    run("users", "create", "alice")
    result = run("tokens", "list")
    assert (result.stdout, result.stderr) == ("", "No tokens found.\n")
    assert run("tokens", "list", "-o", "json").stdout == "[]\n"


def test_remove_expires(run: Run) -> None:
    """Without --delete the token ends and its record stays, hidden unless asked for."""
    run("users", "create", "alice")
    for reference in ("name", "id", "token"):
        text = run("tokens", "create", "-n", reference).stdout.strip()
        by = {"name": "name", "id": text[:10], "token": text}[reference]
        assert run("tokens", "remove", by).stdout == "Token has been expired.\n"
        assert _verify(text) is Rejection.EXPIRED
    assert run("tokens", "list").stderr == "No tokens found.\n"
    keys = json.loads(run("tokens", "list", "--include-expired", "-o", "json").stdout)
    assert [key["token_name"] for key in keys] == ["name", "id", "token"]


def test_remove_deletes(run: Run) -> None:
    """With --delete no record of the token stays, and all aliases do the same."""
    run("users", "create", "alice")
    for alias in ("rm", "delete", "remove"):
        text = run("tokens", "create", "-n", "laptop").stdout
        assert run("tokens", alias, "laptop", "--delete").stdout == "Token has been deleted.\n"
        assert _verify(text) is Rejection.UNKNOWN


def test_remove_of_a_shared_name(run: Run) -> None:
    """A name that two users have needs --user, and only that user's token is removed."""
    for name in ("alice", "bob"):
        run("users", "create", name)
        run("tokens", "create", "-n", "laptop", "--user", name)
    result = run("tokens", "remove", "laptop", fails=StoreError)
    assert "--user" in str(result.exception)
    run("tokens", "remove", "laptop", "--user", "bob")
    [key] = json.loads(run("tokens", "list", "--all", "-o", "json").stdout)
    assert key["username"] == "alice"


def test_no_secret_in_an_error(run: Run) -> None:
    """A whole token that is unknown, or in the wrong place, is not shown."""
    run("users", "create", "alice")
    text, _ = generate()
    lines = [
        ("tokens", "remove", text),
        ("tokens", "create", "--name", text),
        ("tokens", "create", "--user", text),
        ("tokens", "list", "--user", text),
        ("login", "--user", text),
    ]
    for line in lines:
        result = run(*line, fails=StoreError)
        assert text[11:] not in str(result.exception) + result.output
    assert text[11:] not in run("tokens", "create", "--lifetime", text, fails=2).output


def test_the_program(tmp_path: Path) -> None:
    """The real program prints a token that works, and one line and exit 1 for a failure."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CODER_")}

    def authz(*line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "authz", *line],
            cwd=tmp_path,
            env={**environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=False,
        )

    missing = authz("tokens", "create")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("authz: no store at ")
    assert missing.stderr.count("\n") == 1
    assert authz("users", "create", "alice").returncode == 0
    made = authz("token", "create")
    assert (made.returncode, made.stderr) == (0, "")
    assert parse(made.stdout.removesuffix("\n")) is not None
    assert authz("tokens", "create", "--lifetime", "x").returncode == 2


def test_an_unknown_provider_is_refused(run: Run) -> None:
    """A provider that is not configured is wrong usage, and no token is made."""
    run("users", "create", "alice")
    refused = run("tokens", "create", "--provider", "nope", fails=2)
    assert "no such provider: this gateway has anthropic, chatgpt, copilot" in refused.stderr
    assert "No tokens" in run("tokens", "list").stderr


def test_an_owner_gets_no_long_token(run: Run) -> None:
    """A token of an owner lives at most a week, as by API; others may live long."""
    run("users", "create", "root", "--admin")
    result = run("tokens", "create", "--lifetime", "100y", fails=StoreError)
    assert "root is an owner: the lifetime of owners' tokens is at most 168h" in str(
        result.exception
    )
    run("tokens", "create", "--lifetime", "168h")
    run("users", "create", "alice")
    run("tokens", "create", "--user", "alice", "--lifetime", "100y")


def test_rotate_prints_the_new_token_alone(run: Run) -> None:
    """Rotation prints a working token with the old name; with no overlap the old one ends."""
    run("users", "create", "alice")
    old = run("tokens", "create", "-n", "laptop").stdout
    new = run("tokens", "rotate", "laptop").stdout
    for text in (old, new):
        assert isinstance(_verify(text), Identity)
    last = run("tokens", "rotate", "laptop", "--user", "alice", "--overlap", "0s").stdout
    identity = _verify(last)
    assert isinstance(identity, Identity)
    assert identity.token_name == "laptop"
    assert isinstance(_verify(new), Rejection)


def test_a_user_gets_no_more_tokens_than_configured(run: Run) -> None:
    """`tokens.max_per_user` counts for create and rotate; the error says what to do."""
    run("users", "create", "alice")
    for name in ("laptop", "ci"):
        run("tokens", "create", "-n", name)
    Path("gateway.yaml").write_text("tokens: {max_per_user: 1}\n")
    for command in (("create",), ("rotate", "laptop")):
        error = run("tokens", *command, fails=StoreError).exception
        assert "at most 1 are allowed" in str(error)
        assert "tokens.max_per_user" in str(error)
