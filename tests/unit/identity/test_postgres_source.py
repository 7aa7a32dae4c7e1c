"""authz.identity.postgres_source on Coder's newer and older tables and on authz's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken, generate
from authz.database.url import PostgresURL
from authz.errors import IdentityUnavailable
from authz.identity import batch, postgres_source
from authz.identity.open import open_source
from authz.identity.postgres_source import ANSWER_SECONDS, STATEMENT_SECONDS, PostgresSource
from tests.support.postgres import PostgresServer, coder_schema
from tests.support.postgres_tables import Tables, parsed

_DOCUMENT = Path(__file__).parents[3] / "docs" / "identity-postgresql.md"


@asynccontextmanager
async def _source(url: PostgresURL) -> AsyncIterator[PostgresSource]:
    source = PostgresSource(url)
    try:
        yield source
    finally:
        await source.close()


@pytest.mark.usefixtures("patient")
async def test_a_good_token_names_its_owner(tables: Tables) -> None:
    """The owner comes with everything that the access log and the headers need."""
    user = tables.add_user("alice")
    expires_at = datetime.now(UTC) + timedelta(days=1)
    token = tables.add_token(user, "laptop", expires_at)
    async with _source(tables.url()) as source:
        await source.check_ready()
        assert await source.verify(token) == Identity(
            user, "alice", "alice@example.com", token.id, "laptop", expires_at
        )


@pytest.mark.usefixtures("patient")
async def test_bad_tokens_are_told_apart(tables: Tables) -> None:
    """Unknown, wrong and expired tokens are different reasons."""
    user = tables.add_user("alice")
    good = tables.add_token(user, "good")
    expired = tables.add_token(user, "old", datetime.now(UTC) - timedelta(microseconds=1))
    wrong = CoderToken(good.id, generate()[1].digest)
    async with _source(tables.url()) as source:
        assert await asyncio.gather(
            *(source.verify(token) for token in (generate()[1], wrong, expired))
        ) == [Rejection.UNKNOWN, Rejection.WRONG_SECRET, Rejection.EXPIRED]


@pytest.mark.usefixtures("patient")
async def test_the_users_state_counts_at_once(tables: Tables) -> None:
    """A change of a user's state, and its reversal, take effect at the next request."""
    token = tables.add_token(tables.add_user("alice"))
    async with _source(tables.url()) as source:
        for change, reason in {
            "deleted = true": Rejection.USER_DELETED,
            "is_system = true": Rejection.USER_SYSTEM,
            "status = 'dormant'": Rejection.USER_INACTIVE,
            "status = 'suspended'": Rejection.USER_INACTIVE,
        }.items():
            assert isinstance(await source.verify(token), Identity)
            tables.sql(f"UPDATE users SET {change}")  # noqa: S608 - the test's own words
            assert await source.verify(token) is reason
            tables.sql("UPDATE users SET deleted = false, is_system = false, status = 'active'")


@pytest.mark.usefixtures("patient")
async def test_expiry_is_exact(newer: Tables) -> None:
    """A token is good until its very moment and not afterwards."""
    user = newer.add_user("alice")
    # On a busy machine a short life may end before the first question.
    for seconds in (0.5, 5, 50):
        answers = await _answers_until_the_end(newer, user, seconds)
        if len(answers) > 2:
            return
    pytest.fail(f"{answers}")


async def _answers_until_the_end(
    newer: Tables, user: str, seconds: float
) -> list[Identity | Rejection]:
    """Ask about a token until it has expired, check the answers, and return them."""
    expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
    token = newer.add_token(user, "", expires_at)
    answers: list[Identity | Rejection] = []
    async with _source(newer.url()) as source:
        while not answers or answers[-1] is not Rejection.EXPIRED:
            before = datetime.now(UTC)
            answers.append(await source.verify(token))
            if datetime.now(UTC) <= expires_at:
                assert isinstance(answers[-1], Identity)
            if before > expires_at:
                assert answers[-1] is Rejection.EXPIRED
    return answers


@pytest.mark.usefixtures("patient")
async def test_a_delete_in_another_process_counts(newer: Tables) -> None:
    """After another process has committed a delete, the next look-up refuses the token."""
    user = newer.add_user("alice")
    tokens = [newer.add_token(user, f"t{number}") for number in range(10)]
    async with _source(newer.url()) as source:
        for token in tokens:
            assert isinstance(await source.verify(token), Identity)
            newer.delete(token)
            assert await source.verify(token) is Rejection.UNKNOWN


@pytest.mark.usefixtures("patient")
async def test_many_requests_are_few_statements(newer: Tables) -> None:
    """Requests that wait at the same time share statements and connections."""
    user = newer.add_user("alice")
    tokens = [newer.add_token(user, f"t{number}") for number in range(5)]
    asked = tokens * 20 + [generate()[1] for _ in range(100)]
    async with _source(newer.url()) as source:
        calls = 0
        fetch = source._pool.fetch

        async def counting(sql: str, *args: object) -> object:
            nonlocal calls
            calls += 1
            return await fetch(sql, *args)

        source._pool.fetch = counting  # type: ignore[method-assign,assignment]
        answers = await asyncio.gather(*(source.verify(token) for token in asked))
        assert sum(isinstance(answer, Identity) for answer in answers) == 100
        assert calls == 1
        assert newer.server.connections(newer.name) <= 2


@pytest.mark.usefixtures("patient")
async def test_tables_may_come_later(postgres: PostgresServer) -> None:
    """A problem that an administrator fixes is gone at the next request, without a restart."""
    name = postgres.database()
    async with _source(parsed(postgres.url(name))) as source:
        with pytest.raises(IdentityUnavailable, match=r'"api_keys" does not exist: .*db init'):
            await source.verify(generate()[1])
        postgres.sql(name, "CREATE TABLE api_keys (id text)", "CREATE TABLE users (id text)")
        with pytest.raises(IdentityUnavailable, match=r"column .* does not exist: .*db init"):
            await source.verify(generate()[1])
        postgres.sql(name, "DROP TABLE api_keys", "DROP TABLE users", coder_schema("newer"))
        assert await source.verify(generate()[1]) is Rejection.UNKNOWN


@pytest.mark.usefixtures("patient")
async def test_a_migration_under_a_running_source(postgres: PostgresServer) -> None:
    """New columns and states in Coder's tables don't disturb what is prepared."""
    newer = Tables(postgres, postgres.coder_database())
    token = newer.add_token(newer.add_user("alice"))
    async with _source(newer.url()) as source:
        assert isinstance(await source.verify(token), Identity)
        newer.sql("ALTER TABLE users ADD COLUMN more text", "ALTER TABLE users DROP COLUMN name")
        assert isinstance(await source.verify(token), Identity)
        newer.sql("ALTER TYPE user_status ADD VALUE 'locked'")
        newer.sql("UPDATE users SET status = 'locked'")
        assert await source.verify(token) is Rejection.USER_INACTIVE
        newer.sql("ALTER TABLE users ALTER COLUMN email TYPE varchar(200)")
        newer.sql("UPDATE users SET status = 'active'")
        assert isinstance(await source.verify(token), Identity)


async def test_a_locked_table_is_a_quick_cannot_tell(
    newer: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a migration locks a table, look-ups fail in time and nothing piles up there."""
    token = newer.add_token(newer.add_user("alice"))
    loop = asyncio.get_running_loop()
    # On a busy machine the source could give up before it hears that the server did.
    monkeypatch.setattr(postgres_source, "ANSWER_SECONDS", 30)
    async with _source(newer.url()) as hog, _source(newer.url()) as source:
        source._batcher._seconds = 60
        locker = await hog._pool.take()
        async with locker.transaction():
            await locker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            for _ in range(2):
                began = loop.time()
                with pytest.raises(IdentityUnavailable, match="took too long: is a table locked"):
                    await source.verify(token)
                assert STATEMENT_SECONDS <= loop.time() - began < 20
            assert newer.server.connections(newer.name) == 2
        hog._pool.give_back(locker)
        assert isinstance(await source.verify(token), Identity)


def test_the_times_fit_into_each_other() -> None:
    """Timeouts grow from the server to the source to the batch, so that errors say most."""
    assert STATEMENT_SECONDS < ANSWER_SECONDS < batch.LOOK_UP_SECONDS


@pytest.mark.usefixtures("patient")
async def test_the_url_picks_the_source(newer: Tables) -> None:
    """open_source gives a source for both spellings of the scheme."""
    token = newer.add_token(newer.add_user("alice"))
    url = newer.url().dsn.reveal()
    for spelling in (url, url.replace("postgresql:", "postgres:", 1)):
        source = await open_source(spelling)
        assert isinstance(await source.verify(token), Identity)
        await source.close()
    with pytest.raises(IdentityUnavailable, match="closed"):
        await source.verify(token)
