"""Measure the rates, the CPU time and the bytes of one database; see ``bench.growth``."""

import asyncio
import itertools
import math
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from authz.budgets.admin import BudgetStore
from authz.budgets.ledger import Ledger, Wanted
from authz.budgets.periods import Period
from authz.budgets.schema import prepare
from authz.core.identity import Identity
from authz.core.tokens import CoderToken, hash_secret
from authz.database.sqlite_file import make
from authz.identity.open import make_store, open_database, open_store
from authz.identity.owners import OwnerKind
from authz.identity.postgres_source import PostgresSource
from authz.identity.schema import IDENTITY
from authz.limits import limit as limiting
from authz.limits.sql_store import SqlStore, open_postgresql
from authz.usage.entry import Tokens, Usage, UsageEntry
from authz.usage.recorder import BATCH_MAX
from authz.usage.store import UsageStore
from bench.processes import Watched
from tests.support.postgres import PostgresServer
from tests.support.postgres_tables import parsed

SECONDS, _REPEATS = 1.5, 4
_USERS = 10_000
_TOGETHER = 64


@dataclass
class Rate:
    """A kind of work, done for ``SECONDS`` several times.

    Attributes:
        per_second: the most that was done in a second.
        postgres_us, authz_us: the least CPU time for each, since other work only adds to it.
    """

    per_second: float
    postgres_us: float
    authz_us: float


async def rate(server: Watched | None, work: Callable[[], Awaitable[int]]) -> dict[str, float]:
    """Repeat a work that returns how much it did."""
    await work()
    best = Rate(0, math.inf, math.inf)
    for _ in range(_REPEATS):
        before = server.cpu_seconds() if server else 0.0
        cpu, began, done = time.process_time(), time.monotonic(), 0
        while (took := time.monotonic() - began) < SECONDS:
            done += await work()
        used = (server.cpu_seconds() - before) if server else 0.0
        mine = time.process_time() - cpu
        best = Rate(
            max(best.per_second, done / took),
            min(best.postgres_us, used / done * 1e6),
            min(best.authz_us, mine / done * 1e6),
        )
    return vars(best)


async def usage(server: PostgresServer) -> dict[str, float]:
    """Write requests of many users with the program's writer, and measure the tables."""
    name, url = await _own(server)
    store = UsageStore(await open_database(url))
    await store.prepare()
    now_ms = int(time.time() * 1000)
    await store.create_partitions(now_ms)
    numbers = itertools.count()
    found = await rate(watched(server), lambda: store.add(_entries(numbers, now_ms)))
    rows = int(server.sql(name, "SELECT count(*) FROM usage_entries"))
    size = (
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
        " WHERE relname LIKE 'usage_entries%' AND relkind = 'r'"
    )
    found["row_bytes"] = int(server.sql(name, size)) / rows
    for table in ("series", "hours"):
        each = f"SELECT pg_total_relation_size('usage_{table}') / count(*) FROM usage_{table}"  # noqa: S608
        found[f"{table}_bytes"] = int(server.sql(name, "VACUUM FULL", each))
    await store.close()
    _drop(server, name)
    return found


async def usage_sqlite(folder: Path) -> dict[str, float]:
    """Do the same in a file."""
    path = folder / "usage.db"
    make(path, IDENTITY)
    store = UsageStore(await open_database(f"sqlite:///{path}"))
    await store.prepare()
    numbers, now_ms = itertools.count(), int(time.time() * 1000)
    found = await rate(None, lambda: store.add(_entries(numbers, now_ms)))
    await store.close()
    with closing(sqlite3.connect(path)) as file:
        size = "SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%usage_entries%'"
        found["row_bytes"] = file.execute(size).fetchone()[0] / next(numbers)
    return found


async def tokens(server: PostgresServer, rows: int) -> dict[str, float]:
    """Look tokens up, ten of each user, alone and together."""
    name, url = await _own(server)
    empty = int(server.sql(name, f"SELECT pg_database_size('{name}')"))
    server.sql(
        name,
        "INSERT INTO users (id, username, email, status, created_at, updated_at)"  # noqa: S608
        " SELECT md5(n::text)::uuid, 'user' || n, 'user' || n || '@example.com', 'active', now(),"
        f" now() FROM generate_series(0, {rows // 10 - 1}) n",
        "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, created_at, updated_at,"  # noqa: S608
        " login_type, token_name) SELECT lpad(n::text, 10, '0'), sha256('secret'),"
        " md5((n / 10)::text)::uuid, now() + interval '1 day', now(), now(), 'token', 't' || n"
        f" FROM generate_series(0, {rows - 1}) n",
        "ANALYZE",
    )
    size = int(server.sql(name, f"SELECT pg_database_size('{name}')")) - empty
    source, digest = PostgresSource(parsed(url)), hash_secret("secret")
    # A large prime scatters the tokens over the table.
    scattered = (f"{number * 7_919 % rows:010}" for number in itertools.count())

    async def together() -> int:
        wanted = [CoderToken(next(scattered), digest) for _ in range(32)]
        answers = await asyncio.gather(*map(source.verify, wanted))
        assert all(isinstance(answer, Identity) for answer in answers)
        return len(answers)

    found = {"tokens": rows, "bytes": size / rows, **await rate(watched(server), together)}
    await source.close()
    _drop(server, name)
    return found


async def limits(server: PostgresServer) -> dict[str, float]:
    """Count requests of users, of which many arrive together, and their ends."""
    name, url = await _own(server)
    store = SqlStore(lambda: open_postgresql(parsed(url)), 900_000)
    numbers = itertools.count()

    async def work() -> int:
        batch = [
            limiting.Wanted(f"r{n}", (_limit(n),)) for n in itertools.islice(numbers, _TOGETHER)
        ]
        await store.admit(batch)
        await store.settle({one.request_id: 0 for one in batch})
        return len(batch)

    found = await rate(watched(server), work)
    await store.close()
    _drop(server, name)
    return found


async def budgets(server: PostgresServer) -> dict[str, float]:
    """Reserve for requests of users with budgets, of which many arrive together, and settle."""
    name, url = await _own(server)
    store = await open_store(url, create=False)
    admin = store.part(BudgetStore)
    await admin.prepare()
    users = [await store.create_user(f"user{number}") for number in range(100)]
    made = [
        await admin.set_budget(OwnerKind.USER, user.id, Period.MONTH, 1_000_000_000, zone="UTC")
        for user in users
    ]
    await store.close()
    database = await open_database(url)
    await prepare(database)
    ledger, numbers = Ledger(database, first_cost=1_000, life_ms=900_000), itertools.count()

    async def work() -> int:
        batch = [
            Wanted(f"r{n}", made[n % 100].owner_id, "anthropic", (made[n % 100].id,))
            for n in itertools.islice(numbers, _TOGETHER)
        ]
        await ledger.reserve(batch)
        await ledger.settle({one.request_id: 1_000 for one in batch})
        return len(batch)

    found = await rate(watched(server), work)
    await database.close()
    _drop(server, name)
    return found


async def notify(server: PostgresServer, listeners: int) -> dict[str, float]:
    """Commit changes that notify listeners, which authz does not do, one after the other."""
    name = server.database()
    url = server.url(name)
    heard = 0

    def hear(*_: object) -> None:
        nonlocal heard
        heard += 1

    connections = [await asyncpg.connect(url) for _ in range(listeners)]
    for one in connections:
        await one.add_listener("changes", hear)
    writer = await asyncpg.connect(url)

    async def work() -> int:
        await writer.execute("SELECT pg_notify('changes', 'api_keys 0123456789')")
        return 1

    found = {"listeners": listeners, **await rate(watched(server), work)}
    for one in (*connections, writer):
        one.terminate()
    await asyncio.sleep(0)
    return found


def watched(server: PostgresServer) -> Watched:
    """Return the processes of a server."""
    return Watched(int((server.folder / "data" / "postmaster.pid").read_text().split()[0]))


async def _own(server: PostgresServer) -> tuple[str, str]:
    name = server.database()
    await make_store(server.url(name))
    return name, server.url(name)


def _drop(server: PostgresServer, name: str) -> None:
    server.terminate_connections(name)
    server.sql("postgres", f"DROP DATABASE {name}")


def _limit(number: int) -> limiting.Limit:
    kind = limiting.LimitKind.REQUESTS
    user, owner = f"user{number % 1_000}", limiting.Owner.USER
    return limiting.Limit(limiting.key_of(kind, owner, user), kind, 1_000_000, owner, user)


def _entries(numbers: "itertools.count[int]", now_ms: int) -> list[UsageEntry]:
    """Return a batch of requests, each of the next user."""
    return [_entry(number, now_ms) for number in itertools.islice(numbers, BATCH_MAX)]


def _entry(number: int, now_ms: int) -> UsageEntry:
    user = number * 7_919 % _USERS
    return UsageEntry(
        f"0123456789ab-{number:012}",
        now_ms + number // 20,
        "allow",
        200,
        Usage.COMPLETE,
        2_000,
        request_id=f"6f1c9f0e-0000-4000-8000-{number:012}",
        user_id=f"0a1b2c3d-0000-4000-8000-{user:012}",
        username=f"user{user}",
        token_id=f"k{user:09}",
        token_name="laptop",
        provider="anthropic",
        mode="centralized",
        model="claude-sonnet-4-5-20250929",
        tokens=Tokens(20_000, 17_000, 0, 400, 0),
        groups=("all", f"team-{user % 40}"),
        cost=12_345_678,
    )
