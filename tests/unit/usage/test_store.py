"""authz.usage.store and the recorder, on SQLite and on PostgreSQL."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from authz.check.entry_ids import EntryIds
from authz.errors import StoreError
from authz.identity.open import make_store, open_database
from authz.usage import costs
from authz.usage import recorder as recording
from authz.usage.entry import NO_TOKENS, Report, Tokens, Usage, UsageEntry
from authz.usage.metrics import UsageMetrics
from authz.usage.recorder import Recorder
from authz.usage.store import UsageStore
from authz.usage.sums import GROUPS
from authz.usage.sums_schema import DAY_MS
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
    """A request that is added again, in any way, keeps its single row."""
    entries = [entry(number) for number in range(450)]
    assert await store.add(entries) == 450
    assert await store.add([*entries, entry(450), entry(450)]) == 1
    (line,) = await store.add_up("user", 0)
    assert (line.key, line.requests) == ("alice", 451)
    assert (line.input_tokens, line.cached_tokens, line.output_tokens) == (4510, 1804, 1353)


async def test_what_is_missing(store: UsageStore) -> None:
    """Missing requests are those that a process numbered, minus its rows by any writer."""
    await store.set_issued("0123456789ab", NOW, 10)
    await store.add([entry(number) for number in range(7)])
    # Of another process that has not said yet how many it numbered.
    await store.add([entry(1, "ba9876543210")])
    assert await store.missing() == 3
    await store.add([entry(number) for number in range(10)])
    await store.set_issued("0123456789ab", NOW, 12)
    assert await store.missing() == 2


async def test_groups_and_times(store: UsageStore) -> None:
    """Sums are by each kind since a time; refusals and unknown requests are counted apart."""
    await store.add(
        [
            entry(1, mode="byok", provider="anthropic", token_name="laptop"),
            entry(2, usage=Usage.REFUSED, decision="deny", tokens=Tokens(), username=None),
            entry(3, usage=Usage.COMPRESSED, tokens=Tokens()),
            entry(4, time_ms=NOW - DAY_MS, username="old"),
        ]
    )
    for group in GROUPS:
        assert sum(line.requests for line in await store.add_up(group, NOW)) == 3
    by_user = {line.key: line for line in await store.add_up("user", NOW)}
    assert (by_user[""].refusals, by_user["alice"].unknown) == (1, 1)
    assert [line.key for line in await store.add_up("user", 0)][:2] == ["alice", "old"]
    assert await store.delete_before(NOW, processes_ms=0) == 1
    assert await store.delete_before(NOW, processes_ms=0) == 0
    assert {line.key for line in await store.add_up("user", 0)} == {"", "alice"}


async def test_hostile_names(store: UsageStore) -> None:
    """A name is stored as a value, even if it looks like SQL."""
    name = "'); DROP TABLE users; --"
    await store.add([entry(1, username=name, model="💥")])
    assert [line.key for line in await store.add_up("user", 0)] == [name]


async def test_recorder_writes_at_its_end(url: str) -> None:
    """Waiting requests, and the number of issued ids, are written when the service stops."""
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
    await recorder.stop(60)
    store = await opened()
    assert [line.requests for line in await store.add_up("user", 0)] == [3]
    assert await store.missing() == 2
    await store.close()


async def test_recorder_does_not_pause_while_it_is_behind(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole batches are written without a pause, and the rest at the next flush."""
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 3600.0)
    monkeypatch.setattr(recording, "BATCH_MAX", 5)

    async def opened() -> UsageStore:
        made = UsageStore(await open_database(url))
        await made.prepare()
        return made

    registry = CollectorRegistry()
    recorder = Recorder(opened, EntryIds(), UsageMetrics(registry), 90)
    for number in range(17):
        recorder.record(entry(number))
    recorder.start()
    while registry.get_sample_value("authz_usage_written_total") != 15:  # noqa: ASYNC110 - as below
        await asyncio.sleep(0.01)
    assert registry.get_sample_value("authz_usage_waiting") == 2
    await recorder.stop(60)
    assert registry.get_sample_value("authz_usage_written_total") == 17


@pytest.mark.skipif(not os.environ.get("AUTHZ_SOAK"), reason="takes half a minute: make soak")
async def test_a_full_queue_is_written_and_the_rest_is_counted(url: str) -> None:
    """Every request in a full queue gets a row in the end; those beyond are counted as dropped."""

    async def opened() -> UsageStore:
        made = UsageStore(await open_database(url))
        await made.prepare()
        return made

    registry = CollectorRegistry()
    recorder = Recorder(opened, EntryIds(), UsageMetrics(registry), 90)
    for number in range(recording.WAITING_MAX + 5):
        recorder.record(entry(number))
    assert registry.get_sample_value("authz_usage_dropped_total") == 5
    began = time.monotonic()
    recorder.start()
    written = "authz_usage_written_total"
    while registry.get_sample_value(written) != recording.WAITING_MAX:  # noqa: ASYNC110 - as below
        await asyncio.sleep(0.01)
    print(f"\n{recording.WAITING_MAX / (time.monotonic() - began):,.0f} requests a second")
    await recorder.stop(60)


async def test_recorder_waits_for_a_database(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requests wait for a database up to a bound, with one log line, and then are all written."""
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
    await recorder.stop(60)
    assert registry.get_sample_value("authz_usage_waiting") == 0
    assert registry.get_sample_value("authz_usage_written_total") == 10
    assert capsys.readouterr().out.count("away") == 1


async def test_lost_requests_are_forgotten_after_the_retention(store: UsageStore) -> None:
    """The counts of an old process are deleted with its requests; those of a new one stay."""
    await store.set_issued("0123456789ab", NOW - 2 * DAY_MS, 10)
    await store.add([entry(1, time_ms=NOW - 2 * DAY_MS)])
    await store.set_issued("ba9876543210", NOW, 3)
    await store.add([entry(1, "ba9876543210")])
    assert await store.missing() == 11
    assert await store.delete_before(NOW - DAY_MS, processes_ms=NOW - DAY_MS) == 1
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
    recorder = Recorder(opened, ids, UsageMetrics(CollectorRegistry()), 90)
    # As a reload does.
    recorder.keep(2)
    missing, names = [], []
    for number in range(6):
        # Each day two requests, one of which is lost on the first and the third day.
        for is_lost in (number in (0, 2), False):
            made = ids.next().decode()
            if not is_lost:
                recorder.record(replace(entry(1), id=made, time_ms=now))
        assert await recorder._write()
        await recorder._maintain()
        names.append(ids.process)
        missing.append(await store.missing())
        now += day
    assert len(set(names)) == 6
    assert missing == [1, 1, 2, 2, 1, 0]
    await recorder.stop(60)
    await store.close()


async def test_failing_maintenance_keeps_no_request_waiting(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requests are written while old ones can't be deleted, which is logged once an hour."""
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.01)

    async def opened() -> UsageStore:
        made = UsageStore(await open_database(url))
        await made.prepare()
        return made

    async def fails(*_: object, **__: object) -> int:
        raise StoreError("locked")

    monkeypatch.setattr(UsageStore, "delete_before", fails)
    registry = CollectorRegistry()
    recorder = Recorder(opened, EntryIds(), UsageMetrics(registry), 90)
    recorder.start()
    for number in range(3):
        recorder.record(entry(number))
        async with asyncio.timeout(30):
            while registry.get_sample_value("authz_usage_written_total") != number + 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await recorder.stop(60)
    assert not recorder.is_failing
    assert capsys.readouterr().out.count("locked") == 1


async def test_sums_by_day(store: UsageStore) -> None:
    """Sums by day are for UTC days in order, of all users or of one, in each database."""
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
    """The last use of a user's token is its latest request; one without a token is ignored."""
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


async def test_reports_of_external_gateways(store: UsageStore) -> None:
    """A report completes the row that waits for it, once, and changes no other."""
    waiting = replace(entry(1), status=0, usage=Usage.UNREPORTED, tokens=Tokens(), model=None)
    others = [entry(2), replace(entry(3), decision="deny", status=403, usage=Usage.REFUSED)]
    await store.add([waiting, *others])
    (before,) = await store.add_up("user", NOW - 1000)
    assert (before.requests, before.refusals, before.unknown) == (3, 1, 1)
    report = Report(waiting.id, 200, Usage.COMPLETE, 1234, "claude", Tokens(input=5, output=7))
    completed = await store.complete(report)
    assert completed is not None
    assert (completed.provider, completed.username) == (waiting.provider, waiting.username)
    again = replace(report, status=500, tokens=Tokens(input=999))
    for one in (again, *(replace(again, id=other.id) for other in others)):
        assert await store.complete(one) is None
    assert await store.complete(replace(report, id=entry(9).id)) is None
    (after,) = await store.add_up("user", NOW - 1000)
    assert (after.requests, after.unknown) == (3, 0)
    assert after.input_tokens == before.input_tokens + 5


async def test_a_report_before_its_row(
    url: str, store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report waits for a row that another process writes; without one it is dropped."""
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.01)

    async def open_store() -> UsageStore:
        return UsageStore(await open_database(url))

    registry = CollectorRegistry()
    recorder = Recorder(open_store, EntryIds(), UsageMetrics(registry), 30)
    waiting = replace(entry(1), status=0, usage=Usage.UNREPORTED, tokens=Tokens(), model=None)
    report = Report(waiting.id, 200, Usage.COMPLETE, 1234, "claude", Tokens(input=5, output=7))
    recorder.report(replace(report, id=entry(9).id))
    recorder.report(report)
    recorder.start()
    await asyncio.sleep(0.05)
    await store.add([waiting])
    async with asyncio.timeout(30):
        for wait in itertools.repeat(0.01):
            if (await store.add_up("user", NOW - 1000))[0].input_tokens == 5:
                break
            await asyncio.sleep(wait)
    await recorder.stop(60)
    labels = {
        "gen_ai_provider_name": waiting.provider or "",
        "gen_ai_response_model": "claude",
        "gen_ai_token_type": "output",
        "mode": waiting.mode or "",
    }
    assert registry.get_sample_value("gen_ai_client_token_usage_total", labels) == 7


async def test_by_group(store: UsageStore) -> None:
    """A request counts for each group of its user, and for no name without groups."""
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


async def test_costs_are_added_up_with_own_keys_apart(store: UsageStore) -> None:
    """A sum has the cost of central keys, that of own keys, and how many requests have none."""
    await store.add(
        [
            entry(1, provider="a", cost=5),
            entry(2, provider="a", cost=10**13),
            entry(3, provider="a", cost=7, mode="byok"),
            entry(4, provider="a"),
            entry(5, provider="b", model=None, mode="byok"),
            entry(6, usage=Usage.REFUSED, tokens=NO_TOKENS),
        ]
    )
    (line,) = await store.add_up("user", 0)
    assert (line.cost, line.own_cost, line.unpriced) == (10**13 + 5, 7, 2)
    missing = await store.costs.missing(0)
    assert {(one.provider, one.model, one.requests) for one in missing} == {
        ("a", "claude-x", 1),
        ("b", "", 1),
    }


async def test_past_requests_get_the_price_of_their_time(
    store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows without a cost get one, in steps; those with a cost, or without a price, keep theirs."""
    monkeypatch.setattr(costs, "_PRICED_AT_ONCE", 2)
    await store.add(
        [
            *(entry(number, provider="a", time_ms=NOW + number % 2) for number in range(5)),
            entry(5, provider="a", cost=1),
            entry(6, provider="b"),
            entry(7, provider="a", time_ms=NOW - 1),
        ]
    )

    def cost(provider: str, model: str, counts: Tokens, at_ms: int) -> int | None:
        """Return the milliseconds since the test began, for one provider."""
        assert (model, counts) == ("claude-x", Tokens(input=10, cached=4, output=3))
        return 100 + at_ms - NOW if provider == "a" else None

    assert await store.costs.add(NOW, cost) == 5
    (line,) = await store.add_up("user", 0)
    assert (line.cost, line.unpriced) == (1 + 3 * 100 + 2 * 101, 2)
    assert await store.costs.add(NOW, cost) == 0


async def test_a_reported_request_is_priced(store: UsageStore) -> None:
    """The end of a request through an external gateway brings its cost, too."""
    await store.add(
        [entry(1, provider="a", usage=Usage.UNREPORTED, status=0, model=None, tokens=NO_TOKENS)]
    )
    report = Report(
        id=entry(1).id,
        status=200,
        usage=Usage.COMPLETE,
        duration_ms=1,
        model="m",
        tokens=Tokens(input=2, output=3),
    )
    completed = await store.complete(report, lambda provider, model, counts, at_ms: 12)
    assert completed is not None
    assert completed.cost == 12
    (line,) = await store.add_up("user", 0)
    assert (line.cost, line.unpriced) == (12, 0)
