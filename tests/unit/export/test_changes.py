"""authz.export.changes, on SQLite and on PostgreSQL, against a real gRPC server."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import grpc
import pytest

from authz.export.audit_rows import LEASE, AuditRows
from authz.export.changes import KIND, AuditExport
from authz.export.collector import NotExported
from authz.export.delivery import Delivery
from authz.export.schema import AUDIT_EXPORT, prepare
from authz.identity.audit import Action, Actor, Change, Resource, record
from authz.identity.open import open_database, open_store
from tests.support.collector import Collector

MakeExport = Callable[[str], AuditExport]


@pytest.fixture
async def export_as(
    store_url: str, deliver_as: Callable[[str], Delivery]
) -> AsyncIterator[MakeExport]:
    """Make exports of several processes; the store has a user already."""
    store = await open_store(store_url, create=True)
    await store.create_user("first")
    await store.close()
    database = await open_database(store_url)
    await prepare(database)
    await database.execute("DELETE FROM audit_exported")
    await database.execute("UPDATE audit_export SET lease_ms = 0, until_ms = 0")
    await database.close()
    made: list[AuditExport] = []

    def make(process: str) -> AuditExport:
        made.append(AuditExport(partial(open_database, store_url), deliver_as(KIND), process))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def _all(export: AuditExport) -> int:
    rounds = 0
    while await export.export_some():
        rounds += 1
    return rounds


def _targets(receiver: Collector) -> list[str]:
    return [one.attributes["resource_target"] for one in receiver.records]


async def _write(url: str, name: str, ago: timedelta = timedelta()) -> None:
    """Write an entry with a time in the past, as a long transaction or another clock does."""
    database = await open_database(url)
    async with database.transaction() as transaction:
        await record(
            transaction, Actor("os", "root"), Change(Action.CREATE, Resource.USER, target=name)
        )
        await transaction.execute(
            "UPDATE audit_logs SET time = $1 WHERE resource_target = $2",
            datetime.now(UTC) - ago,
            name,
        )
    await database.close()


async def test_each_entry_once(store_url: str, export_as: MakeExport, receiver: Collector) -> None:
    """Entries of any process arrive once, also those from before and those that come late."""
    export = export_as("a")
    assert await _all(export) == 1
    await _write(store_url, "second")
    await _write(store_url, "late", timedelta(minutes=50))
    assert await _all(export) == 1
    await _write(store_url, "future", -timedelta(days=1))
    await _all(export)
    await _write(store_url, "third")
    await _all(export)
    assert await _all(export) == 0
    assert _targets(receiver) == ["first", "late", "second", "future", "third"]
    assert {one.name for one in receiver.records} == {"authz.audit"}


async def test_one_process_exports(
    store_url: str, export_as: MakeExport, receiver: Collector
) -> None:
    """A second process exports once the first one stops, from where the first one was."""
    first, second = export_as("a"), export_as("b")
    await _all(first)
    await _write(store_url, "second")
    assert await _all(second) == 0
    await first.close()
    assert await _all(second) == 1
    assert _targets(receiver) == ["first", "second"]


async def test_a_process_that_died_is_replaced(
    store_url: str, export_as: MakeExport, receiver: Collector
) -> None:
    """A dead process's lease ends by itself, and entries that it may have sent are sent again."""
    database = await open_database(store_url)
    now = datetime.now(UTC)
    dead = AuditRows(database, "dead")
    assert len(await dead.claim(now - LEASE / 2, 10)) == 1
    other = AuditRows(database, "other")
    assert await other.claim(now, 10) == []
    assert len(await other.claim(now + LEASE, 10)) == 1
    await database.close()


async def test_nothing_is_lost_without_a_collector(
    export_as: MakeExport, receiver: Collector
) -> None:
    """Entries stay in the store until the collector has accepted them."""
    export = export_as("a")
    receiver.refuse = lambda _: grpc.StatusCode.UNAVAILABLE
    for _ in range(2):
        with pytest.raises(NotExported, match="UNAVAILABLE"):
            await export.export_some()
    receiver.refuse = lambda _: None
    assert await _all(export) == 1
    assert _targets(receiver) == ["first"]


async def test_exported_ids_are_forgotten(
    store_url: str, export_as: MakeExport, receiver: Collector
) -> None:
    """The table of exported ids has only those of the last hours."""
    await _write(store_url, "old", timedelta(hours=5))
    await _all(export_as("a"))
    database = await open_database(store_url)
    rows = await database.fetch("SELECT id FROM audit_exported")
    await database.close()
    assert _targets(receiver) == ["old", "first"]
    assert len(rows) == 1
    assert AUDIT_EXPORT.version == 1
