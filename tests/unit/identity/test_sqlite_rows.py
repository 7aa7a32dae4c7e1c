"""The cost of a check in the embedded store, which hardly depends on the number of tokens."""

import os
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz.core.identity import Identity
from authz.core.tokens import CoderToken, hash_secret
from authz.database.sqlite_file import make
from authz.identity.schema import IDENTITY
from authz.identity.sqlite_source import SQLiteSource

_MANY = 1_000_000 if os.environ.get("AUTHZ_SOAK") else 100_000
_CHECKS = 2_000
_DIGEST = hash_secret("secret")


def _fill(path: Path, rows: int) -> None:
    """Make users with ten tokens each, all with the same secret."""
    make(path, IDENTITY)
    now = datetime.now(UTC)
    made, ends = (
        moment.isoformat(timespec="microseconds") for moment in (now, now + timedelta(days=1))
    )
    connection = sqlite3.connect(path)
    with connection:
        connection.executemany(
            "INSERT INTO users (id, username, status, created_at, updated_at)"
            " VALUES (?, ?, 'active', ?, ?)",
            ((f"u{n}", f"u{n}", made, made) for n in range(rows // 10)),
        )
        connection.executemany(
            "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, created_at, updated_at,"
            " login_type, token_name) VALUES (?, ?, ?, ?, ?, ?, 'token', ?)",
            ((f"{n:010}", _DIGEST, f"u{n // 10}", ends, made, made, f"t{n}") for n in range(rows)),
        )
    connection.close()


async def _cost(path: Path, rows: int) -> float:
    """Return CPU microseconds of a check, over tokens from all over the table."""
    source = SQLiteSource(path)
    wanted = [CoderToken(f"{n * (rows // 500):010}", _DIGEST) for n in range(500)]
    for token in wanted:
        await source.verify(token)
    began = time.process_time()
    for number in range(_CHECKS):
        assert isinstance(await source.verify(wanted[number % 500]), Identity)
    cost = (time.process_time() - began) / _CHECKS
    await source.close()
    return cost * 1e6


@pytest.mark.timeout(300)
async def test_a_million_tokens_cost_hardly_more_than_a_thousand(tmp_path: Path) -> None:
    """A look-up is by primary key: its cost does not grow with the number of tokens."""
    paths = {rows: tmp_path / f"{rows}.db" for rows in (1_000, _MANY)}
    for rows, path in paths.items():
        _fill(path, rows)
    best = {rows: min([await _cost(path, rows) for _ in range(3)]) for rows, path in paths.items()}
    print("\n" + ", ".join(f"{rows:,} tokens: {cost:.1f} µs" for rows, cost in best.items()))
    # A larger tree has a level more, and fewer of its pages are in the processor's cache; a scan
    # would cost a hundred times as much.
    assert best[_MANY] < 10 * best[1_000]
