"""Stores of counts whose clock a test sets."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from authz.config.shared_limits import ValkeyURL, parse_store
from authz.database.interface import Database, Dialect
from authz.database.url import PostgresURL, SQLiteURL
from authz.limits.limit import Limit, LimitKind, LimitStore, Outcome, Owner, Wanted, key_of
from authz.limits.memory_store import MemoryStore
from authz.limits.sql_store import SqlStore, open_postgresql, open_sqlite

LIFE_MS = 90_000
NOON = 1_796_126_400_000
_TIME = "redis.call('TIME')"


@dataclass
class Clock:
    """A clock that stands still until the test moves it."""

    now_ms: int = NOON

    def memory(self) -> int:
        return self.now_ms

    def sql(self, dialect: Dialect) -> str:
        return str(self.now_ms)


def limit(kind: LimitKind, most: int, owner: Owner = Owner.USER, name: str = "alice") -> Limit:
    """Return a limit."""
    return Limit(key_of(kind, owner, name), kind, most, owner, name)


def request(number: int, *limits: Limit) -> Wanted:
    """Return a request that wants to pass limits."""
    return Wanted(f"a-{number:04d}", limits)


async def ask(store: LimitStore, *batch: Wanted) -> list[Outcome]:
    """Decide on requests and return the outcomes in their order."""
    outcomes = await store.admit(batch)
    return [outcomes[one] for one in batch]


Opener = Callable[[Clock], Awaitable[LimitStore]]


@asynccontextmanager
async def opened(
    url: str | None, clock: Clock, life_ms: int = LIFE_MS
) -> AsyncIterator[LimitStore]:
    """Open an empty store with that clock; None is the memory."""
    store = await _open(url, clock, life_ms)
    try:
        yield store
    finally:
        await store.close()


async def _open(url: str | None, clock: Clock, life_ms: int) -> LimitStore:
    place = parse_store(url or "memory")
    if place is None:
        return MemoryStore(life_ms, clock.memory)
    if isinstance(place, ValkeyURL):
        return await _valkey(place, clock, life_ms)
    open_database: Callable[[], Awaitable[Database]]
    if isinstance(place, SQLiteURL):
        open_database = partial(open_sqlite, place)
    else:
        assert isinstance(place, PostgresURL)
        open_database = partial(open_postgresql, place)
    store = SqlStore(open_database, life_ms, clock.sql)
    database = await store._opened()
    for table in ("limit_windows", "limit_open"):
        await database.execute(f"DELETE FROM {table}")  # noqa: S608
    return store


async def _valkey(url: ValkeyURL, clock: Clock, life_ms: int) -> LimitStore:
    """Open a store whose scripts read the clock from a key in place of the server's time."""
    from authz.limits.scripts import ADMIT, SETTLE
    from authz.limits.valkey_store import ValkeyStore

    store = ValkeyStore(url, life_ms)
    client = store._client
    await client.flushdb()
    fake = "{string.sub(ARGV[#ARGV], 1, -4), string.sub(ARGV[#ARGV], -3) * 1000}"
    for name, text in (("_admit", ADMIT), ("_settle", SETTLE)):
        assert text.count(_TIME) == 1
        script = client.register_script(text.replace(_TIME, fake))

        async def run(keys: list[str], args: list[object], script: object = script) -> object:
            return await script(keys=keys, args=[*args, clock.now_ms])  # type: ignore[operator]

        setattr(store, name, run)
    return store
