"""The cost of a check, which does not depend on the number of tokens."""

import asyncio
import os
import statistics
import time

import pytest

from authz.core.identity import Identity
from authz.core.tokens import CoderToken, hash_secret
from authz.identity.postgres_source import PostgresSource
from tests.support.postgres import PostgresServer
from tests.support.postgres_tables import parsed

_MANY = 1_000_000 if os.environ.get("AUTHZ_SOAK") else 100_000
_CHECKS = 400


def _fill(server: PostgresServer, name: str, rows: int) -> None:
    """Make users with ten tokens each, all with the same secret."""
    server.sql(
        name,
        "INSERT INTO users (id, username, status, created_at, updated_at)"  # noqa: S608
        " SELECT md5(n::text)::uuid, 'u' || n, 'active', now(), now()"
        f" FROM generate_series(0, {rows // 10 - 1}) n",
        "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, created_at, updated_at,"  # noqa: S608
        " login_type, token_name) SELECT lpad(n::text, 10, '0'), sha256('secret'),"
        " md5((n / 10)::text)::uuid, now() + interval '1 day', now(), now(), 'token', 't' || n"
        f" FROM generate_series(0, {rows - 1}) n",
        "ANALYZE",
    )


def _token(number: int) -> CoderToken:
    return CoderToken(f"{number:010}", hash_secret("secret"))


async def _costs(source: PostgresSource, rows: int) -> dict[str, float]:
    """Return microseconds: a check's time one by one, and this process's CPU alone and batched."""
    step = rows // _CHECKS
    wanted = [_token(number * step) for number in range(_CHECKS)]
    for token in wanted[:50]:
        await source.verify(token)
    times = []
    cpu = time.process_time()
    for token in wanted:
        began = time.perf_counter()
        assert isinstance(await source.verify(token), Identity)
        times.append(time.perf_counter() - began)
    alone = (time.process_time() - cpu) / _CHECKS
    cpu = time.process_time()
    for _ in range(3):
        answers = await asyncio.gather(*(source.verify(token) for token in wanted))
        assert all(isinstance(answer, Identity) for answer in answers)
    batched = (time.process_time() - cpu) / _CHECKS / 3
    costs = {"time": statistics.median(times), "CPU alone": alone, "CPU batched": batched}
    return {name: seconds * 1e6 for name, seconds in costs.items()}


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("patient")
async def test_a_million_tokens_cost_as_a_thousand(
    postgres: PostgresServer, own_tables: str
) -> None:
    """A look-up is by index: the best of some rounds is the same for few tokens and many."""
    sizes = (1_000, _MANY)
    names = {rows: postgres.database(own_tables) for rows in sizes}
    best: dict[int, dict[str, float]] = {}
    for rows, name in names.items():
        _fill(postgres, name, rows)
    for _ in range(3):
        for rows, name in names.items():
            source = PostgresSource(parsed(postgres.url(name)))
            try:
                costs = await _costs(source, rows)
            finally:
                # uvloop waits for open connections for ever when it closes its loop.
                await source.close()
            best[rows] = {key: min(costs[key], best.get(rows, costs)[key]) for key in costs}
    for rows in sizes:
        said = ", ".join(f"{name} {value:.0f} µs" for name, value in best[rows].items())
        print(f"\n{rows:,} tokens, one check: {said}")
    # An index of a million has one or two levels more; a scan would cost a hundred times as much.
    for name in best[_MANY]:
        assert best[_MANY][name] < 10 * best[1_000][name]
    for name in names.values():
        postgres.sql("postgres", f"DROP DATABASE {name}")
