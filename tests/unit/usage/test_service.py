"""authz.usage.service, on SQLite and on PostgreSQL."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from authz.check.entry_ids import EntryIds
from authz.config.settings import Config
from authz.errors import StoreError
from authz.identity.open import make_store, open_database
from authz.usage import recorder as recording
from authz.usage.metrics import UsageMetrics
from authz.usage.service import UsageRecording, find_problem, open_usage_store
from tests.support.postgres import PostgresServer, running_server
from tests.unit.usage.test_store import entry

CODER = "https://coder.example.com"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with running_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A configuration with Coder as identity, whose usage database does not exist yet."""
    if request.param == "sqlite":
        return _config(f"sqlite:///{tmp_path}/state/usage.db")
    server: PostgresServer = request.getfixturevalue("server")
    return _config(server.url(server.database()))


def _config(database: str | None, identity: str = CODER) -> Config:
    return Config.model_validate({"identity": identity, "usage": {"database": database}})


async def _until(recorder: UsageRecording, *, fails: bool) -> None:
    for _ in range(3000):
        if (recorder.problem is not None) is fails:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"after 30 s: {recorder.problem}")


async def test_the_start_makes_the_database(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A separate database is created when authz starts, not by a command or a reader."""
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.01)
    with pytest.raises(StoreError):
        await open_usage_store(config)
    ids = EntryIds()
    recorder = UsageRecording(config, ids, UsageMetrics(CollectorRegistry()))
    ids.next()
    recorder.start()
    for _ in range(300):
        if await _issued(config):
            break
        await asyncio.sleep(0.1)
    assert await _issued(config) == 1
    assert await find_problem(config) is None
    assert recorder.problem is None
    await recorder.stop(60)


async def _issued(config: Config) -> int:
    try:
        store = await open_usage_store(config)
    except StoreError:
        return 0
    try:
        return await store.missing()
    finally:
        await store.close()


async def test_the_identity_store_is_not_made(tmp_path: Path) -> None:
    """The identity store is not created for usage; the commands that create users do that."""
    url = f"sqlite:///{tmp_path}/identity.db"
    for database in (None, url):
        with pytest.raises(StoreError):
            await open_usage_store(_config(database, url), create=True)
    assert not (tmp_path / "identity.db").exists()


async def test_a_database_that_cannot_be_made_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check, the service and the metric report the failure until rows are written."""
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(recording, "RETRY_SECONDS", 0.01)
    blocked = tmp_path / "state"
    blocked.write_text("a file where a folder has to be")
    config = _config(f"sqlite:///{blocked}/usage.db")
    assert f"{blocked} is not a folder" in (await find_problem(config) or "")
    registry = CollectorRegistry()
    recorder = UsageRecording(config, EntryIds(), UsageMetrics(registry))
    recorder.start()
    await _until(recorder, fails=True)
    assert _up(registry) == 0
    blocked.unlink()
    await _until(recorder, fails=False)
    assert _up(registry) == 1
    assert await find_problem(config) is None
    await recorder.stop(60)


def _up(registry: CollectorRegistry) -> float:
    found = re.search(r"^authz_usage_database_up (.*)$", generate_latest(registry).decode(), re.M)
    assert found is not None
    return float(found[1])


async def test_what_the_check_says(tmp_path: Path) -> None:
    """The check reports a missing setting and a file that is not authz's, unless usage is off."""
    assert "set usage.database" in (await find_problem(_config(None)) or "")
    (tmp_path / "other.db").write_text("no database")
    found = await find_problem(_config(f"sqlite:///{tmp_path}/other.db"))
    assert "other.db" in (found or "")
    off = Config.model_validate({"identity": CODER, "usage": {"enabled": False}})
    assert await find_problem(off) is None
    assert await find_problem(_config(None, f"sqlite:///{tmp_path}/identity.db")) is None


async def test_a_transaction_of_a_check_does_not_wait_for_rows(server: PostgresServer) -> None:
    """Rows are written while a transaction of the identity tables is open, as with budgets."""
    identity = server.url(server.database())
    await make_store(identity)
    config = _config(None, identity)
    other, store = await open_database(identity), await open_usage_store(config)
    try:
        async with asyncio.timeout(60), other.transaction():
            assert await store.add([entry(1)]) == 1
    finally:
        await other.close()
        await store.close()
