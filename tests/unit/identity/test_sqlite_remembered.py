"""authz.identity.sqlite_source: cached answers are never older than the file."""

import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken, parse
from authz.identity.open import open_store
from authz.identity.sqlite_source import SQLiteSource

_STATEMENTS = {
    "delete": "DELETE FROM api_keys WHERE id = ?",
    "expire": "UPDATE api_keys SET expires_at = '2000-01-01T00:00:00.000000+00:00' WHERE id = ?",
    "rename": "UPDATE api_keys SET token_name = token_name || 'x' WHERE id = ?",
    "limit": """UPDATE api_keys SET authz_rules = '{"modes": ["byok"]}' WHERE id = ?""",
    "suspend": "UPDATE users SET status = 'suspended'"
    " WHERE id = (SELECT user_id FROM api_keys WHERE id = ?)",
    "activate": "UPDATE users SET status = 'active'"
    " WHERE id = (SELECT user_id FROM api_keys WHERE id = ?)",
}
_steps = st.lists(
    st.tuples(st.sampled_from([*_STATEMENTS, "restore", "checkpoint", "ask"]), st.integers(0, 2)),
    max_size=12,
)


async def _make(path: Path) -> list[CoderToken]:
    store = await open_store(f"sqlite:///{path}", create=True)
    made = []
    for name in ("alice", "bob", "carol"):
        user = await store.create_user(name)
        token = parse((await store.create_token(user, None, timedelta(days=1)))[0])
        assert token is not None
        made.append(token)
    await store.close()
    return made


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[CoderToken]]:
    """A store in one file, and a token of each of its users."""
    path = tmp_path_factory.mktemp("template") / "identity.db"
    made = asyncio.run(_make(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path, made


def _restore(template: Path, path: Path) -> None:
    shutil.copyfile(template, path.with_name("new.db")).replace(path)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


@settings(max_examples=60)
@given(_steps)
def test_every_answer_is_that_of_a_new_source(
    template: tuple[Path, list[CoderToken]], steps: list[tuple[str, int]]
) -> None:
    """Each answer reflects all earlier changes to the file, in whatever order they were made."""
    original, made = template

    async def run(path: Path) -> None:
        source = SQLiteSource(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            for step, number in (("ask", 0), *steps):
                if step == "restore":
                    _restore(original, path)
                    break
                if step == "checkpoint":
                    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                elif step != "ask":
                    writer.execute(_STATEMENTS[step], (made[number].id,))
                await _compare(source, path, made)
        await _compare(source, path, made)
        await source.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(shutil.copyfile(original, Path(folder) / "identity.db")))


async def _compare(source: SQLiteSource, path: Path, made: list[CoderToken]) -> None:
    fresh = SQLiteSource(path)
    for token in made:
        assert await source.verify(token) == await fresh.verify(token)
    await fresh.close()


async def test_a_token_that_expires_while_it_is_remembered(
    template: tuple[Path, list[CoderToken]], tmp_path: Path
) -> None:
    """A cached token's expiry is checked for each answer."""
    original, (token, *_) = template
    path = shutil.copyfile(original, tmp_path / "identity.db")
    soon = datetime.now(UTC) + timedelta(seconds=5)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("UPDATE api_keys SET expires_at = ?", (soon.isoformat(),))
    source = SQLiteSource(path)
    assert isinstance(await source.verify(token), Identity)
    await asyncio.sleep(5.05)
    assert await source.verify(token) is Rejection.EXPIRED
    await source.close()
