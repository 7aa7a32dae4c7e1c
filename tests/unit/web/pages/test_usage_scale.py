"""The usage page and ``authz usage`` over many requests: ten million in ``make soak``.

1,000 users work for 90 days, in sessions of 40 requests with one model, a minute apart.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from authz.database.interface import Database
from authz.identity.open import make_store, open_database
from authz.usage.recorder import SUM_UP_SECONDS
from authz.usage.rows import values_of
from authz.usage.schema import COLUMNS, ENTRIES, USAGE, prepare
from authz.usage.store import UsageStore
from authz.usage.sums import GROUPS
from authz.usage.sums_schema import DAY_MS
from tests.support.postgres import PostgresServer
from tests.unit.usage.test_store import entry

from .conftest import Site

_T = TypeVar("_T")
_IS_LONG = "AUTHZ_SOAK" in os.environ
_ROWS = int(os.environ.get("AUTHZ_ROWS", "10_000_000" if _IS_LONG else "20_000"))
_SECONDS = 1.0
_AT_ONCE = 250_000
_DAYS = 89
_SESSION = 40
_BEFORE_SUMS = replace(USAGE, steps={n: USAGE.steps[n] for n in USAGE.steps if n < 4})
_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM numbers"
    " WHERE i < {last}) {insert} FROM numbers",
    "postgresql": "{insert} FROM generate_series({first}::bigint, {last}) AS numbers (i)",
}


def _inserts(dialect: str, now_ms: int) -> Iterator[str]:
    """Yield the statements that make the requests, without a random value."""
    session = f"(i / {_SESSION})"
    # Multiplication with large primes scatters the sessions.
    user = f"({session} * 7919 % 1009 % 1000)"
    model = f"({session} * 104729 % 13 % 6)"
    sessions = _ROWS // _SESSION + 1
    begin = now_ms - _DAYS * DAY_MS - 3_600_000
    length = _DAYS * DAY_MS // sessions
    at = f"({begin} + {session} * {length} + i % {_SESSION} * 60000)"
    insert = f"""
INSERT INTO usage_entries (id, time_ms, decision, status, usage, duration_ms, user_id, username,
 token_id, token_name, provider, mode, model, input_tokens, cached_tokens, output_tokens, groups)
SELECT '0123456789ab-' || substr('{"0" * 12}' || i, -12), {at},
 CASE WHEN i % 50 = 0 THEN 'deny' ELSE 'allow' END, CASE WHEN i % 50 = 0 THEN 429 ELSE 200 END,
 CASE WHEN i % 50 = 0 THEN 'refused' ELSE 'complete' END, 2000,
 'user-' || {user}, 'user' || {user}, 'token' || {user}, 'laptop' || {user},
 CASE WHEN {model} < 3 THEN 'anthropic' ELSE 'openai' END,
 CASE WHEN {session} % 10 = 0 THEN 'byok' ELSE 'centralized' END, 'model-' || {model},
 CASE WHEN i % 50 = 0 THEN NULL ELSE 1000 END, CASE WHEN i % 50 = 0 THEN NULL ELSE 700 END,
 CASE WHEN i % 50 = 0 THEN NULL ELSE 100 END,
 '["all", "team-' || ({user} % 40) || '"]'"""
    if dialect == "postgresql":
        insert = insert.replace(f"substr('{'0' * 12}' || i, -12)", "lpad(i::text, 12, '0')")
    for first in range(0, _ROWS, _AT_ONCE):
        last = min(first + _AT_ONCE, _ROWS) - 1
        yield _NUMBERS[dialect].format(first=first, last=last, insert=insert)


async def _fill(request: pytest.FixtureRequest, kind: str, folder: Path) -> str:
    """Make requests in a database from before there were sums, and return its URL."""
    if kind == "sqlite":
        url = f"sqlite:///{folder}/usage.db"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        name = server.database()
        url = server.url(name)
    await make_store(url)
    database = await open_database(url)
    await prepare(database, _BEFORE_SUMS)
    await database.close()
    now_ms = int(time.time() * 1000)
    if kind == "sqlite":
        file = sqlite3.connect(folder / "usage.db", check_same_thread=False)
        for statement in _inserts(kind, now_ms):
            await asyncio.to_thread(file.execute, statement)
            file.commit()
        file.close()
    else:
        for statement in _inserts(kind, now_ms):
            await asyncio.to_thread(server.sql, name, statement)
    return url


async def _write(url: str, waits: list[float]) -> None:
    """Write requests as an older authz does, and measure how long each batch waits."""
    database = await open_database(url)
    try:
        while True:
            before = time.monotonic()
            row = values_of(entry(len(waits), "ba9876543210", username="writer"))
            async with database.transaction() as transaction:
                await transaction.insert(ENTRIES, COLUMNS, [row])
            waits.append(time.monotonic() - before)
            await asyncio.sleep(0.02)
    finally:
        await database.close()


async def _timed(what: str, work: Awaitable[_T]) -> _T:
    before = time.monotonic()
    found = await work
    seconds = time.monotonic() - before
    print(f"{what}: {seconds:.3f} s")
    assert seconds < _SECONDS, what
    return found


async def _upgrade(url: str) -> UsageStore:
    """Bring the tables up to date while another process writes."""
    waits: list[float] = []
    database: Database = await open_database(url)
    store = UsageStore(database)
    writing = asyncio.create_task(_write(url, waits))
    before = time.monotonic()
    await store.prepare()
    print(f"upgrade: {time.monotonic() - before:.3f} s")
    await store.create_partitions(int(time.time() * 1000))
    print(f"until there are partitions: {time.monotonic() - before:.1f} s")
    print(f"until then, a batch of another process waited up to {max(waits, default=0):.2f} s")
    await _timed("by day, before there are sums of the old rows", store.by_day(_since(1)))
    while await _sum_up(store):  # noqa: ASYNC110
        # As the service does: SQLite's other writers only get their turn in a pause.
        await asyncio.sleep(0.15)
    print(f"until all rows are in the sums: {time.monotonic() - before:.1f} s")
    writing.cancel()
    (result,) = await asyncio.gather(writing, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError), result
    print(f"batches: {len(waits)}, the longest wait {max(waits, default=0):.2f} s")
    for table in ("entries", "series", "hours", "days"):
        (row,) = await database.fetch(f"SELECT count(*) AS rows FROM usage_{table}")  # noqa: S608
        print(f"usage_{table}: {row['rows']:,} rows")
    return store


async def _sum_up(store: UsageStore) -> bool:
    until = time.monotonic() + SUM_UP_SECONDS
    while time.monotonic() < until:
        if not await store.sum_up_older():
            return False
    return True


def _since(days: float) -> int:
    return int(time.time() * 1000 - days * DAY_MS)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.timeout(3600)
async def test_answers_in_a_second(
    site: Site, request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """The page and the command answer in less than a second, with the right numbers."""
    url = await _fill(request, kind, tmp_path)
    store = await _upgrade(url)
    try:
        for days in (90, 29.3):
            # There are too many sessions for sums: by session, rows are read.
            for by in sorted(GROUPS.keys() - {"session"}):
                lines = await _timed(f"{days} days by {by}", store.add_up(by, _since(days)))
        lines = await store.add_up("mode", 0)
        refused = -(-_ROWS // 50)
        found = sum(line.refusals for line in lines)
        assert found == refused
        assert sum(line.cached_tokens for line in lines if line.key) == (_ROWS - refused) * 700
        await _timed("90 days by model, a group", store.add_up("model", 0, group="team-7"))
        await _timed("90 days by model, a user", store.add_up("model", 0, "user-7"))
        await _timed("90 days of a user", store.by_day(_since(90), "user-7"))
        await _timed("last uses", store.last_uses("user-7"))
    finally:
        await store.close()
    config = site.config.model_copy(
        update={"usage": site.config.usage.model_copy(update={"database": url})}
    )
    site.usage._config = lambda: config
    browser = await site.signed_in("root")
    await browser.get("/ui/usage")
    for days in (7, 30, 90):
        await _timed(f"page of {days} days", browser.get(f"/ui/usage?days={days}"))
        assert "user7" in browser.last.text
    await _timed("page of tokens", browser.get("/ui/"))
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps({"identity": site.config.identity, "usage": {"database": url}}))
    # Python and its modules take most of the time of a command.
    start = _run(file, "user", "1h")
    for by in ("user", "model", "group"):
        seconds = _run(file, by, "90d")
        print(f"authz usage --by {by}: {seconds:.2f} s, of which {start:.2f} s without requests")
        assert seconds - start < _SECONDS


def _run(file: Path, by: str, since: str) -> float:
    """Return the seconds that ``authz usage`` takes."""
    command = [sys.executable, "-m", "authz", "usage", "--config", str(file), "--by", by]
    before = time.monotonic()
    subprocess.run([*command, "--since", since], capture_output=True, check=True)
    return time.monotonic() - before
