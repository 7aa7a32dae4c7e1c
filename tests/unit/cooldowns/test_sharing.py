"""authz.cooldowns.sharing, over a real PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs

from authz.cooldowns import sharing as module
from authz.cooldowns.message import write
from authz.cooldowns.sharing import CHANNEL, CooldownSharing, SharedPool
from authz.core.decision_types import ChosenKey, Exhausted
from authz.database.postgres_channel import PostgresChannel
from authz.keys.pool import KeyPool
from authz.keys.refusal import Refusal, Requester
from authz.secret import Secret
from tests.support.postgres import PostgresServer
from tests.support.postgres_tables import parsed

FIRST, SECOND = Secret("sk-first-0123456789abcd"), Secret("sk-second-0123456789wxyz")
ALICE = Requester("uuid-of-alice", "Abcdefghi1", "alice")
BOB = Requester("uuid-of-bob", "Bbcdefghi1", "bob")
URL = "https://a.test/"


class Key:
    """A key that a test can replace."""

    def __init__(self, key: Secret) -> None:
        self.key = key

    def current(self) -> Secret | None:
        """Return the key."""
        return self.key


class Process:
    """One authz process: a pool of two keys, and the sharing of its cooldowns."""

    def __init__(self, url: str, *, has_pool: bool = True) -> None:
        self.keys = [Key(FIRST), Key(SECOND)]
        self.pool = KeyPool("a", self.keys, has_cooldown=True)
        self.marker = KeyPool("marker", self.keys, has_cooldown=True)
        both = {"a": SharedPool(self.pool, URL), "marker": SharedPool(self.marker, URL)}
        self.pools = both if has_pool else {}
        self.connected: list[bool] = []
        self.unauthorized: list[str] = []
        self.sharing = CooldownSharing(
            parsed(url), lambda: self.pools, self.connected.append, self.unauthorized.append
        )
        self.pool.on_refused = self.marker.on_refused = self.sharing.refused

    def refuse(self, index: int, status: int = 429, who: Requester = ALICE) -> None:
        """Say that the provider has refused a key."""
        self.pool.refused(index, self.keys[index].key.hint, status, "", who)

    def uses(self, index: int | None) -> bool:
        """Return whether a request gets this key, or with None no key."""
        chosen = self.pool.choose()
        if index is None:
            return isinstance(chosen, Exhausted)
        return isinstance(chosen, ChosenKey) and chosen.index == index

    @property
    def is_connected(self) -> bool:
        """True if the process reports that it can tell the others."""
        return bool(self.connected) and self.connected[-1]


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a condition of any kind
            await asyncio.sleep(0.01)


@pytest.fixture
async def started() -> AsyncIterator[Callable[[Process], Process]]:
    """Start the sharing of a process, and stop it at the end."""
    running: list[Process] = []

    def start(process: Process) -> Process:
        process.sharing.start()
        running.append(process)
        return process

    yield start
    for process in running:
        await process.sharing.stop()


@pytest.fixture
async def two(
    postgres: PostgresServer, own: str, started: Callable[[Process], Process]
) -> list[Process]:
    """Two processes that can tell each other."""
    found = [started(Process(postgres.url(own))) for _ in range(2)]
    await _until(lambda: all(one.is_connected for one in found))
    return found


async def test_one_is_told_and_both_know(two: list[Process]) -> None:
    """The other process uses the next key after a moment at most."""
    one, other = two
    one.refuse(0)
    await _until(lambda: other.uses(1))
    assert other.unauthorized == []
    (seconds,) = (refusal.seconds for refusal in other.pool.cooldowns())
    assert seconds == pytest.approx(60, abs=30)


async def test_an_unknown_key(two: list[Process]) -> None:
    """A key that the provider does not know any more may be renewed by each process."""
    one, other = two
    one.refuse(0, 401)
    await _until(lambda: other.uses(1))
    assert (one.unauthorized, other.unauthorized) == ([], ["a"])


async def test_the_last_key_takes_two_people(two: list[Process]) -> None:
    """One user's refusals at two processes leave a key; a second user's rest it in both."""
    one, other = two
    one.refuse(0)
    await _until(lambda: other.uses(1))
    one.refuse(1)
    other.refuse(1)
    # A message after those shows that they have arrived.
    for process, learner in ((one, other), (other, one)):
        process.marker.refused(0, FIRST.hint, 429, "", ALICE)
        await _until(learner.marker.cooldowns)
    assert [process.uses(1) for process in two] == [True, True]
    other.refuse(1, who=BOB)
    await _until(lambda: one.uses(None) and other.uses(None))


async def test_a_late_process(
    two: list[Process], postgres: PostgresServer, own: str, started: Callable[[Process], Process]
) -> None:
    """A process that starts later asks, and learns what rests."""
    one, _ = two
    one.refuse(0)
    late = started(Process(postgres.url(own)))
    await _until(lambda: late.uses(1))


async def test_without_a_pool(
    postgres: PostgresServer, own: str, started: Callable[[Process], Process]
) -> None:
    """A process without a pool has no connection; with its first pool it asks the others."""
    other = started(Process(postgres.url(own)))
    await _until(lambda: other.is_connected)
    other.refuse(0)
    process = started(Process(postgres.url(own), has_pool=False))
    await _until(lambda: process.is_connected)
    # The server may still have a connection of an earlier test.
    await _until(lambda: postgres.connections(own) == 1)
    process.pools = {"a": SharedPool(process.pool, URL)}
    process.sharing.pools_changed()
    await _until(lambda: process.uses(1))
    # A reload with other keys asks again.
    pool = KeyPool("a", process.keys, has_cooldown=True)
    process.pool, process.pools = pool, {"a": SharedPool(pool, URL)}
    assert process.uses(0)
    process.sharing.pools_changed()
    await _until(lambda: process.uses(1))
    process.pools = {}
    process.sharing.pools_changed()
    await _until(lambda: postgres.connections(own) == 1)


async def test_the_database_is_away(
    two: list[Process], postgres: PostgresServer, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process goes on with what it knows, and tells the others as soon as it can."""
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.05)
    one, other = two
    with capture_logs() as logs:
        await asyncio.to_thread(postgres.stop)
        try:
            await _until(lambda: not one.is_connected and not other.is_connected)
            one.refuse(0)
            assert one.uses(1)
            assert other.uses(0)
            other.keys[0].key = Secret("sk-new-0123456789abcd")
            other.refuse(1)
        finally:
            # In this thread: the server ends with the thread that starts it.
            postgres.start()
        await _until(lambda: any(refusal.index == 1 for refusal in one.pool.cooldowns()) or
                     isinstance(one.pool._suspected.get(1), tuple))  # fmt: skip
        await _until(lambda: one.is_connected and other.is_connected)
    # The first key is another one there.
    assert other.uses(0)
    events = [log["event"] for log in logs]
    assert events.count("refused keys are not shared with other authz processes") == 2
    assert events.count("refused keys are shared again") == 2


async def test_strangers(two: list[Process], postgres: PostgresServer, own: str) -> None:
    """Anyone who may connect can send, and without the key that changes nothing."""
    one, other = two
    forged = write("a", URL, Refusal(0, Secret("guessed"), 401, 60, ALICE), 4e9)
    unknown = write("b", URL, Refusal(0, FIRST, 401, 60, ALICE), 4e9)
    too_long = write("a", URL, Refusal(0, FIRST, 401, 1e9, ALICE), 4e9)
    texts = ["", "x", "[" * 5000, "{}", '{"hello"', '{"hello": 1}', '{"hello": "x"}', "null"]
    for text in (*texts, forged, unknown, too_long):
        quoted = text.replace("'", "''")
        sql = f"SELECT pg_notify('{CHANNEL}', '{quoted}')"
        await asyncio.to_thread(postgres.sql, own, sql)
    one.refuse(1)
    await _until(lambda: any(refusal.index == 1 for refusal in other.pool.cooldowns()))
    assert one.uses(0)
    assert other.uses(0)


async def test_a_burst_is_told_once(two: list[Process], postgres: PostgresServer, own: str) -> None:
    """A hundred refusals of one key and of one person are a message or two."""
    one, other = two
    got: list[str] = []
    channel = PostgresChannel(parsed(postgres.url(own)), CHANNEL, got.append, lambda: None)
    await channel.open()
    try:
        for _ in range(100):
            one.refuse(0)
            one.refuse(1)
            await asyncio.sleep(0)
        await _until(lambda: other.uses(1))
        one.keys[0].key = Secret("sk-new-0123456789abcd")
        one.refuse(0)
        await _until(lambda: len([text for text in got if json.loads(text).get("index") == 0]) > 1)
    finally:
        await channel.close()
    assert len(got) <= 6


async def test_a_pooler_that_drops_notifications(
    postgres: PostgresServer,
    own: str,
    started: Callable[[Process], Process],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If notifications do not arrive, the log says what to use instead."""

    class Deaf(PostgresChannel):
        def _on_message(self, *_: object) -> None:
            """Receive nothing, as behind a pooler that pools by transaction."""

    monkeypatch.setattr(module, "PostgresChannel", Deaf)
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.1)
    with capture_logs() as logs:
        process = started(Process(postgres.url(own)))
        await _until(lambda: process.connected[-1:] == [False])
    (log,) = logs
    assert "pools by session" in log["why"]
