"""authz.usage.store and the recorder, on SQLite and on PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from authz.check.entry_ids import EntryIds
from authz.errors import StoreError
from authz.identity.open import make_store, open_database
from authz.usage import recorder as recording
from authz.usage.entry import Tokens, Usage, UsageEntry
from authz.usage.metrics import UsageMetrics
from authz.usage.recorder import Recorder
from authz.usage.store import GROUPS, UsageStore
from tests.support.postgres import PostgresServer, running_server

NOW = int(time.time() * 1000)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with running_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with our own tables."""
    if request.param == "sqlite":
        made = f"sqlite:///{tmp_path}/identity.db"
    else:
        server: PostgresServer = request.getfixturevalue("server")
        made = server.url(server.database())
    await make_store(made)
    return made


@pytest.fixture
async def store(url: str) -> AsyncIterator[UsageStore]:
    """An empty store of requests."""
    opened = UsageStore(await open_database(url))
    await opened.prepare()
    yield opened
    await opened.close()


def entry(number: int, process: str = "0123456789ab", **changed: object) -> UsageEntry:
    """Make a request of alice."""
    made = UsageEntry(
        id=f"{process}-{number:012d}",
        time_ms=NOW,
        decision="allow",
        status=200,
        usage=Usage.COMPLETE,
        duration_ms=5,
        username="alice",
        model="claude-x",
        tokens=Tokens(input=10, cached=4, output=3),
    )
    return replace(made, **changed)  # type: ignore[arg-type]


async def test_each_request_once(store: UsageStore) -> None:
    """A request that is told of again, by whichever way, keeps its one row."""
    entries = [entry(number) for number in range(450)]
    assert await store.add(entries) == 450
    assert await store.add([*entries, entry(450), entry(450)]) == 1
    (line,) = await store.add_up("user", 0)
    assert (line.key, line.requests) == ("alice", 451)
    assert (line.input_tokens, line.cached_tokens, line.output_tokens) == (4510, 1804, 1353)


async def test_what_is_missing(store: UsageStore) -> None:
    """The requests that a process numbered less its rows, whoever wrote those."""
    await store.set_issued("0123456789ab", NOW, 10)
    await store.add([entry(number) for number in range(7)])
    # Of another process that has not said yet how many it numbered.
    await store.add([entry(1, "ba9876543210")])
    assert await store.missing() == 3
    await store.add([entry(number) for number in range(10)])
    await store.set_issued("0123456789ab", NOW, 12)
    assert await store.missing() == 2


async def test_groups_and_times(store: UsageStore) -> None:
    """By each kind, since a time; refusals and what is not known are counted apart."""
    await store.add(
        [
            entry(1, mode="byok", provider="anthropic", token_name="laptop"),
            entry(2, usage=Usage.REFUSED, decision="deny", tokens=Tokens(), username=None),
            entry(3, usage=Usage.COMPRESSED, tokens=Tokens()),
            entry(4, time_ms=NOW - 1000, username="old"),
        ]
    )
    for group in GROUPS:
        assert sum(line.requests for line in await store.add_up(group, NOW)) == 3
    by_user = {line.key: line for line in await store.add_up("user", NOW)}
    assert (by_user[""].refusals, by_user["alice"].unknown) == (1, 1)
    assert [line.key for line in await store.add_up("user", 0)][:2] == ["alice", "old"]
    assert await store.delete_before(NOW, processes_ms=0) == 1
    assert {line.key for line in await store.add_up("user", 0)} == {"", "alice"}


async def test_hostile_names(store: UsageStore) -> None:
    """A name is a value, whatever it looks like."""
    name = "'); DROP TABLE users; --"
    await store.add([entry(1, username=name, model="💥")])
    assert [line.key for line in await store.add_up("user", 0)] == [name]


async def test_recorder_writes_at_its_end(url: str) -> None:
    """What waits when the service stops is written, and so is how many were numbered."""
    ids = EntryIds()
    ids.issued = 5

    async def opened() -> UsageStore:
        made = UsageStore(await open_database(url))
        await made.prepare()
        return made

    recorder = Recorder(opened, ids, UsageMetrics(CollectorRegistry()), 90)
    recorder.start()
    for number in range(3):
        recorder.record(entry(number, ids.process))
    await recorder.stop(5)
    store = await opened()
    assert [line.requests for line in await store.add_up("user", 0)] == [3]
    assert await store.missing() == 2
    await store.close()


async def test_recorder_waits_for_a_database(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the database is away requests wait, up to a bound; it is said once; none is lost."""
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(recording, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(recording, "WAITING_MAX", 10)
    is_away, tries = True, 0

    async def opened() -> UsageStore:
        nonlocal tries
        tries += 1
        if is_away:
            raise StoreError("away")
        made = UsageStore(await open_database(url))
        await made.prepare()
        return made

    registry = CollectorRegistry()
    recorder = Recorder(opened, EntryIds(), UsageMetrics(registry), 90)
    recorder.start()
    for number in range(12):
        recorder.record(entry(number))
    while tries < 4:  # noqa: ASYNC110 - the recorder tries in its own time
        await asyncio.sleep(0.01)
    assert registry.get_sample_value("authz_usage_waiting") == 10
    assert registry.get_sample_value("authz_usage_dropped_total") == 2
    is_away = False
    await recorder.stop(5)
    assert registry.get_sample_value("authz_usage_waiting") == 0
    assert registry.get_sample_value("authz_usage_written_total") == 10
    assert capsys.readouterr().out.count("away") == 1


async def test_lost_requests_are_forgotten_after_the_retention(store: UsageStore) -> None:
    """The counts of an old process are deleted with its requests; those of a new one stay."""
    await store.set_issued("0123456789ab", NOW - 5000, 10)
    await store.add([entry(1, time_ms=NOW - 5000)])
    await store.set_issued("ba9876543210", NOW, 3)
    await store.add([entry(1, "ba9876543210")])
    assert await store.missing() == 11
    assert await store.delete_before(NOW - 1000, processes_ms=NOW - 1000) == 1
    assert await store.missing() == 2


async def test_a_long_process_forgets_what_it_lost(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that never ends takes a new name each day, so its old losses end with their day."""
    day = 86_400_000
    now = NOW
    monkeypatch.setattr(time, "time", lambda: now / 1000)

    async def opened() -> UsageStore:
        made = UsageStore(await open_database(url))
        await made.prepare()
        return made

    store = await opened()
    ids = EntryIds()
    recorder = Recorder(opened, ids, UsageMetrics(CollectorRegistry()), 2)
    missing, names = [], []
    for number in range(6):
        # Each day two requests, one of which is lost on the first and the third day.
        for is_lost in (number in (0, 2), False):
            made = ids.next().decode()
            if not is_lost:
                recorder.record(replace(entry(1), id=made, time_ms=now))
        assert await recorder._write()
        names.append(ids.process)
        missing.append(await store.missing())
        now += day
    assert len(set(names)) == 6
    assert missing == [1, 1, 2, 2, 1, 0]
    await recorder.stop(5)
    await store.close()


async def test_sums_by_day(store: UsageStore) -> None:
    """Days are UTC's and in order, of everybody or of one user, in each database."""
    day = 86_400_000
    await store.add(
        UsageEntry(
            id=f"q-{number}",
            time_ms=at,
            decision="allow",
            status=200,
            usage=Usage.COMPLETE,
            duration_ms=1,
            user_id=user,
            tokens=Tokens(input=number, output=1),
        )
        for number, (at, user) in enumerate([(day, "a"), (2 * day - 1, "a"), (2 * day, "b")])
    )
    assert [(x.key, x.requests, x.input_tokens) for x in await store.by_day(0)] == [
        ("1", 2, 1),
        ("2", 1, 2),
    ]
    assert [(x.key, x.requests) for x in await store.by_day(0, "b")] == [("2", 1)]
    assert [x.requests for x in await store.add_up("model", 0, "a")] == [2]


async def test_last_use_of_each_token(store: UsageStore) -> None:
    """Of one user's tokens, the latest request of each; one without a token is no token's."""
    await store.add(
        UsageEntry(
            id=f"l-{at}",
            time_ms=at,
            decision="allow",
            status=200,
            usage=Usage.NONE,
            duration_ms=1,
            user_id=user,
            token_id=token,
        )
        for at, user, token in [
            (1, "a", "x"),
            (3, "a", "x"),
            (2, "a", "y"),
            (4, "b", "z"),
            (5, "a", None),
        ]
    )
    assert await store.last_uses("a") == {"x": 3, "y": 2}


async def test_by_group(store: UsageStore) -> None:
    """A request counts for each group of its user; without groups it counts for no name."""
    await store.add(
        [
            entry(1, groups=("labs", "CN=a,OU=b")),
            entry(2, groups=("Labs",), model="claude-y"),
            entry(3, username="bob"),
        ]
    )
    by_group = {line.key: line.requests for line in await store.add_up("group", 0)}
    assert by_group == {"labs": 1, "Labs": 1, "CN=a,OU=b": 1, "": 1}
    lines = await store.add_up("model", 0, group="LABS")
    assert {line.key: line.input_tokens for line in lines} == {"claude-x": 10, "claude-y": 10}
    assert await store.add_up("user", 0, group="cn=a,ou=b")
    assert await store.add_up("user", 0, group="lab") == []
    assert await store.add_up("user", 0, group="'; DROP TABLE users; --") == []
